"""The demo: a small store on scikit-learn's digits, made by the same commands that a user would type."""

from __future__ import annotations

import os
from pathlib import Path

_SMALL = ("--dataset", "digits", "--device", "cpu")
COMMANDS = (
    ("base", *_SMALL, "--steps", "200"),
    (
        "sequential",
        *_SMALL,
        "--from-version",
        "1",
        "--digits",
        "1,8",
        "--steps",
        "60",
        "--fisher-samples",
        "2000",
    ),
)
"""Judges and a base, then two steps of forgetting; each shows up as soon as it is there."""


def demo_folder() -> Path:
    """Where the demo's store, artifacts and records lie: in the user's cache."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "sa-mlops" / "demo"


def demo_uri() -> str:
    """Tracking URI of the demo's store; its folder is made if it is missing."""
    folder = demo_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"
