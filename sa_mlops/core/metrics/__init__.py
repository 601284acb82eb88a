"""Metrics of a generator, one per module: tensors in, plain results out."""
