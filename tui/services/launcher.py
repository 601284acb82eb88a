"""Runs started from the UI: processes of their own session, which outlive it and are found again by their records."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(".sa-mlops") / "launches"


@dataclass(frozen=True, slots=True)
class Launch:
    """A process that was started: its command, id, log file, start (seconds since 1970)."""

    key: str
    command: tuple[str, ...]
    pid: int
    log: str
    started: float

    def alive(self) -> bool:
        """Whether it still runs. A process id that now belongs to another command does not count."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (OSError, IndexError):
            return False
        return state != "Z" and self.command[-1].encode() in words

    def tail(self, lines: int = 200) -> str:
        """The end of its log; a carriage return starts a line anew, as on a terminal."""
        try:
            with Path(self.log).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 64_000))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        shown = [
            line.rsplit("\r", 1)[-1] if not line.endswith("\r") else line[:-1] for line in text.split("\n")
        ]
        return "\n".join(shown[-lines:])


def command_for(entry: str, values: Mapping[str, str], defaults: Mapping[str, str]) -> list[str]:
    """The `mlflow run` command of an entry point: only what differs from its default."""
    options = [word for k, v in values.items() if v != defaults.get(k) for word in ("-P", f"{k}={v}")]
    return [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local", *options, "-e", entry]


def spell(command: list[str]) -> str:
    """As it would be typed."""
    words = ["mlflow", *command[3:]] if command[1:3] == ["-m", "mlflow"] else command
    return shlex.join(words)


def start(command: list[str], root: Path, uri: str) -> Launch:
    """Start a command in `root` against a store, with its output in a log file, and write its record."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    key = f"{time.time_ns()}"
    log = folder / f"{key}.log"
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": uri,
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    launch = Launch(key, tuple(command), process.pid, str(log), time.time())
    (folder / f"{key}.json").write_text(json.dumps(asdict(launch)))
    return launch


def launches(root: Path) -> list[Launch]:
    """All recorded launches, newest first; records that cannot be read are left out."""
    found = []
    for path in sorted((root / FOLDER).glob("*.json"), reverse=True):
        try:
            values = json.loads(path.read_text())
            found.append(Launch(**(values | {"command": tuple(values["command"])})))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def cancel(launch: Launch, *, hard: bool = False) -> None:
    """SIGINT to the whole session (it ends as KILLED in MLflow), or SIGKILL."""
    if launch.alive():
        try:
            os.killpg(launch.pid, signal.SIGKILL if hard else signal.SIGINT)
        except ProcessLookupError:
            return
