"""Open and save models; the only room that reads weights. Refuses pickle."""
