"""Waiting for what other processes and threads do: until it is so or a deadline has passed, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

DEADLINE = 120.0
LOOK = 0.02


def wait_for(done: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Look until `done` says something true; fail with `what` when the deadline has passed."""
    end = time.monotonic() + deadline
    while not done():
        if time.monotonic() > end:
            pytest.fail(f"after {deadline:.0f} s: {what}")
        time.sleep(LOOK)


async def until(done: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """`wait_for` while the application goes on. Workers that a newer one replaced do not matter here."""
    end = time.monotonic() + deadline
    while not done():
        if time.monotonic() > end:
            pytest.fail(f"after {deadline:.0f} s: {what}")
        await asyncio.sleep(LOOK)
