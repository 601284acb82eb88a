"""Nets: tensors in, tensors out."""
