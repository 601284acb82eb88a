"""A request to stop is heard once, and always."""

from __future__ import annotations

import os
import signal
import time

import pytest

from sa_mlops.errors import Stopped
from sa_mlops.registry import stopping
from sa_mlops.registry.stopping import stoppable


def until_stopped() -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        time.sleep(0.01)
    pytest.fail("not stopped")


def test_several_signals_at_once_are_one_request() -> None:
    closed = False

    def stage() -> None:
        nonlocal closed
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            until_stopped()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
            closed = True

    with pytest.raises(Stopped, match="SIGTERM"), stoppable():
        stage()
    assert closed


def test_a_request_that_came_while_the_garbage_collector_was_at_work_is_not_lost() -> None:
    class Collected:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            until_stopped()

    def stage() -> None:
        Collected()
        until_stopped()

    with pytest.raises(Stopped, match="SIGTERM"), stoppable():
        stage()


def test_a_request_waits_until_a_transaction_is_over() -> None:
    done = []

    def inside() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
        done.append("transaction")

    # As a function of SQLAlchemy's would run it.
    code = compile("call()", "session.py", "exec")

    def stage() -> None:
        exec(code, {"__name__": "sqlalchemy.orm.session", "call": inside})
        until_stopped()

    with pytest.raises(Stopped, match="SIGTERM"), stoppable():
        stage()
    assert done == ["transaction"]


def test_a_request_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "ENOUGH", 0.2)

    def inside() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        until_stopped()

    with pytest.raises(Stopped, match="SIGTERM"), stoppable():
        exec("call()", {"__name__": "sqlalchemy.orm.session", "call": inside})
