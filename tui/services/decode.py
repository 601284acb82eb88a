"""The sampler's process: requests as JSON lines in, a JSON line and grey bytes out. The only place with torch here."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sa_mlops.core.runtime import make_generator
from sa_mlops.models.interface import CVAE
from sa_mlops.registry import weights
from sa_mlops.settings import CLASSES


@lru_cache(maxsize=16)
def generator(folder: str) -> CVAE:
    """The generator in a folder, on the CPU."""
    return weights.load_cvae(Path(folder))


def decode(folder: str, seed: int, rows: int, shift: dict[str, float]) -> tuple[int, bytes]:
    """Latent size, and grey images (rows, 10, 28, 28) as bytes; latents as in the grids that stages log."""
    model = generator(folder)
    z = torch.randn(rows, model.z_dim, generator=make_generator(torch.device("cpu"), seed, "grid"))
    for axis, value in shift.items():
        if 0 <= int(axis) < model.z_dim:
            z[:, int(axis)] = float(value)
    with torch.no_grad():
        images = model.sample(z.repeat_interleave(CLASSES, dim=0), torch.arange(CLASSES).repeat(rows))
    return model.z_dim, (255 * images.clamp(0, 1)).round().to(torch.uint8).contiguous().numpy().tobytes()


def answer(line: bytes, out: BinaryIO) -> None:
    """Answer one request; whatever goes wrong is one line for the user."""
    pixels = b""
    head: dict[str, Any]
    try:
        request = json.loads(line)
        z_dim, pixels = decode(request["folder"], request["seed"], request["rows"], request["shift"])
        head = {"rows": request["rows"], "z_dim": z_dim, "size": len(pixels)}
    except Exception as error:
        head = {"error": " ".join(str(error).split())[:300] or type(error).__name__, "size": 0}
    out.write(json.dumps(head).encode() + b"\n" + pixels)
    out.flush()


def main() -> None:
    """Answer until there are no more requests."""
    torch.set_num_threads(1)
    for line in sys.stdin.buffer:
        answer(line, sys.stdout.buffer)


if __name__ == "__main__":
    main()
