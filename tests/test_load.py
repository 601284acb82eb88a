"""Runs at once against one server, killed ones and restarts of the server among them: what ends well is whole."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from stores import ROOT, child_environment

from scripts.serving import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_runs_at_once_leave_a_whole_version_each(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "scripts" / "load.py"), "--runs", "2", "--at-once", "2", "--brief"),
            *("--out", str(out)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=child_environment(**server.environment),
    )
    assert out.exists(), done.stderr
    figures = json.loads(out.read_text())
    assert figures["wrong"] == []
    assert (done.returncode, figures["failed"], figures["versions"]) == (0, 0, 2)


def test_kills_and_restarts_in_the_middle_leave_whole_versions_and_true_runs(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`scripts/soak.py` in small; `make campaign` has it for half an hour."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    soak = importlib.import_module("soak")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    figures = soak.soaked(server, tmp_path, minutes=0.4, seed=0, at_once=1, brief=True)
    assert figures["wrong"] == []
    assert figures["restarts"]["times"] >= 1
    assert sum(figures["outcomes"].values()) >= 1
