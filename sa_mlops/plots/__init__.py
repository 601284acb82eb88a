"""Figures from NumPy arrays, each returned to its caller: no torch, no MLflow, no files."""
