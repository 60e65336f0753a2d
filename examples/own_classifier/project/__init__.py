"""A plain PyTorch project: data, model and training as a team might have them. It knows nothing of expunge."""
