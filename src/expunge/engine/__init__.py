"""The loops: training, descent, references, evidence, runs."""
