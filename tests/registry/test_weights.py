"""Weights: what was saved is read back, and nothing else is believed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sa_mlops.datasets.mnist import SPEC
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.classifiers import Judge, make_judge
from sa_mlops.models.interface import CVAE
from sa_mlops.models.mlp import MLP
from sa_mlops.registry import weights
from sa_mlops.registry.weights import CONFIG, WEIGHTS, WeightsError

Edit = Callable[[dict[str, Tensor]], object]
FIRST = "encoder.0.weight"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A generator's files."""
    weights.save_cvae(tmp_path, MLP(SPEC, 3))
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        weights.load_cvae(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300
    return text


@pytest.mark.parametrize("z_dim", [1, 8, 256])
def test_a_generator_is_read_back_bit_for_bit(tmp_path: Path, z_dim: int) -> None:
    model = MLP(SPEC, z_dim)
    weights.save_cvae(tmp_path, model)
    loaded = weights.load_cvae(tmp_path)
    assert loaded.z_dim == z_dim
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("architecture", ["reference", "wide", "residual", "perceptron"])
def test_a_judge_is_read_back_with_its_running_statistics(tmp_path: Path, architecture: Any) -> None:
    judge = make_judge(architecture, SPEC)
    images = torch.rand(8, 1, 28, 28)
    judge.train()(images)
    weights.save_judge(tmp_path, judge)
    loaded = weights.load_judge(tmp_path)
    assert not loaded.training
    assert torch.equal(loaded(images), judge.eval()(images))


def test_the_config_carries_net_classes_and_shape(tmp_path: Path) -> None:
    spec = DataSpec("letters", ("a", "B"), (3, 8, 12))
    weights.save_cvae(tmp_path, MLP(spec, 2))
    loaded = weights.load_cvae(tmp_path)
    assert (loaded.net, loaded.spec) == ("mlp", spec)
    weights.save_judge(tmp_path, make_judge("wide", spec))
    assert weights.load_judge(tmp_path).spec == spec


@pytest.mark.parametrize("kind", ["cvae", "judge"])
def test_files_without_them_are_of_the_shape_and_classes_of_mnist(tmp_path: Path, kind: str) -> None:
    if kind == "cvae":
        weights.save_cvae(tmp_path, MLP(SPEC, 2))
        (tmp_path / CONFIG).write_text('{"kind": "cvae", "z_dim": 2}')
        loaded: CVAE | Judge = weights.load_cvae(tmp_path)
    else:
        weights.save_judge(tmp_path, make_judge("wide", SPEC))
        (tmp_path / CONFIG).write_text('{"kind": "judge", "architecture": "wide"}')
        loaded = weights.load_judge(tmp_path)
    assert (loaded.spec.classes, loaded.spec.shape) == (SPEC.classes, SPEC.shape)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"net": "../mlp"}, "net '../mlp' is unknown"),
        ({"net": "interface"}, "net 'interface' is unknown"),
        ({"net": 3}, "net '3' is unknown"),
        ({"classes": "ab"}, "classes"),
        ({"classes": ["a", "A"]}, "'a' and 'A'"),
        ({"classes": ["a", "b"]}, "shape"),
        ({"shape": [1, 28]}, "shape"),
        ({"shape": [1, 28, True]}, "shape"),
        ({"shape": [1, 28, 1e9]}, "shape"),
        ({"shape": [3, 1024, 1024]}, "shape"),
        ({"dataset": ["x"]}, "dataset"),
    ],
    ids=str,
)
def test_a_config_of_another_net_or_data_set_is_refused(
    saved: Path, change: dict[str, Any], told: str
) -> None:
    config = json.loads((saved / CONFIG).read_text())
    (saved / CONFIG).write_text(json.dumps(config | change))
    assert told in refusal(saved)


