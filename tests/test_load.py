"""Runs at once against one server, killed ones and restarts of the server among them: what ends well is whole."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from stores import ROOT

from scripts.serving import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture
def served(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server as the store, and the scripts to be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


def test_runs_at_once_leave_a_whole_version_each(served: Server, tmp_path: Path) -> None:
    """`scripts/load.py` in small."""
    figures = importlib.import_module("load").loaded(tmp_path, runs=2, at_once=2, brief=True)
    assert figures["wrong"] == []
    assert (figures["failed"], figures["versions"]) == (0, 2)


def test_kills_and_restarts_in_the_middle_leave_whole_versions_and_true_runs(
    served: Server, tmp_path: Path
) -> None:
    """`scripts/soak.py` in small; `make campaign` has it for half an hour."""
    soak = importlib.import_module("soak")
    figures = soak.soaked(served, tmp_path, minutes=0.25, seed=0, at_once=1, brief=True)
    assert figures["wrong"] == []
    assert figures["restarts"]["times"] >= 1
    assert sum(figures["outcomes"].values()) >= 1
