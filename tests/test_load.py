"""Runs at once against one server: all end well, each leaves one whole version."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stores import ROOT, child_environment

from scripts.serving import Server

pytestmark = [pytest.mark.alone, pytest.mark.e2e, pytest.mark.timeout(900)]


def test_runs_at_once_leave_a_whole_version_each(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "scripts" / "load.py"), "--runs", "2", "--at-once", "2"),
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
