"""Which process a run belongs to, and whether that process still runs. Independent of the wall clock."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import psutil

HOST = "sa.host"
PID = "sa.pid"
STARTED = "sa.started"
"""Start of the process, unique among all processes of all machines: `MACHINE:BOOT:PID_NAMESPACE:BEGIN`."""
PROCESS = "sa.process"
"""Tag of a run: the identity of its process as JSON."""

Fate = Literal["alive", "gone", "elsewhere", "unknown"]
"""`elsewhere`: a process of another machine or container, which only that one can check. `unknown`: no identity."""


def identity(pid: int | None = None) -> dict[str, str]:
    """What identifies a process of this machine; this one without `pid`."""
    pid = os.getpid() if pid is None else pid
    return {HOST: platform.node(), PID: str(pid), STARTED: ":".join((*_place(), _begin(pid)))}


def tag() -> dict[str, str]:
    """The tag that names this process as that of a run."""
    return {PROCESS: json.dumps(identity())}


def of_run(tags: Mapping[str, str]) -> Mapping[str, str]:
    """The identity in the tags of a run, {} for none; older runs have a tag for each part of it."""
    if PROCESS not in tags:
        return {key: tags[key] for key in (HOST, PID, STARTED) if key in tags}
    try:
        found = json.loads(tags[PROCESS])
    except ValueError:
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def fate(identity: Mapping[str, str]) -> Fate:
    """State of the process that `identity` described.

    The number alone is not enough: numbers are used again, and each container has its own.
    """
    host, pid, started = (identity.get(key, "") for key in (HOST, PID, STARTED))
    parts = started.split(":")
    if not host or not (pid.isascii() and pid.isdecimal() and len(pid) < 10) or len(parts) != 4:
        return "unknown"
    machine, boot, numbers, begin = parts
    here, booted, numbered = _place()
    if host != platform.node() or machine != here:
        return "elsewhere"
    if boot != booted:
        # The machine was restarted. Without a machine id, another machine may have the same name.
        return "gone" if here else "elsewhere"
    if numbers != numbered:
        return "elsewhere"
    return "alive" if _begin(int(pid)) == begin else "gone"


def _place() -> tuple[str, str, str]:
    """Ids of the machine, of its boot and of the namespace of process numbers; empty where the system has none."""
    machine = _read("/etc/machine-id")[:12]
    boot = _read("/proc/sys/kernel/random/boot_id").replace("-", "")[:12]
    try:
        numbers = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        numbers = ""
    return machine, boot, numbers


def _begin(pid: int) -> str:
    """Start of a process: ticks since boot from /proc, else seconds since 1970; empty if it does not run."""
    try:
        # The name in parentheses may hold anything; the state is the first field after it.
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip().replace(":", "")
    except OSError:
        return ""
