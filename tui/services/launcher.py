"""Runs started from the UI: each in its own process session, with a record and a log on disk.

They outlive the UI and are found again by the next one. A queued launch is a record without a process; an open UI, or
the queue's keeper (`keeper.py`) after it, starts it when its device is free.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock

from sa_mlops.cluster.plan import option_words
from sa_mlops.config import ENTRY_POINTS, SubmitConfig
from sa_mlops.files import replacing
from sa_mlops.registry import processes
from sa_mlops.registry.last_words import as_shown
from tui.services.commands import python_path
from tui.services.store import PATIENCE

EXPERIMENT = "sa-mlops"
AUTO = "auto"
SLURM = "slurm"
"""The device of a record that runs as a job of the cluster: it occupies none of this machine."""
STAGE_PROGRAM, STAGE_COMMAND = "sa_mlops", "sa-mlops"
"""The program as a module and as a typed command."""
RUN_ID = re.compile(rb"in run with ID '([0-9a-f]{32})'")
HEAD = 64_000
TAIL = 64_000
REAP_SECONDS = 10.0
"""Time to end after SIGINT before SIGTERM, and after that before SIGKILL."""

State = Literal["queued", "running", "done", "failed", "cancelled", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A record: the command and its process.

    Attributes
    ----------
    key : names the record and its files; sorts by time.
    command : words as they would be typed.
    entry, device : entry point and value of its option `device`.
    order : place in the queue.
    process : identity of the process (`registry.processes`); empty while queued.
    slot : device that it occupies while it runs.
    started, cancelled : seconds since 1970; 0 if it was not.
    """

    key: str
    command: tuple[str, ...]
    entry: str
    device: str
    order: float
    process: Mapping[str, str] = field(default_factory=dict)
    slot: str = ""
    started: float = 0.0
    cancelled: float = 0.0

    @property
    def pid(self) -> int:
        """Process id, 0 while queued."""
        return int(self.process.get(processes.PID, 0))

    @property
    def alive(self) -> bool:
        """Whether its process exists."""
        return processes.fate(self.process) == "alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A launch with its state, the id of its run and the exit status of its process."""

    launch: Launch
    state: State
    run_id: str
    status: int | None

    @property
    def live(self) -> bool:
        """Whether it is queued or running."""
        return self.state in ("queued", "running")


def command_for(entry: str, values: Mapping[str, str], defaults: Mapping[str, str]) -> tuple[str, ...]:
    """The command of an entry point, as typed in the project's folder; only what differs from its default."""
    options = [word for k, v in values.items() if v != defaults.get(k) for word in ("-P", f"{k}={v}")]
    fixed = ("--env-manager", "local", "--experiment-name", EXPERIMENT)
    return ("mlflow", "run", ".", "-e", entry, *fixed, *options)


def submit_command_for(
    entry: str, values: Mapping[str, str], defaults: Mapping[str, str], order: Mapping[str, str]
) -> tuple[str, ...]:
    """The command that submits an entry point to SLURM and follows it; only what differs from its default.

    Parameters
    ----------
    order : options of the scheduler.
    """
    words = option_words(ENTRY_POINTS[entry])
    usual = {name: p.spell(p.default) for name, p in SubmitConfig.parameters().items()}
    options = [f"--{words[k].replace('_', '-')}={v}" for k, v in values.items() if v != defaults.get(k)]
    options += [f"--{k}={v}" for k, v in order.items() if v != usual[k]]
    return (STAGE_COMMAND, "submit", entry, *options, "--target=slurm", "--follow=true")


def spell(command: Sequence[str]) -> str:
    """A command as it would be typed."""
    return shlex.join(command)


def typed(command: Sequence[str], uri: str) -> str:
    """A command with its store, as it runs from any shell in the project's folder."""
    return f"MLFLOW_TRACKING_URI={shlex.quote(uri)} {spell(command)}"


