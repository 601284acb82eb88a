"""Leadership of a study: one command draws its conclusions, the others lend it their workers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from sa_mlops.registry import processes
from sa_mlops.stages.progress import say
from sa_mlops.tuning.storage import alone

SIGN, GRACE = 30.0, 120.0
"""Seconds between signs of life, and seconds without one after which a leader on another machine counts as gone."""
CREW = 10_000
"""Numbers of workers that a command reserves."""
LEAD, COMMANDS = "lead", "commands"
"""User attributes of a study: its leading command, and the number of commands that have worked on it."""


@dataclass(frozen=True, slots=True)
class Lead:
    """The leading command of a study.

    Attributes
    ----------
    run : its MLflow run.
    process : tags of `processes.identity`.
    seen : its last sign of life, seconds since 1970.
    """

    run: str
    process: Mapping[str, Any]
    seen: float

    @property
    def alive(self) -> bool:
        """Whether it still leads: its process on this machine, its last sign of life elsewhere."""
        match processes.fate(self.process):
            case "alive":
                return True
            case "gone":
                return False
            case _:
                return time.time() - self.seen < GRACE


def lead_of(study: optuna.Study) -> Lead | None:
    """The last command that led a study, None if there was none."""
    found = study.user_attrs.get(LEAD)
    if found is None:
        return None
    process = found["process"]
    # Studies of earlier versions hold a list here.
    return Lead(found["run"], process if isinstance(process, dict) else {}, found["seen"])


def sign(study: optuna.Study, run: str) -> None:
    """Record a sign of life as the leader."""
    study.set_user_attr(LEAD, {"run": run, "process": processes.identity(), "seen": time.time()})


def enlist(study: optuna.Study, place: str) -> int:
    """The number from which a command counts its workers: workers of different commands draw different values."""
    with alone(place):
        commands = int(study.user_attrs.get(COMMANDS, 0))
        study.set_user_attr(COMMANDS, commands + 1)
    return commands * CREW


class Leadership:
    """A command's part in a study.

    Attributes
    ----------
    other : the leading command, None if this one leads.
    """

    def __init__(self, study: optuna.Study, place: str, run: str) -> None:
        self.study, self.place, self.run = study, place, run
        self.other = self._take()

    def _take(self) -> Lead | None:
        with alone(self.place):
            found = lead_of(self.study)
            if found is not None and found.alive and found.run != self.run:
                return found
            self._sign()
        return None

    def _sign(self) -> None:
        sign(self.study, self.run)
        self.signed = time.monotonic()

    def refresh(self) -> bool:
        """Give a sign of life, or take over from a leader that is gone; whether this command leads."""
        found = lead_of(self.study)
        if found is not None and found.run != self.run and found.alive:
            self.other = found
        elif self.other is not None:
            self.other = self._take()
            if self.other is None:
                say("the leading command is gone; this one leads now")
        elif time.monotonic() - self.signed > SIGN:
            self._sign()
        return self.other is None
