"""SIGINT and SIGTERM: ask a stage to stop, where its run and the store stay whole."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sa_mlops.errors import Stopped

ONE_REQUEST = 1.0
"""Seconds within which several signals count as one request to stop."""
AGAIN, ENOUGH = 0.02, 2.0
"""Seconds until a signal that arrived in a transaction is sent again, and until it stops even a transaction."""
TRANSACTIONS = (
    "sqlalchemy.",
    "mlflow.store.db.",
    "mlflow.store.tracking.sqlalchemy_store.",
    "mlflow.store.model_registry.sqlalchemy_store.",
)
"""Modules in which a signal's exception could leave a transaction open, and the store locked."""


@contextmanager
def handled(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Inside, both signals go to `handler`, also if they were ignored."""
    previous = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for s, before in previous.items():
            signal.signal(s, before)


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Stopped` inside; another signal, a second later, ends the process at once.

    Schedulers send theirs several times over, within milliseconds: that is one request.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[float] = []
    first: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not first:
            asked.append(time.monotonic())
            if asked[-1] - asked[0] < ENOUGH and _in_transaction(frame):
                _send_again(number)
                return
            first.append(time.monotonic())
            raise Stopped(signal.Signals(number).name)
        if time.monotonic() - first[0] > ONE_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def missed(swallowed: sys.UnraisableHookArgs) -> None:
        """Send a signal again that arrived during garbage collection, which swallows exceptions."""
        if not isinstance(swallowed.exc_value, Stopped):
            usual(swallowed)
            return
        first.clear()
        asked.clear()
        _send_again(signal.Signals[str(swallowed.exc_value)])

    usual, sys.unraisablehook = sys.unraisablehook, missed
    try:
        with handled(stop):
            yield
    finally:
        sys.unraisablehook = usual


def _in_transaction(frame: FrameType | None) -> bool:
    while frame is not None:
        if f"{frame.f_globals.get('__name__', '')}.".startswith(TRANSACTIONS):
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block is done: a run half opened or closed would stay RUNNING."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    try:
        with handled(lambda number, _frame: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])
