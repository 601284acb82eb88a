"""What the application tells its screens."""

from __future__ import annotations

from dataclasses import dataclass

from tui.services.launcher import Seen
from tui.services.records import Snapshot


@dataclass(frozen=True, slots=True)
class Update:
    """Something new: the store as it was read last, and the runs started from here."""

    snapshot: Snapshot
    launches: tuple[Seen, ...]
