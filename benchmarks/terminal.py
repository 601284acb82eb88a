"""The terminal UI in a pseudo-terminal, timed from outside: when it paints, and how soon a key shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from types import TracebackType
from typing import Self

from benchmarks.clock import ROOT, ChildError

ROWS, COLUMNS = 50, 180
QUIET = 0.3
"""Seconds without output after which a screen counts as settled."""
PATIENCE = 120.0


class Terminal:
    """`sa-tui` on a store, in a pseudo-terminal of its own.

    Parameters
    ----------
    uri : the store.
    """

    def __init__(self, uri: str) -> None:
        self._home = tempfile.TemporaryDirectory()
        self.seen = bytearray()
        self.started = time.perf_counter()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        home = {"HOME": self._home.name, "XDG_STATE_HOME": self._home.name, "TERM": "xterm-256color"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tui", "--tracking-uri", uri],
            stdin=slave, stdout=slave, stderr=slave, close_fds=True, cwd=self._home.name,
            env=os.environ | home | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._master)
        self._home.cleanup()

    def until(self, text: str) -> float:
        """Seconds from the start until `text` was painted.

        Raises
        ------
        ChildError : if it never is.
        """
        wanted = text.encode()
        while wanted not in self.seen:
            if not self._read(PATIENCE):
                raise ChildError(f"the terminal UI never shows {text!r}")
        return time.perf_counter() - self.started

    def settle(self) -> None:
        """Wait until nothing is painted any more."""
        while self._read(QUIET):
            pass

    def send(self, key: str) -> None:
        """Press a key once the screen stands still, whatever comes of it."""
        self.settle()
        os.write(self._master, key.encode())

    def press(self, key: str) -> float:
        """Seconds from a key to the first paint after it; the screen stood still before."""
        self.settle()
        start = time.perf_counter()
        os.write(self._master, key.encode())
        if not self._read(PATIENCE):
            raise ChildError(f"the terminal UI does not answer the key {key!r}")
        return time.perf_counter() - start

    def _read(self, patience: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], patience)
        if not ready:
            return False
        try:
            read = os.read(self._master, 1 << 16)
        except OSError:
            read = b""
        if not read:
            raise ChildError("the terminal UI has ended")
        self.seen += read
        return True
