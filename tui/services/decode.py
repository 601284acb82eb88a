"""The sampler's process: JSON requests in, a JSON line and pixels out. The only module of `tui` with torch."""

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


@lru_cache(maxsize=16)
def generator(folder: str) -> CVAE:
    """The generator in a folder, on the CPU."""
    return weights.load_cvae(Path(folder))


def decode(
    folder: str, seed: int, rows: int, shift: dict[str, float], label: int | None
) -> tuple[dict[str, int], bytes]:
    """Size of the answer, and images (rows, classes, height, width, channels) as bytes.

    Parameters
    ----------
    rows : number of latents, the same as in the grids that stages log.
    shift : latent axis -> value.
    label : one class alone, else every class in a column.
    """
    model = generator(folder)
    z = torch.randn(rows, model.z_dim, generator=make_generator(torch.device("cpu"), seed, "grid"))
    for axis, value in shift.items():
        if 0 <= int(axis) < model.z_dim:
            z[:, int(axis)] = float(value)
    labels = torch.arange(model.classes) if label is None else torch.tensor([label])
    with torch.no_grad():
        images = model.sample(z.repeat_interleave(len(labels), dim=0), labels.repeat(rows))
    pixels = (255 * images.clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    _, height, width, channels = pixels.shape
    head = {"rows": rows, "columns": len(labels), "height": height, "width": width, "channels": channels}
    return head | {"z_dim": model.z_dim, "size": pixels.numel()}, pixels.numpy().tobytes()


def answer(line: bytes, out: BinaryIO) -> None:
    """Answer one request; an error becomes one line for the user."""
    pixels = b""
    head: dict[str, Any]
    try:
        head, pixels = decode(**json.loads(line))
    except Exception as error:
        head = {"error": " ".join(str(error).split())[:300] or type(error).__name__, "size": 0}
    out.write(json.dumps(head).encode() + b"\n" + pixels)
    out.flush()


def main() -> None:
    """Answer requests until standard input ends."""
    torch.set_num_threads(1)
    for line in sys.stdin.buffer:
        answer(line, sys.stdout.buffer)


if __name__ == "__main__":
    main()
