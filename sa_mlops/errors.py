"""Errors that end a command, for every layer."""

from __future__ import annotations

OUTSIDE = ("mlflow", "sqlalchemy", "requests", "urllib3", "optuna")
"""Packages whose errors report the state of a store, not a defect of this project."""


class CommandError(RuntimeError):
    """Something that the command cannot get past. The message is one line for the user; exit status 1."""


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived; exit status 130. Not an `Exception`, so that nothing on the way swallows it."""


def comes_from_outside(error: BaseException) -> bool:
    """Whether an error reports a file system, a network or a store."""
    kinds = type(error).__mro__
    return isinstance(error, OSError) or any(k.__module__.partition(".")[0] in OUTSIDE for k in kinds)


def in_one_line(error: BaseException, width: int = 200) -> str:
    """The message of an error without line breaks and SQL, its type if it has none."""
    text = str(error).partition("[SQL:")[0]
    return plain(" ".join(text.split()))[:width].strip() or type(error).__name__


def plain(text: str) -> str:
    """Text that others wrote, as one line without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)
