"""Pure functions on tensors and arrays, each with its source and a reference test."""
