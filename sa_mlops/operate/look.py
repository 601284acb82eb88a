"""`sample`: images drawn by a version."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.color import ColorSystem

from sa_mlops.files import replacing
from sa_mlops.parameters import ParameterError
from sa_mlops.plots.grids import mosaic, pixels
from sa_mlops.plots.half_blocks import half_blocks
from sa_mlops.registry import lineage, tracking, versions, weights
from sa_mlops.stages.grids import grid
from sa_mlops.stages.result import Result


def samples(
    word: str, classes: Sequence[str] | None, seed: int, rows: int, out: Path | None, compare: bool
) -> Result:
    """Draw samples of a version, or of each version from its base to it, at latents that depend on the seed alone.

    Raises ParameterError if the version or a class does not exist, or `out` cannot be written.

    Parameters
    ----------
    classes : names or numbers, one a column; None for all.
    """
    client = tracking.connect()
    version = versions.given(client, word)
    shown = lineage.chain(client, version) if compare else [version]
    models = [weights.load_cvae(versions.net(v)) for v in shown]
    spec = models[-1].spec
    try:
        columns = list(spec.indices(spec.classes if classes is None else map(str, classes)))
    except ValueError:
        known = f"classes of {version.uri}: {', '.join(spec.classes)}"
        raise ParameterError("classes", ",".join(classes or ()), known) from None
    drawn = spec.names(columns)
    blocks = [grid(model, seed, torch.device("cpu"), rows)[:, columns] for model in models]
    titles = [f"{v.title} ({v.uri})" for v in shown]
    document = {
        "versions": [v.uri for v in shown],
        "classes": list(drawn),
        "seed": seed,
        "rows": rows,
        "file": None if out is None else str(out),
    }
    if out is not None:
        write_png(mosaic(np.concatenate(blocks)), out)
        order = ", then ".join(titles)
        return Result(document, f"{out}: {rows} rows of {order}; columns {','.join(drawn)}")
    width = shutil.get_terminal_size((120, 40)).columns
    pictures = [
        f"{title}\n{terminal(mosaic(block), width)}" for title, block in zip(titles, blocks, strict=True)
    ]
    return Result(document, "\n\n".join(pictures))


def write_png(canvas: NDArray[np.float32], out: Path) -> None:
    """Write a picture (h, w) or (h, w, 3) in [0, 1] at twice its size.

    Raises ParameterError if `out` cannot be written, as on a full disk; it then is as it was.
    """
    picture = Image.fromarray(pixels(canvas))
    try:
        with replacing(out) as part:
            picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(
                part, "PNG"
            )
    except OSError as error:
        raise ParameterError(
            "out", str(out), f"a file that can be written ({error.strerror or error})"
        ) from None


def terminal(canvas: NDArray[np.float32], width: int) -> str:
    """A picture (h, w) or (h, w, 3) in [0, 1] as 24-bit half blocks, shrunk to at most `width` columns."""
    picture = Image.fromarray(np.round(255 * np.nan_to_num(canvas, nan=0.25)).astype(np.uint8))
    if picture.width > width:
        height = max(2, round(picture.height * width / picture.width))
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return "\n".join(
        "".join(s.style.render(s.text, color_system=ColorSystem.TRUECOLOR) for s in line if s.style)
        for line in half_blocks(picture)
    )
