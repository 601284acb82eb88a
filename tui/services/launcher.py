"""Runs started from the UI: each in a process session of its own, with a record and a log on disk.

They outlive the UI and are found again. What waits for a device is a record without a process; whichever UI is open
starts it when the device is free.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock

from sa_mlops.cluster.plan import option_words
from sa_mlops.config import ENTRY_POINTS, SubmitConfig
from tui.services.commands import python_path
from tui.services.store import PATIENCE

EXPERIMENT = "sa-mlops"
AUTO = "auto"
SLURM = "slurm"
"""In a record, the device of what runs as a job of the cluster: it takes none of this machine's."""
STAGE_PROGRAM, STAGE_COMMAND = "sa_mlops", "sa-mlops"
"""The same as a module and as it is typed."""
RUN_ID = re.compile(rb"in run with ID '([0-9a-f]{32})'")
HEAD = 64_000
TAIL = 64_000
REAP_SECONDS = 10.0
"""After SIGINT a run has this long to end by itself, then SIGTERM, then SIGKILL."""

State = Literal["queued", "running", "done", "failed", "cancelled", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A record: what was asked for, and the process that does it.

    Attributes
    ----------
    key : names the record and its files; sorts by time.
    command : words as they would be typed.
    entry, device : entry point and the word of its option `device`.
    order : place in the queue.
    pid, began : process id and what tells it from a later process of the same id; 0 and empty while queued.
    slot : device that it occupies while it runs.
    cancelled : seconds since 1970 when the user cancelled it, 0 if not.
    """

    key: str
    command: tuple[str, ...]
    entry: str
    device: str
    order: float
    pid: int = 0
    began: str = ""
    slot: str = ""
    started: float = 0.0
    cancelled: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A record with what has become of it."""

    launch: Launch
    state: State
    run_id: str
    status: int | None

    @property
    def live(self) -> bool:
        """Whether it waits or runs."""
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
    order : what the scheduler is told.
    """
    words = option_words(ENTRY_POINTS[entry])
    usual = {name: p.spell(p.default) for name, p in SubmitConfig.parameters().items()}
    options = [f"--{words[k].replace('_', '-')}={v}" for k, v in values.items() if v != defaults.get(k)]
    options += [f"--{k}={v}" for k, v in order.items() if v != usual[k]]
    return (STAGE_COMMAND, "submit", entry, *options, "--target=slurm", "--follow=true")


def spell(command: Sequence[str]) -> str:
    """A command as it would be typed."""
    return shlex.join(command)


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
        """Put a run into the queue; `tick` starts it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        now = time.time_ns()
        key = f"{now:019d}-{uuid.uuid4().hex[:6]}"
        launch = Launch(key=key, command=tuple(command), entry=entry, device=device, order=now / 1e9)
        self._write(launch)
        return launch

    def launches(self) -> list[Seen]:
        """All records, oldest first; files that are no records are left out."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            launch = _read(path)
            if launch is not None and launch.key == path.stem:
                found.append(self.look(launch))
        return found

    def look(self, launch: Launch) -> Seen:
        """What has become of a record."""
        status = self._status(launch.key)
        run_id = self._run_id(launch.key) if launch.pid else ""
        state: State
        if not launch.pid:
            state = "cancelled" if launch.cancelled else "queued"
        elif status is not None:
            state = "cancelled" if launch.cancelled else "done" if status == 0 else "failed"
        elif _alive(launch):
            state = "running"
        else:
            state = "cancelled" if launch.cancelled else "lost"
        return Seen(launch=launch, state=state, run_id=run_id, status=status)

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
        part = path.with_suffix(".part")
        part.write_text(json.dumps(dataclasses.asdict(launch), indent=1) + "\n")
        part.replace(path)

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
        """Start what waits for a device that is free, in order; those that were started."""
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
        """The device that a run would occupy: its own, or for `auto` the first GPU that is free, else the first."""
        if device == AUTO:
            return next((g for g in self.gpus if g not in taken), self.gpus[0] if self.gpus else "cpu")
        return "cuda:0" if device == "cuda" else device

    def move(self, key: str, places: int) -> None:
        """Move a waiting run up (negative) or down the queue."""
        waiting = [s.launch for s in self.launches() if s.state == "queued"]
        waiting.sort(key=lambda one: one.order)
        at = next((i for i, one in enumerate(waiting) if one.key == key), None)
        if at is None or not 0 <= at + places < len(waiting):
            return
        mine, other = waiting[at], waiting[at + places]
        self._write(dataclasses.replace(mine, order=other.order))
        self._write(dataclasses.replace(other, order=mine.order))

    def _start(self, launch: Launch, slot: str) -> Launch:
        environment = {k: v for k, v in os.environ.items() if PATIENCE.get(k) != v and k != "MLFLOW_RUN_ID"}
        environment |= {
            "MLFLOW_TRACKING_URI": self.uri,
            "PYTHONUNBUFFERED": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }
        if launch.device == AUTO and slot.startswith("cuda:"):
            environment["CUDA_VISIBLE_DEVICES"] = slot.removeprefix("cuda:")
        environment["PYTHONPATH"] = python_path()
        program = STAGE_PROGRAM if launch.command[0] == STAGE_COMMAND else launch.command[0]
        words = [sys.executable, "-m", program, *launch.command[1:]]
        ending = self.folder / f"{launch.key}.exit"
        # The shell stays to write down how it ended: nobody may be there to ask when that happens.
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
            launch, pid=process.pid, began=_began(process.pid), slot=slot, started=time.time()
        )
        self._write(begun)
        return begun

    # ------------------------------------------------------------------ cancel

    def cancel(self, key: str) -> None:
        """Take a waiting run out of the queue, or ask a running one to stop; `press` goes on from there."""
        seen = next((s for s in self.launches() if s.launch.key == key), None)
        if seen is None or not seen.live or seen.launch.cancelled:
            return
        self._write(dataclasses.replace(seen.launch, cancelled=time.time()))
        if seen.state == "running":
            _signal(_stage_processes(seen.launch), signal.SIGINT)

    def press(self) -> list[Seen]:
        """Send harder signals to cancelled runs that do not end; those that had to be killed."""
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
                # Cancelled before the stage's own process was there.
                _signal(_family(launch)[1:], signal.SIGTERM)
        return killed


_children: list[subprocess.Popen[bytes]] = []


def reap() -> None:
    """Let the operating system forget processes that ended; the records know how."""
    _children[:] = [child for child in _children if child.poll() is None]


def as_shown(text: str) -> str:
    """Output as a terminal would leave it: a carriage return starts the line anew, escape sequences are dropped."""
    plain = re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)", "", text)
    shown = []
    for line in plain.replace("\r\n", "\n").split("\n"):
        parts = [part for part in line.split("\r") if part]
        shown.append(parts[-1] if parts else "")
    return "\n".join(shown)


def _read(path: Path) -> Launch | None:
    try:
        values = json.loads(path.read_text())
        command = tuple(str(word) for word in values.pop("command"))
        launch = Launch(command=command, **values)
        numbers = (launch.order, launch.pid, launch.started, launch.cancelled)
        words = (launch.key, launch.entry, launch.device, launch.began, launch.slot)
        good = all(isinstance(n, int | float) for n in numbers) and all(isinstance(w, str) for w in words)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return launch if good else None


def _began(pid: int) -> str:
    """What tells a process from a later one with the same id; empty if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    except (OSError, IndexError):
        pass
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return ""


def _alive(launch: Launch) -> bool:
    return bool(launch.began) and _began(launch.pid) == launch.began


def _family(launch: Launch) -> list[psutil.Process]:
    """The processes of a run, the outermost first."""
    if not _alive(launch):
        return []
    try:
        root = psutil.Process(launch.pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _stage_processes(launch: Launch, *, exact: bool = False) -> list[psutil.Process]:
    """The process that does the work: the first in the family that runs `sa_mlops`.

    `mlflow run` around it must not be asked to stop: it would send a second signal to its child, which then ends
    before it has closed its run, and would itself call the run FAILED. Unless `exact`, the whole family stands in.
    """
    family = _family(launch)
    for process in family[1:]:
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if words[1:3] == ["-m", STAGE_PROGRAM]:
            return [process]
    # Without the shell around them: it would end before them, and they could no longer be found.
    return [] if exact else family[1:]


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.Error:
            continue
