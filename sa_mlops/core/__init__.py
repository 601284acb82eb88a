"""The method itself in plain PyTorch: no MLflow, no files, no printing."""
