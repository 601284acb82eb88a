"""Addresses of MLflow's pages about versions and runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil

from sa_mlops import environment
from sa_mlops.registry.version import Version
from tui.services.records import Run

USUAL = "http://127.0.0.1:5000"
"""Address of `make ui`."""
STORE_OPTION = "--backend-store-uri"


def page_url(uri: str, *, version: Version | None = None, run: Run | None = None, root: str = "") -> str:
    """Address of MLflow's page about a version or a run.

    Parameters
    ----------
    root : address of the server; by default the store's own, or that of `make ui` for a local one.
    """
    root = root or (uri.rstrip("/") if uri.startswith(("http://", "https://")) else USUAL)
    if version is not None:
        return f"{root}/#/models/{version.name}/versions/{version.number}"
    return f"{root}/#/experiments/{run.experiment}/runs/{run.run_id}" if run is not None else f"{root}/"


def server_of(uri: str) -> str:
    """Address of an MLflow server of this machine that shows a local store; empty if none runs. Blocks for a moment."""
    wanted = environment.absolute(uri)
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if "server" not in words and "ui" not in words:
                continue
            if not any("mlflow" in word for word in words):
                continue
            store = _option(words, STORE_OPTION) or process.environ().get(environment.STORE, "")
            store = store or f"{environment.SQLITE}mlflow.db"
            if (path := environment.database(store)) is not None and not _absolute(store):
                store = f"{environment.SQLITE}{Path(process.cwd()) / path.name}"
        except (psutil.Error, OSError):
            continue
        if environment.absolute(store) == wanted:
            host = _option(words, "--host", "-h") or "127.0.0.1"
            host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  # compared, not listened on
            return f"http://{host}:{_option(words, '--port', '-p') or '5000'}"
    return ""


def _absolute(uri: str) -> bool:
    return uri.removeprefix(environment.SQLITE).startswith("/")


def _option(words: Sequence[str], *names: str) -> str:
    """Value of an option of a command, as `--port 1` or `--port=1`; empty without it."""
    for i, word in enumerate(words):
        name, mark, value = word.partition("=")
        if name in names:
            return value if mark else words[i + 1] if i + 1 < len(words) else ""
    return ""
