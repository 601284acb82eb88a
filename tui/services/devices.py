"""Devices of this machine with their load, without torch."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass

GIB = 2**30
LOAD_SECONDS = 0.1
"""Over which the load of the CPU is measured."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device.

    Attributes
    ----------
    word : its value of the option `device`.
    used, total : memory in bytes; 0 if unknown.
    load : percent, negative if unknown.
    """

    word: str
    name: str
    used: int = 0
    total: int = 0
    load: float = -1.0

    def line(self) -> str:
        """A few words: `cuda:0 NVIDIA H100 41/80G 87 %`."""
        memory = f" {self.used / GIB:.0f}/{self.total / GIB:.0f}G" if self.total else ""
        load = f" {self.load:.0f} %" if self.load >= 0 else ""
        return f"{self.word} {self.name}{memory}{load}"


def devices() -> list[Device]:
    """GPUs, then Apple's GPU, then the CPU. Blocks for a tenth of a second."""
    found = _gpus()
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        found.append(Device("mps", "Apple GPU"))
    return [*found, _cpu()]


def slurm() -> bool:
    """Whether SLURM is installed here."""
    return shutil.which("sbatch") is not None


def _cpu() -> Device:
    import psutil

    memory = psutil.virtual_memory()
    cores = psutil.cpu_count() or 1
    # Without an interval psutil compares with the last call of the same thread; workers are different ones.
    load = psutil.cpu_percent(interval=LOAD_SECONDS)
    return Device("cpu", f"{cores} cores", memory.total - memory.available, memory.total, load)


def _gpus() -> list[Device]:
    import pynvml

    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return []
    found = []
    for i in range(count):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(i)
            name = pynvml.nvmlDeviceGetName(handle)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        except pynvml.NVMLError:
            continue
        try:
            load = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        except pynvml.NVMLError:
            load = -1.0
        word = name.decode() if isinstance(name, bytes) else str(name)
        found.append(Device(f"cuda:{i}", word, int(memory.used), int(memory.total), load))
    return found
