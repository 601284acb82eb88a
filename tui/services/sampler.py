"""Samples of generators, from a process of its own: the UI's never imports torch, and never waits for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tui.services.commands import python_path

CLASSES = 10
SIDE = 28
KEPT = 64
"""Answers that are kept, so that going back to a version costs nothing."""
LONGEST_ANSWER = 64 * CLASSES * SIDE * SIDE


class SamplerError(RuntimeError):
    """There are no samples. The message is one line."""


@dataclass(frozen=True, slots=True)
class Latents:
    """Which latents to decode: the same ones for every generator.

    Attributes
    ----------
    seed : decides them.
    rows : how many, one a row.
    shift : latent axis -> value that it is set to.
    """

    seed: int = 0
    rows: int = 4
    shift: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Images:
    """Grey images (rows, 10, 28, 28) as bytes, and the generator's latent size."""

    rows: int
    z_dim: int
    pixels: bytes

    def image(self, row: int, digit: int) -> bytes:
        """The 28x28 bytes of one image."""
        start = (row * CLASSES + digit) * SIDE * SIDE
        return self.pixels[start : start + SIDE * SIDE]


class Sampler:
    """A process that decodes latents on the CPU and keeps the generators that it has read."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], Images] = OrderedDict()
        self._closed = False

    @property
    def started(self) -> bool:
        """Whether the process is there already."""
        return self._process is not None

    def images(self, folder: Path, latents: Latents) -> Images:
        """Images of the generator in `folder`. Blocks.

        Raises
        ------
        SamplerError : if the files are not a generator's, or the process does not answer.
        """
        key = (str(folder), latents.seed, latents.rows, tuple(sorted(latents.shift.items())))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            answer = self._ask(folder, latents)
            self._kept[key] = answer
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return answer

    def _ask(self, folder: Path, latents: Latents) -> Images:
        request = {
            "folder": str(folder),
            "seed": latents.seed,
            "rows": latents.rows,
            "shift": {str(axis): value for axis, value in latents.shift.items()},
        }
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            head = json.loads(process.stdout.readline())
            size = int(head["size"])
            pixels = process.stdout.read(size) if 0 <= size <= LONGEST_ANSWER else b""
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._stop()
            raise SamplerError("the process that draws samples ended; the next try starts it anew") from error
        if head.get("error"):
            raise SamplerError(str(head["error"]))
        return Images(int(head["rows"]), int(head["z_dim"]), pixels)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise SamplerError("closed")
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tui.services.decode"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": python_path()},
                start_new_session=True,
            )
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End the process; whoever waits for an answer gets an error."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
