"""Runs checks on saved models, gathers evidence, gives the verdict. Never imports methods."""
