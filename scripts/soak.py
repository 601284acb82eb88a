"""A long mixed load: `python scripts/soak.py --minutes 30 --seed 0`.

Against a server as `make server` starts it: `forget` runs, many of them interrupted or killed, the terminal UI's
reader, `lineage` and `doctor`, and restarts of the server. Afterwards the conditions of `scripts/faults.py` must hold:
no incomplete version, no alias moved, every run's status true after `doctor --fix`, and a healthy store. The memory of
the server and of the reader is recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crowd
import psutil
from crowd import ROOT, Command, Crowd
from invariants import aftermath, state
from serving import Server, serve

SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
KILLED = 0.5
"""Share of runs that get a signal before they end."""
TRUE = {"SIGINT": (0, 130, -2), "SIGTERM": (0, 130, -15), "SIGKILL": (0, -9), "undisturbed": (0,)}
"""Signal of a run -> correct exit statuses; 0 if the signal came after the end."""
SAMPLE = 5.0
"""Seconds between two measurements of memory."""
PAUSE = 0.5
"""Seconds between two readings of the store."""


def browse(uri: str) -> None:
    """Read the store repeatedly as the terminal UI does; prints seconds and versions of each reading."""
    sys.path.insert(0, str(ROOT))
    from sa_mlops.errors import CommandError
    from tui.services.records import Snapshot
    from tui.services.store import Store

    store = Store(uri)
    shown: Snapshot | None = None
    while True:
        begin = time.monotonic()
        try:
            *_, shown = store.read(shown)
            found: int | None = len(shown.versions)
        except CommandError:
            found = None
        except Exception as error:
            from mlflow.exceptions import MlflowException

            if not isinstance(error, MlflowException):
                raise
            found = None
        print(json.dumps([time.monotonic() - begin, found]), flush=True)
        time.sleep(PAUSE)


def memory(pid: int) -> float:
    """Resident megabytes of a process and its descendants."""
    total = 0
    try:
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        pass
    return total / 1e6


@dataclass(slots=True)
class Run:
    """A `forget`, and the signal that it gets after `after` seconds; no signal if the name is empty."""

    command: Command
    name: str
    after: float
    sent: bool = False

    def send_if_due(self) -> None:
        """Send the signal once: a second one would end the process immediately."""
        if self.name and not self.sent and self.command.seconds > self.after:
            self.command.process.send_signal(getattr(signal, self.name))
            self.sent = True


class Soak:
    """One campaign.

    Parameters
    ----------
    at_once : `forget` runs at the same time.
    brief : whether they measure with few samples.
    """

    def __init__(self, server: Server, folder: Path, seed: int, at_once: int, *, brief: bool = False) -> None:
        self.server, self.folder, self.at_once = server, folder, at_once
        self.rng = random.Random(seed)
        self.many = Crowd(folder, {}, brief=brief)
        self.going: list[Run] = []
        self.looking: Command | None = None
        self.outcomes: Counter[str] = Counter()
        self.looks: dict[str, list[float]] = {"lineage": [], "doctor": []}
        self.wrong: list[str] = []
        self.restarts: list[tuple[float, float]] = []
        self.sizes: dict[str, list[float]] = {"server": [], "browser": []}

    def tend_runs(self, usual: float) -> None:
        """Start runs, send signals that are due, and record runs that ended."""
        for run in list(self.going):
            status = run.command.process.poll()
            if status is None:
                run.send_if_due()
                if run.command.seconds > crowd.LIMIT:
                    run.command.process.kill()
                    self.wrong.append(f"a run hangs: {run.command.said}")
                continue
            self.going.remove(run)
            what = run.name if run.sent else "undisturbed"
            self.outcomes[f"{what}: {status}"] += 1
            if status not in TRUE[what] and not self.excused(run.command):
                self.wrong.append(f"{what}: status {status}: {run.command.said[-600:]}")
            # Python itself reports a Ctrl-C before the command has begun.
            if "Traceback" in run.command.said and status != -signal.SIGINT:
                self.wrong.append(f"{what}: a traceback: {run.command.said}")
        while len(self.going) < self.at_once:
            name = self.rng.choice(SIGNALS) if self.rng.random() < KILLED else ""
            due = self.rng.uniform(0, usual)
            self.going.append(Run(self.many.forget(self.many.started), name, due))

    def excused(self, command: Command) -> bool:
        """Whether the server was down while the command ran: then it may fail with one line."""
        away = any(end > command.begun for _, end in self.restarts)
        return away and command.process.returncode == 1

    def tend_looks(self) -> None:
        """Run the read-only commands one after another."""
        if self.looking is not None and self.looking.process.poll() is None:
            return
        if self.looking is not None:
            name = self.looking.words[0]
            self.looks[name].append(self.looking.seconds)
            # doctor rightly reports a killed run that is still RUNNING, and its pending model.
            if self.looking.process.returncode not in (
                (0, 1) if name == "doctor" else (0,)
            ) and not self.excused(self.looking):
                self.wrong.append(f"{name}: {self.looking.said}")
        ways = list(self.looks)
        self.looking = self.many.start(ways[sum(map(len, self.looks.values())) % 2], "--json")

    def restart(self) -> None:
        """Stop server and database, and start them again."""
        begin = time.monotonic()
        self.server.stop()
        self.server.start()
        self.restarts.append((begin, time.monotonic()))

    def run(self, minutes: float, usual: float) -> None:
        """Run everything for `minutes`."""
        begin = time.monotonic()
        due = [begin + 60 * minutes * share for share in (1 / 3, 2 / 3)]
        measured = 0.0
        readings = self.folder / "readings"
        with readings.open("wb") as out:
            browser = subprocess.Popen([sys.executable, __file__, "--browse", self.server.url], stdout=out)
            try:
                while time.monotonic() < begin + 60 * minutes:
                    self.tend_runs(usual)
                    self.tend_looks()
                    if due and time.monotonic() > due[0]:
                        due.pop(0)
                        self.restart()
                    if time.monotonic() > measured + SAMPLE and self.server.process is not None:
                        measured = time.monotonic()
                        self.sizes["server"].append(memory(self.server.process.pid))
                        self.sizes["browser"].append(memory(browser.pid))
                    if browser.poll() is not None:
                        self.wrong.append("the reader ended")
                        break
                    time.sleep(0.1)
            finally:
                browser.kill()
                browser.wait()
                self.finish()

    def finish(self) -> None:
        """Wait for the last commands."""
        for run in self.going:
            status = run.command.process.wait(crowd.LIMIT)
            what = run.name if run.sent else "undisturbed"
            self.outcomes[f"{what}: {status}"] += 1
            if status not in TRUE[what] and not self.excused(run.command):
                self.wrong.append(f"at the end: status {status}: {run.command.said[-600:]}")
        if self.looking is not None:
            self.looking.process.wait(crowd.LIMIT)


def spread(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and largest; empty without values."""
    ranked = sorted(values)
    if not ranked:
        return {}
    at = ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))]
    return {"median": round(statistics.median(ranked), 3), "p95": round(at, 3), "max": round(ranked[-1], 3)}


