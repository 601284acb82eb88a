"""Faults in the middle of real runs: nothing half made, nothing moved, and the next run succeeds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stores import ROOT, Store, child_environment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_500)]

KINDS = ("SIGINT", "SIGTERM", "SIGKILL", "nan", "locked", "held", "readonly", "full", "restart", "clock")


@pytest.fixture(scope="module")
def figures(digits_store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("faults") / "faults.json"
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "scripts" / "faults.py"), "--count", str(len(KINDS)), "--seed", "0"),
            *("--lineage", str(digits_store.folder / "mlflow.db"), "--out", str(out)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=1_400,
        env=child_environment(),
    )
    assert out.exists(), done.stderr
    return dict(json.loads(Path(out).read_text()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_survived(figures: dict[str, Any], kind: str) -> None:
    assert figures["kinds"][kind]["tried"] == 1
    assert [loss["wrong"] for loss in figures["losses"] if loss["kind"] == kind] == []
