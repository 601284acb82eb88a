"""Weights as safetensors beside a JSON config. Nothing is unpickled, and nothing is believed before it is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sa_mlops.errors import CommandError
from sa_mlops.models.classifiers import Judge, make_judge
from sa_mlops.models.mlp import CVAE
from sa_mlops.settings import Architecture

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
MAX_CONFIG_BYTES = 100_000


class WeightsError(CommandError):
    """Files that do not hold what they should. The message is one line."""


def save(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write `weights.safetensors` and `config.json` into an existing folder."""
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True, allow_nan=False) + "\n")


def save_cvae(folder: Path, model: CVAE) -> None:
    """Write a generator."""
    save(folder, model.state_dict(), {"kind": "cvae", "z_dim": model.z_dim})


def save_judge(folder: Path, judge: Judge, architecture: str) -> None:
    """Write a classifier."""
    save(folder, judge.state_dict(), {"kind": "judge", "architecture": architecture})


def load_cvae(folder: Path, device: torch.device | str = "cpu") -> CVAE:
    """Read a generator.

    Raises
    ------
    WeightsError : if the files are not a generator's.
    """
    config = _config(folder, "cvae")
    z_dim = config.get("z_dim")
    if not isinstance(z_dim, int) or isinstance(z_dim, bool) or not 1 <= z_dim <= 256:
        raise WeightsError(f"{CONFIG}: z_dim {str(z_dim)[:40]} is not a whole number from 1 to 256")
    model = CVAE(z_dim)
    _fill(model, folder)
    return model.to(device).requires_grad_(False)


def load_judge(folder: Path, device: torch.device | str = "cpu") -> Judge:
    """Read a classifier, in evaluation mode.

    Raises
    ------
    WeightsError : if the files are not a classifier's.
    """
    word = _config(folder, "judge").get("architecture")
    architecture: Architecture | None = next((a for a in get_args(Architecture) if a == word), None)
    if architecture is None:
        raise WeightsError(f"{CONFIG}: architecture {str(word)[:40]!r} is unknown")
    judge = make_judge(architecture)
    _fill(judge, folder)
    return judge.to(device).eval().requires_grad_(False)


def load_fisher(folder: Path, like: nn.Module, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read a Fisher diagonal for the net `like`.

    Raises
    ------
    WeightsError : if names or shapes are not that net's, or a value is negative or not finite.
    """
    _config(folder, "fim")
    expected = dict(like.named_parameters())
    tensors = _tensors(folder, expected)
    for name, value in tensors.items():
        if not bool(value.isfinite().all()) or bool((value < 0).any()):
            raise WeightsError(f"{WEIGHTS}: {name} has a value that is negative or not finite")
    return {name: tensors[name].to(device) for name in expected}


def _own(folder: Path, name: str) -> Path:
    """A file of the folder itself: a link is refused, since it could lead to anything that this process may read."""
    path = folder / name
    if path.is_symlink():
        raise WeightsError(f"{name} is a link; it is not followed")
    return path


def _config(folder: Path, kind: str) -> dict[str, Any]:
    path = _own(folder, CONFIG)
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise WeightsError(f"{CONFIG} is larger than {MAX_CONFIG_BYTES} bytes")
        config = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{CONFIG} cannot be read ({type(error).__name__})") from None
    if not isinstance(config, dict) or config.get("kind") != kind:
        raise WeightsError(f"{CONFIG} does not describe a {kind}")
    return config


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def _fill(model: nn.Module, folder: Path) -> None:
    tensors = _tensors(folder, model.state_dict())
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise WeightsError(f"{WEIGHTS}: {name} has a value that is not finite")
    model.load_state_dict(tensors)


def _tensors(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    path = _own(folder, WEIGHTS)
    try:
        # The library checks offsets against the file's size, so a lying header allocates nothing.
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{WEIGHTS} cannot be read ({' '.join(str(error).split())[:120]})") from None
    for name in sorted(tensors.keys() ^ expected.keys()):
        raise WeightsError(f"{WEIGHTS}: {name[:80]!r} is {'missing' if name in expected else 'not expected'}")
    for name, like in expected.items():
        shape, dtype = tuple(tensors[name].shape), tensors[name].dtype
        if shape != tuple(like.shape):
            raise WeightsError(f"{WEIGHTS}: {name} has shape {shape}, expected {tuple(like.shape)}")
        if dtype != like.dtype:
            raise WeightsError(f"{WEIGHTS}: {name} is {dtype}, expected {like.dtype}")
    return tensors
