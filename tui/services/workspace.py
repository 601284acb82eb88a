"""The state that the application shares with its screens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tui.services import demo
from tui.services.devices import Device
from tui.services.launcher import Launcher, Tracked
from tui.services.layout import Layout
from tui.services.records import Snapshot
from tui.services.sampler import Sampler
from tui.services.store import Store

Graphics = Literal["half", "auto", "kitty", "sixel"]
"""Half blocks work everywhere and are the default. The library of the others queries the terminal at import."""


@dataclass(slots=True, kw_only=True)
class Workspace:
    """Services, the last reading of the store, and the user's choices. Only the application writes it.

    Attributes
    ----------
    read_only : no launch, cancellation, promotion or deletion.
    demo : whether the store is the built-in demo.
    filling : whether the demo is being made.
    slurm : whether runs can be submitted to SLURM from here.
    marked : URIs of marked versions.
    stale : why the reading is old; empty while the store answers.
    running, queued : number of runs.
    """

    store: Store
    launcher: Launcher
    layout: Layout
    sampler: Sampler = field(default_factory=Sampler)
    graphics: Graphics = "half"
    read_only: bool = False
    demo: bool = False
    filling: bool = False
    slurm: bool = False
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(complete=False))
    launches: tuple[Tracked, ...] = ()
    marked: set[str] = field(default_factory=set)
    stale: str = ""
    loading: bool = True
    running: int = 0
    queued: int = 0
    devices: tuple[Device, ...] = ()

    @property
    def defaults(self) -> Mapping[str, str]:
        """First values of the launch form."""
        return demo.FORGETTING if self.demo else {}
