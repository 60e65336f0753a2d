"""Build, sign and verify certificates. Standard library and ``cryptography`` only: no torch, no NumPy."""