def test_a_diagonal_is_read_back_for_its_net_alone(tmp_path: Path) -> None:
    model = MLP(SPEC, 2)
    diagonal = {name: torch.rand_like(p) for name, p in model.named_parameters()}
    weights.save(tmp_path, diagonal, {"kind": "fim", "z_dim": 2})
    loaded = weights.load_fisher(tmp_path, model)
    assert loaded.keys() == diagonal.keys()
    assert all(torch.equal(loaded[k], diagonal[k]) for k in diagonal)
    with pytest.raises(WeightsError, match="shape"):
        weights.load_fisher(tmp_path, MLP(SPEC, 3))


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf")])
def test_a_diagonal_with_a_value_that_is_no_variance_is_refused(tmp_path: Path, value: float) -> None:
    model = MLP(SPEC, 2)
    diagonal = {name: torch.rand_like(p) for name, p in model.named_parameters()}
    diagonal["decoder.4.bias"][5] = value
    weights.save(tmp_path, diagonal, {"kind": "fim", "z_dim": 2})
    with pytest.raises(WeightsError, match=r"decoder\.4\.bias has a value that is negative or not finite"):
        weights.load_fisher(tmp_path, model)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda t: t.pop(FIRST), f"'{FIRST}' is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "'extra' is not expected"),
        (lambda t: t.update({FIRST: t[FIRST].T.contiguous()}), "shape"),
        (lambda t: t.update({FIRST: t[FIRST][:, :-1].contiguous()}), "shape"),
        (lambda t: t.clear(), "is missing"),
        (lambda t: t.update({FIRST: torch.full_like(t[FIRST], float("nan"))}), "not finite"),
        (lambda t: t.update({FIRST: torch.zeros(t[FIRST].shape, dtype=torch.int64)}), "int64"),
    ],
    ids=["missing", "extra", "transposed", "cut", "empty", "nan", "integers"],
)
def test_tensors_of_another_net_are_refused(saved: Path, edit: Edit, told: str) -> None:
    tensors = load_file(saved / WEIGHTS)
    edit(tensors)
    save_file(tensors, saved / WEIGHTS)
    assert told in refusal(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**12) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 8) + b"not json",
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.",
        b"PK\x03\x04" + b"\x00" * 100,
    ],
    ids=["empty", "short", "huge", "long", "list", "text", "pickle", "zip"],
)
def test_a_file_that_is_no_safetensors_is_refused(saved: Path, content: bytes) -> None:
    (saved / WEIGHTS).write_bytes(content)
    assert refusal(saved).startswith(f"{WEIGHTS} cannot be read")


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ([10**6, 10**6], [0, 4 * 10**12]),
        ([2], [0, 4]),
        ([1], [-4, 0]),
        ([1], [100, 104]),
        ([2**62, 4], [0, 4]),
    ],
)
def test_a_header_that_lies_about_its_tensors_is_refused(
    saved: Path, shape: list[int], offsets: list[int]
) -> None:
    header = json.dumps({FIRST: {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
    (saved / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + b"\x00" * 4)
    assert refusal(saved).startswith(f"{WEIGHTS} cannot be read")


def test_a_truncated_file_is_refused(saved: Path) -> None:
    content = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(content[: len(content) // 2])
    assert refusal(saved).startswith(f"{WEIGHTS} cannot be read")


@pytest.mark.parametrize("name", [weights.CONFIG, weights.WEIGHTS])
def test_a_link_out_of_the_folder_is_not_followed(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / name
    (saved / name).rename(elsewhere)
    (saved / name).symlink_to(elsewhere)
    with pytest.raises(WeightsError, match=f"{name} is a link"):
        weights.load_cvae(saved)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_missing_file_is_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert refusal(saved).startswith(f"{name} cannot be read")


FOREIGN = {
    "empty": "",
    "list": "[]",
    "null": "null",
    "text": '"cvae"',
    "cut": "{",
    "nan": '{"kind": "cvae", "z_dim": NaN}',
    "infinity": '{"kind": "cvae", "z_dim": Infinity}',
    "huge integer": '{"kind": "cvae", "z_dim": ' + "9" * 5000 + "}",
    "deep": "[" * 50_000,
    "large": '{"kind": "cvae", "z_dim": 3, "pad": "' + "x" * weights.MAX_CONFIG_BYTES + '"}',
    "binary": b"\xff\xfe".decode("latin-1"),
    "no kind": '{"z_dim": 3}',
    "other kind": '{"kind": "judge", "architecture": "wide"}',
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_config_that_is_no_generators_is_refused(saved: Path, what: str) -> None:
    (saved / CONFIG).write_text(FOREIGN[what], encoding="latin-1")
    assert refusal(saved).startswith(CONFIG)


@pytest.mark.parametrize("z_dim", [0, -1, 257, 10**9, 3.0, True, "3", None, [3], "x" * 5000])
def test_a_latent_size_out_of_range_is_refused(saved: Path, z_dim: object) -> None:
    (saved / CONFIG).write_text(json.dumps({"kind": "cvae", "z_dim": z_dim}))
    assert "is not a whole number from 1 to 256" in refusal(saved)


@pytest.mark.parametrize("word", ["", "Wide", "os.system", None, 3, ["wide"], {"a": 1}])
def test_an_unknown_architecture_is_refused(tmp_path: Path, word: object) -> None:
    weights.save(tmp_path, make_judge("wide", SPEC).state_dict(), {"kind": "judge", "architecture": word})
    with pytest.raises(WeightsError, match="is unknown"):
        weights.load_judge(tmp_path)


def test_a_number_that_json_does_not_know_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        weights.save(tmp_path, {"a": torch.zeros(1)}, {"kind": "fim", "scale": float("nan")})
