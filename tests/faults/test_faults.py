"""Faults in the middle of real runs: nothing half made, nothing moved, and the next run succeeds."""

from __future__ import annotations

from typing import Any

import pytest
from stores import FAULT_KINDS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_500)]


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_fault_is_survived(fault_campaign: dict[str, Any], kind: str) -> None:
    assert fault_campaign["kinds"][kind]["tried"] == 1
    assert [loss["wrong"] for loss in fault_campaign["losses"] if loss["kind"] == kind] == []
