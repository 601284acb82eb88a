"""Samples of generators from a separate process: the UI imports no torch and does not wait for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tui.services.commands import python_path

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT = 64
"""Number of answers kept in memory, so that a return to a version costs nothing."""
LONGEST_ANSWER = 2**28


class SamplerError(RuntimeError):
    """There are no samples. The message is one line."""


@dataclass(frozen=True, slots=True)
class Latents:
    """Latents to decode: the same for every generator.

    Attributes
    ----------
    rows : number of latents, one a row.
    shift : latent axis -> value.
    label : one class alone; None for every class.
    """

    seed: int = 0
    rows: int = 4
    shift: Mapping[int, float] = field(default_factory=dict)
    label: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images (rows, columns, height, width, channels) as bytes, and the latent size of their generator.

    Attributes
    ----------
    channels : 1 for grey, 3 for colour.
    """

    rows: int
    columns: int
    height: int
    width: int
    channels: int
    z_dim: int
    pixels: bytes

    def picture(self, row: int, column: int) -> Image:
        """One of the images."""
        from PIL import Image

        size = self.height * self.width * self.channels
        start = (row * self.columns + column) * size
        mode = "RGB" if self.channels == 3 else "L"
        return Image.frombytes(mode, (self.width, self.height), self.pixels[start : start + size])


class Sampler:
    """A process that decodes latents on the CPU and caches the generators that it has read."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], Images] = OrderedDict()
        self._closed = False

    @property
    def started(self) -> bool:
        """Whether the process exists."""
        return self._process is not None

    def images(self, folder: Path, latents: Latents) -> Images:
        """Images of the generator in `folder`. Blocks.

        Raises
        ------
        SamplerError : if the files are not a generator's, or the process does not answer.
        """
        key = (str(folder), latents.seed, latents.rows, tuple(sorted(latents.shift.items())), latents.label)
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
            "label": latents.label,
        }
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            head = json.loads(process.stdout.readline())
            size = int(head.pop("size"))
            pixels = process.stdout.read(size) if 0 <= size <= LONGEST_ANSWER else b""
            if "error" not in head:
                return Images(**head, pixels=pixels)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._stop()
            raise SamplerError(
                "the process that draws samples ended; the next attempt restarts it"
            ) from error
        raise SamplerError(str(head["error"]))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise SamplerError("closed")
        if self._process is None or self._process.poll() is not None:
            self._stop()
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
        """End the process and close its pipes."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        # What a write that failed has left in the pipe cannot be written now either.
        with suppress(BrokenPipeError), process:
            pass

    def close(self) -> None:
        """End the process; pending requests fail."""
        self._closed = True
        self._stop()
