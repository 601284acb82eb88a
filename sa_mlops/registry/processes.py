"""Which process a run belongs to, and whether it still lives. A clock that jumps changes nothing here."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import psutil

HOST = "sa.host"
PID = "sa.pid"
STARTED = "sa.started"
"""When the process began, told so that no other process of any machine has it: `MACHINE:BOOT:PIDS:BEGIN`."""

Fate = Literal["alive", "gone", "elsewhere", "unknown"]
"""`elsewhere`: another machine or container; only there it can be told. `unknown`: the run carries no such tags."""


def identity(pid: int | None = None) -> dict[str, str]:
    """Tags that identify a process of this machine; this one without `pid`."""
    pid = os.getpid() if pid is None else pid
    return {HOST: platform.node(), PID: str(pid), STARTED: ":".join((*_place(), _begin(pid)))}


def fate(tags: Mapping[str, str]) -> Fate:
    """What has become of the process that `identity` described.

    A process number alone says nothing: numbers are used again, and mean something else in another container.
    """
    host, pid, started = (tags.get(key, "") for key in (HOST, PID, STARTED))
    parts = started.split(":")
    if not host or not (pid.isascii() and pid.isdecimal() and len(pid) < 10) or len(parts) != 4:
        return "unknown"
    machine, boot, numbers, begin = parts
    here, booted, numbered = _place()
    if host != platform.node() or machine != here:
        return "elsewhere"
    if boot != booted:
        # Started anew, if it is the same machine: a name alone does not tell.
        return "gone" if here else "elsewhere"
    if numbers != numbered:
        return "elsewhere"
    return "alive" if _begin(int(pid)) == begin else "gone"


def _place() -> tuple[str, str, str]:
    """Machine, its boot, and the namespace that process numbers are in; empty where there is no such thing."""
    machine = _read("/etc/machine-id")[:12]
    boot = _read("/proc/sys/kernel/random/boot_id").replace("-", "")[:12]
    try:
        numbers = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        numbers = ""
    return machine, boot, numbers


def _begin(pid: int) -> str:
    """When a process began: ticks since boot where the kernel tells, else seconds since 1970; empty without one."""
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
