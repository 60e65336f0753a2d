"""Nouns, contracts and the verdict rule. Standard library only."""
