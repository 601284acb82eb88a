"""The demo: a small store on scikit-learn's digits, made by ordinary commands."""

from __future__ import annotations

import os
from pathlib import Path

_SMALL = "--dataset digits --device cpu"
FORGETTING = {"dataset": "digits", "steps": "120", "fisher_samples": "2000"}
"""First values of the launch form: a run takes under a minute."""
COMMANDS = (
    f"base {_SMALL} --steps 300".split(),
    f"sequential {_SMALL} --from-version 1 --classes 1,8 --steps 120 --fisher-samples 2000".split(),
)
"""Judges and a base, then two steps of forgetting."""
MAKING = "Making the demo: judges, a base and two steps of forgetting, about a minute on an idle machine."


def demo_folder() -> Path:
    """Folder of the demo's store, artifacts and records, in the user's cache."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "sa-mlops" / "demo"


def demo_uri() -> str:
    """Tracking URI of the demo's store."""
    return f"sqlite:///{demo_folder() / 'mlflow.db'}"
