"""How a model meets a batch, one file per kind."""
