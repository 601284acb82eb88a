"""Selective Amnesia as an MLflow project: train, forget, and show that it is forgotten."""

__version__ = "0.1.0"
