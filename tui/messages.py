"""Messages between the application and its screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from textual.message import Message

from sa_mlops.registry.version import Version
from tui.services.launcher import Tracked


class StoreRead(Message, bubble=False):
    """To every screen: the workspace holds a new reading of the store."""


class StatusChanged(Message, bubble=False):
    """To every screen: the status line has changed."""


@dataclass
class OpenVersion(Message):
    """Show a generator in the registry."""

    number: int


@dataclass
class OpenRun(Message):
    """Show a run, or a launch without a run, in the list of runs."""

    key: str


@dataclass
class OpenLaunch(Message):
    """Open the launch form with these values."""

    entry: str
    given: Mapping[str, str]


@dataclass
class Promote(Message):
    """Promote a version after a question."""

    version: Version


@dataclass
class Annotate(Message):
    """Write a note on a version; an empty one removes it."""

    version: Version
    text: str


@dataclass
class Delete(Message):
    """Delete a version after a question."""

    version: Version


@dataclass
class Cancel(Message):
    """Cancel a launch after a question."""

    launch: Tracked


@dataclass
class MoveInQueue(Message):
    """Move a waiting launch up (negative) or down the queue."""

    launch: Tracked
    places: int


class MeasureDevices(Message):
    """Measure the load of the devices now."""