class Launcher:
    """The records of one state folder.

    Parameters
    ----------
    folder : where records and logs lie.
    project : the folder with MLproject.
    uri : tracking store of the runs.
    gpus : words of the GPUs of this machine; a run on device `auto` takes the first one free.
    """

    def __init__(self, folder: Path, project: Path, uri: str, gpus: Sequence[str] = ()) -> None:
        self.folder = folder
        self.project = project
        self.uri = uri
        self.gpus: Sequence[str] = gpus

    # ------------------------------------------------------------------ records

    def submit(self, command: Sequence[str], entry: str, device: str) -> Launch:
        """Queue a run; `tick` starts it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        now = time.time_ns()
        key = f"{now:019d}-{uuid.uuid4().hex[:6]}"
        launch = Launch(key=key, command=tuple(command), entry=entry, device=device, order=now / 1e9)
        self._write(launch)
        return launch

    def launches(self) -> list[Tracked]:
        """All records, oldest first; other files are ignored."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            launch = _read(path)
            if launch is not None and launch.key == path.stem:
                found.append(self.look(launch))
        return found

    def look(self, launch: Launch) -> Tracked:
        """The state of a record."""
        status = self._status(launch.key)
        run_id = self._run_id(launch.key) if launch.pid else ""
        state: State
        if not launch.pid:
            state = "cancelled" if launch.cancelled else "queued"
        elif status is not None:
            state = "cancelled" if launch.cancelled else "done" if status == 0 else "failed"
        elif launch.alive:
            state = "running"
        else:
            state = "cancelled" if launch.cancelled else "lost"
        return Tracked(launch=launch, state=state, run_id=run_id, status=status)

    def log(self, key: str) -> Path:
        """The log file of a record."""
        return self.folder / f"{key}.log"

    def tail(self, key: str, lines: int = 300) -> str:
        """The end of a log as a terminal would show it."""
        try:
            with self.log(key).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - TAIL))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(as_shown(text).split("\n")[-lines:])

    def _write(self, launch: Launch) -> None:
        path = self.folder / f"{launch.key}.json"
        with replacing(path) as part:
            part.write_text(json.dumps(dataclasses.asdict(launch), indent=1) + "\n")

    def _status(self, key: str) -> int | None:
        try:
            return int((self.folder / f"{key}.exit").read_text())
        except (OSError, ValueError):
            return None

    def _run_id(self, key: str) -> str:
        try:
            with self.log(key).open("rb") as file:
                match = RUN_ID.search(file.read(HEAD))
        except OSError:
            return ""
        return match[1].decode() if match else ""

    # ------------------------------------------------------------------ queue

    def tick(self) -> list[Launch]:
        """Start queued runs whose device is free, in order; returns them."""
        if not self.folder.is_dir():
            return []
        with FileLock(self.folder / "queue.lock", timeout=5):
            seen = self.launches()
            taken = {s.launch.slot for s in seen if s.state == "running"}
            started = []
            waiting = (s.launch for s in seen if s.state == "queued")
            for launch in sorted(waiting, key=lambda one: one.order):
                slot = self.slot(launch.device, taken)
                if slot == SLURM or slot not in taken:
                    taken.add(slot)
                    started.append(self._start(launch, slot))
        return started

    def slot(self, device: str, taken: set[str]) -> str:
        """The device that a run would occupy: its own, or for `auto` the first free GPU, else the first."""
        if device == AUTO:
            return next((g for g in self.gpus if g not in taken), self.gpus[0] if self.gpus else "cpu")
        return "cuda:0" if device == "cuda" else device

    def move(self, key: str, places: int) -> None:
        """Move a queued run up (negative) or down."""
        waiting = [s.launch for s in self.launches() if s.state == "queued"]
        waiting.sort(key=lambda one: one.order)
        at = next((i for i, one in enumerate(waiting) if one.key == key), None)
        if at is None or not 0 <= at + places < len(waiting):
            return
        mine, other = waiting[at], waiting[at + places]
        self._write(dataclasses.replace(mine, order=other.order))
        self._write(dataclasses.replace(other, order=mine.order))

    def environment(self) -> dict[str, str]:
        """Environment of processes that run without the UI."""
        kept = {k: v for k, v in os.environ.items() if PATIENCE.get(k) != v and k != "MLFLOW_RUN_ID"}
        return kept | {
            "MLFLOW_TRACKING_URI": self.uri,
            "PYTHONUNBUFFERED": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": python_path(),
        }

    def _start(self, launch: Launch, slot: str) -> Launch:
        environment = self.environment()
        if launch.device == AUTO and slot.startswith("cuda:"):
            environment["CUDA_VISIBLE_DEVICES"] = slot.removeprefix("cuda:")
        program = STAGE_PROGRAM if launch.command[0] == STAGE_COMMAND else launch.command[0]
        words = [sys.executable, "-m", program, *launch.command[1:]]
        ending = self.folder / f"{launch.key}.exit"
        # The shell records the exit status: no UI may be open when the run ends.
        script = '"$@"; status=$?; echo $status > "$0.part"; mv "$0.part" "$0"'
        with self.log(launch.key).open("wb") as out:
            process = subprocess.Popen(
                ["/bin/sh", "-c", script, str(ending), *words],
                cwd=self.project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _children.append(process)
        begun = dataclasses.replace(
            launch, process=processes.identity(process.pid), slot=slot, started=time.time()
        )
        self._write(begun)
        return begun

    # ------------------------------------------------------------------ cancel

    def cancel(self, key: str) -> None:
        """Remove a run from the queue, or ask a running one to stop; `press` does the rest."""
        seen = next((s for s in self.launches() if s.launch.key == key), None)
        if seen is None or not seen.live or seen.launch.cancelled:
            return
        self._write(dataclasses.replace(seen.launch, cancelled=time.time()))
        if seen.state == "running":
            _signal(_stage_processes(seen.launch), signal.SIGINT)

    def press(self) -> list[Tracked]:
        """Send stronger signals to cancelled runs that do not end; returns the killed ones."""
        killed = []
        for seen in self.launches():
            launch = seen.launch
            if seen.state != "running" or not launch.cancelled:
                continue
            waited = time.time() - launch.cancelled
            if waited > 2 * REAP_SECONDS:
                _signal(_family(launch), signal.SIGKILL)
                killed.append(seen)
            elif waited > REAP_SECONDS:
                _signal(_stage_processes(launch), signal.SIGTERM)
            elif not _stage_processes(launch, exact=True):
                # Cancelled before the process of the stage existed.
                _signal(_family(launch)[1:], signal.SIGTERM)
        return killed


_children: list[subprocess.Popen[bytes]] = []


def reap() -> None:
    """Collect processes that ended; their records hold the exit status."""
    _children[:] = [child for child in _children if child.poll() is None]


def _read(path: Path) -> Launch | None:
    try:
        values = json.loads(path.read_text())
        command = tuple(str(word) for word in values.pop("command"))
        # Records of earlier versions: their process is known by its id alone, and not taken for alive.
        values.pop("began", None)
        if pid := values.pop("pid", 0):
            values["process"] = {processes.PID: str(int(pid))}
        launch = Launch(command=command, **values)
        numbers = (launch.order, launch.pid, launch.started, launch.cancelled)
        words = (launch.key, launch.entry, launch.device, launch.slot, *launch.process.values())
        good = all(isinstance(n, int | float) for n in numbers) and all(isinstance(w, str) for w in words)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return launch if good else None


def _family(launch: Launch) -> list[psutil.Process]:
    """The processes of a run, the outermost first."""
    if not launch.alive:
        return []
    try:
        root = psutil.Process(launch.pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _stage_processes(launch: Launch, *, exact: bool = False) -> list[psutil.Process]:
    """The process of the stage: the first in the family that runs `sa_mlops`; without it the family, unless `exact`.

    `mlflow run` around it must not be signalled: it would signal its child a second time, which then ends before it
    has closed its run, and would report the run as FAILED.
    """
    family = _family(launch)
    for process in family[1:]:
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if words[1:3] == ["-m", STAGE_PROGRAM]:
            return [process]
    # Without the shell around them: if it ended first, they could no longer be found.
    return [] if exact else family[1:]


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue
