"""The terminal UI. It knows `sa_mlops`; `sa_mlops` does not know it. No torch and no MLflow before the first paint."""
