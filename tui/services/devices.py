"""Devices of this machine with their load."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """A device: the word for `--device`, a name, memory used and there (bytes), load in percent."""

    word: str
    name: str
    used: int
    total: int
    load: float

    def line(self) -> str:
        """For the header."""
        gib = 2**30
        return f"{self.word} {self.name} {self.used / gib:.0f}/{self.total / gib:.0f}G {self.load:.0f}%"


def devices() -> list[Device]:
    """GPUs by NVML first, then the CPU."""
    return [*_gpus(), _cpu()]


def _cpu() -> Device:
    import psutil

    memory = psutil.virtual_memory()
    return Device("cpu", f"{psutil.cpu_count()} cores", memory.used, memory.total, psutil.cpu_percent())


def _gpus() -> list[Device]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    found = []
    for i in range(pynvml.nvmlDeviceGetCount()):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(i)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            load = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
            name = str(pynvml.nvmlDeviceGetName(handle))
        except pynvml.NVMLError:
            continue
        found.append(Device(f"cuda:{i}", name, int(memory.used), int(memory.total), float(load)))
    return found
