"""The demo: a small store on scikit-learn's digits, made by the same commands that a user would type."""

from __future__ import annotations

import os
from pathlib import Path

STEPS = (
    ("base", "--dataset", "digits", "--steps", "300"),
    (
        "forget",
        "--dataset",
        "digits",
        "--from-version",
        "1",
        "--digit",
        "1",
        "--steps",
        "150",
        "--fisher-samples",
        "5000",
    ),
    (
        "forget",
        "--dataset",
        "digits",
        "--from-version",
        "1",
        "--digit",
        "8",
        "--steps",
        "150",
        "--fisher-samples",
        "5000",
    ),
)


def demo_folder() -> Path:
    """Where the demo's store lies: the user's cache."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "sa-mlops" / "demo"


def demo_uri() -> str:
    """Tracking URI of the demo's store; its folder is made if it is missing."""
    folder = demo_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"
