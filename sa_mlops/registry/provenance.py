"""The circumstances under which a version was made, as artifacts of its run that outlive the checkout."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distributions
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

PACKAGES = "provenance/requirements.txt"
"""Artifact: every installed package with its version, as `pip install -r` reads it."""
RECORD = "provenance/record.json"
"""Artifact: command, commit, data, seed, settings, machine and Python of the version."""


@cache
def packages() -> Mapping[str, str]:
    """Installed package -> version, sorted by name."""
    # A distribution reads its file again whenever it is asked.
    known = (d.metadata for d in distributions())
    found = {str(m["Name"]): str(m["Version"]) for m in known if m["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def log(client: MlflowClient, run_id: str, record: Mapping[str, Any]) -> None:
    """Log the packages of this process and the record of the version as artifacts of its run."""
    lines = "".join(f"{name}=={version}\n" for name, version in packages().items())
    client.log_text(run_id, lines, PACKAGES)
    client.log_dict(run_id, {**record, "python": platform.python_version()}, RECORD)


def read(run_id: str) -> tuple[Mapping[str, str], Mapping[str, Any]]:
    """The packages and the record of a version's run; both empty for a run without them."""
    try:
        lines = mlflow.artifacts.load_text(f"runs:/{run_id}/{PACKAGES}").splitlines()
        record = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/{RECORD}"))
    except (MlflowException, OSError, ValueError):
        return {}, {}
    pairs = (line.partition("==") for line in lines)
    return {name: version for name, _, version in pairs}, record if isinstance(record, dict) else {}


def differences(run_id: str) -> list[str]:
    """One line for everything here that differs from the record of a version's run."""
    then, record = read(run_id)
    if not then:
        return ["its run records no packages; it was made before they were recorded"]
    now = packages()
    python = platform.python_version()
    lines = [] if record.get("python") == python else [f"Python {record.get('python')} then, {python} here"]
    lines += [
        f"{name} {then.get(name, 'not installed')} then, {now.get(name, 'not installed')} here"
        for name in sorted(then.keys() | now.keys(), key=str.lower)
        if then.get(name) != now.get(name)
    ]
    return lines
