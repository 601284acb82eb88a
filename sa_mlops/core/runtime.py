"""Numeric set-up of the process: device, random generators, denormals, matrix products."""

from __future__ import annotations

import hashlib
import platform

import torch


class DeviceError(ValueError):
    """A device that this machine does not have."""


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA, MPS or the CPU, whichever comes first.

    Raises DeviceError if this machine has no such device; the message lists its devices.
    """
    there = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    there += ["mps"] if torch.backends.mps.is_available() else []
    if name == "auto":
        return torch.device(next((d for d in there if d != "cpu"), "cpu"))
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise DeviceError(f"auto or one of this machine's devices ({', '.join(there)})")
    return torch.device(wanted)


def prepare(device: torch.device) -> None:
    """Flush denormals, into which Adam's moments decay and slow each step, and choose fast matrix products."""
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    elif device.type == "cpu":
        use_onednn()


ONEDNN_ERROR = 1e-5
"""Largest relative error of a product that still counts as float32; bfloat16 has 1e-3 and more."""


def use_onednn() -> bool:
    """Let oneDNN multiply float32 matrices if its products have float32 precision here; returns whether they have.

    PyTorch prefers MKL, which does not use AVX-512 on processors other than Intel's, at half the speed. Precision
    `medium` selects oneDNN. It also allows bfloat16, which oneDNN uses on processors with matrix units for it (AMX); so
    it stays selected only if a product is as exact as in float32.
    """
    before = torch.get_float32_matmul_precision()
    source = torch.Generator().manual_seed(0)
    a, b = torch.rand(512, 512, generator=source), torch.rand(512, 512, generator=source)
    exact = a.double() @ b.double()
    torch.set_float32_matmul_precision("medium")
    if float(((a @ b) / exact - 1).abs().max()) > ONEDNN_ERROR:
        torch.set_float32_matmul_precision(before)
        return False
    return True


def make_generator(device: torch.device, seed: int, *purpose: object) -> torch.Generator:
    """A random generator whose stream depends on the seed and the purpose, so that no two stages share one."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:7], "big"))


def machine(device: torch.device) -> str:
    """The machine as far as rounding depends on it: where it is equal, equal seeds give equal tensors."""
    if device.type == "cuda":
        kind = torch.cuda.get_device_name(device)
    elif device.type == "cpu":
        kind = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
        if torch.get_float32_matmul_precision() == "medium":
            kind += ", oneDNN"
    else:
        kind = platform.machine()
    return f"{device.type}: {kind}, torch {torch.__version__}"
