"""What is measured of a generator: one metric a file, tensors in, plain results out."""
