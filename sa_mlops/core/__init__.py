"""Training, Fisher information, measurements and recovery probes in plain PyTorch: no MLflow, no files, no printing."""
