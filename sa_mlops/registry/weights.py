"""Weights as safetensors beside a JSON config: no pickles, and every name, shape and value is checked before use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from sa_mlops import models
from sa_mlops.datasets import mnist
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.errors import CommandError, plain
from sa_mlops.models.classifiers import Judge, make_judge
from sa_mlops.models.interface import CVAE, make_net
from sa_mlops.registry import signing
from sa_mlops.registry.version import MAX_REASON
from sa_mlops.settings import Architecture

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
WITHDRAWN = "withdrawn"
"""`kind` in the config of a withdrawn version: code of any age refuses it, also that beside a pyfunc model."""
MAX_CONFIG_BYTES = 1_000_000


class WeightsError(CommandError):
    """Weights or config that are missing, damaged or of another net. The message is one line."""


def save(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write `weights.safetensors` and `config.json` into an existing folder."""
    # The library's own file would be readable by its owner alone, whatever the umask.
    (folder / WEIGHTS).write_bytes(to_bytes({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True, allow_nan=False) + "\n")


def save_cvae(folder: Path, model: CVAE) -> None:
    """Write a generator."""
    config = {"kind": "cvae", "net": model.net, "z_dim": model.z_dim, **_described(model.spec)}
    save(folder, model.state_dict(), config)


def save_judge(folder: Path, judge: Judge) -> None:
    """Write a classifier."""
    config = {"kind": "judge", "architecture": judge.architecture, **_described(judge.spec)}
    save(folder, judge.state_dict(), config)


def _described(spec: DataSpec) -> dict[str, Any]:
    return {"dataset": spec.name, "classes": list(spec.classes), "shape": list(spec.shape)}


def _spec(config: Mapping[str, Any]) -> DataSpec:
    """The specification in a config; older files have none and are of MNIST's shape and classes."""
    name, classes = config.get("dataset", ""), config.get("classes", list(mnist.SPEC.classes))
    shape = config.get("shape", list(mnist.SPEC.shape))
    if not isinstance(name, str) or len(name) > 80:
        raise WeightsError(f"{CONFIG}: dataset is not a name")
    if not isinstance(classes, list) or not all(isinstance(c, str) for c in classes):
        raise WeightsError(f"{CONFIG}: classes is not a list of names")
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int for n in shape):
        raise WeightsError(f"{CONFIG}: shape {str(shape)[:40]} is not three whole numbers")
    try:
        return DataSpec(name, tuple(classes), (shape[0], shape[1], shape[2]))
    except ValueError as error:
        raise WeightsError(f"{CONFIG}: {error}") from None


def load_cvae(folder: Path, device: torch.device | str = "cpu") -> CVAE:
    """Read a generator.

    Raises WeightsError if they are missing, damaged or not a generator's; SigningError if a key is trusted, and they
    are unsigned or altered.
    """
    config = _config(folder, "cvae")
    z_dim = config.get("z_dim")
    if not isinstance(z_dim, int) or isinstance(z_dim, bool) or not 1 <= z_dim <= 256:
        raise WeightsError(f"{CONFIG}: z_dim {str(z_dim)[:40]} is not a whole number from 1 to 256")
    net = config.get("net", "mlp")
    if net not in models.nets():
        raise WeightsError(f"{CONFIG}: net {str(net)[:40]!r} is unknown")
    spec = _spec(config)
    # Without memory until the weights are known to fit.
    with torch.device("meta"):
        model = make_net(net, spec, z_dim)
    _fill(model, folder)
    return model.to(device).requires_grad_(False)


def load_judge(folder: Path, device: torch.device | str = "cpu") -> Judge:
    """Read a classifier, in evaluation mode.

    Raises WeightsError if they are missing, damaged or not a classifier's.
    """
    config = _config(folder, "judge")
    word = config.get("architecture")
    architecture: Architecture | None = next((a for a in get_args(Architecture) if a == word), None)
    if architecture is None:
        raise WeightsError(f"{CONFIG}: architecture {str(word)[:40]!r} is unknown")
    spec = _spec(config)
    with torch.device("meta"):
        judge = make_judge(architecture, spec)
    _fill(judge, folder)
    return judge.to(device).eval().requires_grad_(False)


def load_fisher(folder: Path, like: nn.Module, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read a Fisher diagonal for the net `like`.

    Raises WeightsError if names or shapes are not those of that net, or a value is negative or not finite.
    """
    _config(folder, "fim")
    expected = dict(like.named_parameters())
    tensors = _tensors(folder, expected)
    for name, value in tensors.items():
        if not bool(value.isfinite().all()) or bool((value < 0).any()):
            raise WeightsError(f"{WEIGHTS}: {name} has a value that is negative or not finite")
    return {name: tensors[name].to(device) for name in expected}


def copy(folder: Path, to: Path) -> None:
    """Copy weights and config into another folder.

    Raises WeightsError if one is missing, a link, or cannot be read.
    """
    for name in (WEIGHTS, CONFIG):
        try:
            shutil.copyfile(_own(folder, name), to / name)
        except OSError as error:
            raise WeightsError(f"{name} cannot be copied ({error.strerror})") from None


def _own(folder: Path, name: str) -> Path:
    """A file of the folder. A link is refused: it could point to any file that this process may read."""
    path = folder / name
    if path.is_symlink():
        raise WeightsError(f"{name} is a link; it is not followed")
    return path


def _config(folder: Path, kind: str) -> dict[str, Any]:
    """The config of a folder whose signature is checked first. Every `load_*` begins here.

    A withdrawal comes before the signature, which no longer holds once the config is replaced.
    """
    if (reason := withdrawal(folder)) is not None:
        raise WeightsError(f"the version was withdrawn: {reason}")
    signing.require_trusted(folder)
    config = read_config(folder)
    if config.get("kind") != kind:
        raise WeightsError(f"{CONFIG} does not describe a {kind}")
    return config


def withdrawal(folder: Path) -> str | None:
    """The reason in the config of a withdrawn version; None if it is not withdrawn, or its config is damaged."""
    try:
        config = read_config(folder)
    except WeightsError:
        return None
    return plain(str(config.get("reason", "")))[:MAX_REASON] if config.get("kind") == WITHDRAWN else None


def read_config(folder: Path) -> dict[str, Any]:
    """The JSON object in the config of a folder. Raises WeightsError if it is missing or damaged."""
    path = _own(folder, CONFIG)
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise WeightsError(f"{CONFIG} is larger than {MAX_CONFIG_BYTES} bytes")
        config = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{CONFIG} cannot be read ({type(error).__name__})") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{CONFIG} is not a JSON object")
    return config


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a JSON number")


def _fill(model: nn.Module, folder: Path) -> None:
    tensors = _tensors(folder, model.state_dict())
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise WeightsError(f"{WEIGHTS}: {name} has a value that is not finite")
    # Assigned, as `to_empty` would import a compiler. Cloned, as memory of torch's own is aligned.
    model.load_state_dict({name: value.clone() for name, value in tensors.items()}, assign=True)


def _tensors(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    path = _own(folder, WEIGHTS)
    try:
        # The library checks offsets against the file's size, so a false header allocates no memory.
        with path.open("rb"):  # the library calls a file that may not be read missing
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
