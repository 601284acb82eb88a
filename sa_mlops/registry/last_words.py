"""The end of a command's standard error, kept so that a run that fails can log it."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from sa_mlops.errors import CommandError

ARTIFACT = "log/stderr.txt"
"""Path of the text among the artifacts of a failed run."""
LONGEST = 64_000
"""Characters kept."""
ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")


class Tail:
    """A stream that passes everything on and keeps the end of it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._kept = ""

    def write(self, text: str) -> int:
        """Pass the text on."""
        self._kept = (self._kept + text)[-LONGEST:]
        return self._stream.write(text)

    def text(self) -> str:
        """The end of the stream as a terminal would show it."""
        return as_shown(self._kept)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def kept() -> Iterator[Tail]:
    """Keep the end of standard error while the block runs; inside another such block, that one's."""
    usual = sys.stderr
    if isinstance(usual, Tail):
        yield usual
        return
    tail = Tail(usual)
    sys.stderr = tail
    try:
        yield tail
    finally:
        if sys.stderr is tail:
            sys.stderr = usual


def as_shown(text: str) -> str:
    """Output as a terminal leaves it: a carriage return restarts the line, escape sequences are dropped."""
    shown = []
    for line in ESCAPE.sub("", text).replace("\r\n", "\n").split("\n"):
        parts = [part for part in line.split("\r") if part]
        shown.append(parts[-1] if parts else "")
    return "\n".join(shown)


def spelled(error: BaseException) -> str:
    """The error as it is logged: its message, or the traceback of one that is no mistake of the user's."""
    if isinstance(error, CommandError):
        return f"{error}\n"
    return "".join(traceback.format_exception(error))
