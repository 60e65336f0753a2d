"""Small problems with known answers, and the demo."""
