"""What ends a command early, known to every layer."""

from __future__ import annotations


class CommandError(RuntimeError):
    """Something that the command cannot get past. The message is one line for the user; exit status 1."""


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived; exit status 130. Not an `Exception`, so that nothing on the way swallows it."""