def campaign(minutes: float, seed: int, at_once: int) -> dict[str, Any]:
    """Run everything on a server of its own; returns the figures."""
    quiet = crowd.environment()
    with serve() as server, tempfile.TemporaryDirectory() as name:
        os.environ |= quiet | server.environment
        return soaked(server, Path(name), minutes, seed, at_once)


def soaked(
    server: Server, folder: Path, minutes: float, seed: int, at_once: int, *, brief: bool = False
) -> dict[str, Any]:
    """Run everything on a server that `MLFLOW_TRACKING_URI` names, empty or with a base as version 1."""
    soak = Soak(server, folder, seed, at_once, brief=brief)
    soak.many.stock(state()["versions"])
    clean = soak.many.forget(0)
    if clean.process.wait(crowd.LIMIT) != 0:
        raise SystemExit(clean.said)
    before = state()
    soak.run(minutes, usual=1.5 * at_once * clean.seconds)
    readings = [json.loads(line) for line in (folder / "readings").read_text().splitlines()]
    found = aftermath()
    left, fixed, wrong = found["left"], found["fixed"], soak.wrong
    wrong += fixed["broken"] + [f"run {r} stays RUNNING after doctor --fix" for r in fixed["running"]]
    wrong += [f"doctor: {finding}" for finding in found["wrong"]]
    if (fixed["aliases"], fixed["events"]) != (before["aliases"], before["events"]):
        wrong.append(f"aliases moved: {before['aliases']} -> {fixed['aliases']}")
    if not before["versions"].items() <= fixed["versions"].items():
        wrong.append("an older version is missing, or its run's status has changed")
    seen = [n for _, n in readings if n is not None]
    return {
        "minutes": minutes,
        "seed": seed,
        "at_once": at_once,
        "outcomes": dict(sorted(soak.outcomes.items())),
        "versions": len(fixed["versions"]) - len(before["versions"]),
        "left_running_until_doctor": len(left["running"]),
        "restarts": {"times": len(soak.restarts), "seconds": [round(b - a, 1) for a, b in soak.restarts]},
        "memory_mb": {
            name: {"first": round(v[0]), "last": round(v[-1]), "largest": round(max(v))}
            for name, v in soak.sizes.items()
        },
        "readings": {
            "times": len(readings),
            "unanswered": len(readings) - len(seen),
            "seconds": spread([s for s, n in readings if n is not None]),
        },
        "commands_that_look": {n: spread(v) | {"times": len(v)} for n, v in soak.looks.items() if v},
        "wrong": wrong,
        "commit": crowd.commit(),
    }


def main() -> int:
    """Run it; returns 1 after a violation."""
    parser = argparse.ArgumentParser(description="Runs, kills, readers and restarts on one MLflow server.")
    parser.add_argument("--minutes", type=float, default=30, help="duration")
    parser.add_argument("--seed", type=int, default=0, help="random seed of signals and times")
    parser.add_argument("--at-once", type=int, default=3, help="concurrent forget runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "soak.json", help="file for the figures")
    parser.add_argument("--browse", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.browse:
        browse(arguments.browse)
    out = arguments.out.resolve()
    sys.path.insert(0, str(ROOT))
    figures = campaign(arguments.minutes, arguments.seed, arguments.at_once)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{sum(figures['outcomes'].values())} runs, {len(figures['wrong'])} things wrong")
    for line in figures["wrong"]:
        print(line, file=sys.stderr)
    return 1 if figures["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
