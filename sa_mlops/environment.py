"""Environment variables that MLflow, DVC and OpenMP read, put in order before any of them is imported."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from sa_mlops.errors import CommandError

OFF = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "1"}
STORE = "MLFLOW_TRACKING_URI"
SQLITE = "sqlite:///"
SPIN, POLICY, SPINS = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "10000"
"""How often a thread of OpenMP polls for work before it sleeps. By default it polls 30,000,000 times, which takes most
of the time where other processes use the cores (docs/development.md)."""


def prepare() -> None:
    """Switch telemetry off, limit the polling of threads, drop empty variables of MLflow, and set a default store.

    MLflow's own default address is percent-encoded, and its database driver does not decode it: in a folder with a
    space or an accent no store would be found.

    Raises CommandError if the store is to be in this folder, and no store can be in a folder of this name.
    """
    for name in [n for n, value in os.environ.items() if n.startswith("MLFLOW_") and not value.strip()]:
        del os.environ[name]
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
    if POLICY not in os.environ:
        os.environ.setdefault(SPIN, SPINS)
    if STORE not in os.environ:
        here = str(Path.cwd())
        if "?" in here or {"'", '"'} <= set(here):
            raise CommandError(
                f"MLflow keeps no store in {here}: its name has a question mark or both kinds of quotes; rename it"
            )
        os.environ[STORE] = f"{SQLITE}mlflow.db"
    os.environ[STORE] = absolute(os.environ[STORE])


def absolute(uri: str) -> str:
    """A sqlite URI that names the same file in every folder, not percent-encoded; other URIs unchanged."""
    path = database(uri)
    if path is None:
        return uri
    if not path.parent.is_dir() and (plain := Path(unquote(str(path)))).parent.is_dir():
        path = plain
    options = uri.partition("?")[2]
    return f"{SQLITE}{path}" + (f"?{options}" if options else "")


def database(uri: str) -> Path | None:
    """The absolute path of a sqlite store's file; None for other stores."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]).absolute() if uri.startswith(SQLITE) else None


def store() -> str:
    """The tracking URI that `MLFLOW_TRACKING_URI` names, else that of `mlflow.db` here."""
    return absolute(os.environ.get(STORE, "").strip() or f"{SQLITE}mlflow.db")
