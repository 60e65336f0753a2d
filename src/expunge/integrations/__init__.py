"""Frameworks that train by loops of their own, recorded so that their runs can be replayed; one file per framework."""
