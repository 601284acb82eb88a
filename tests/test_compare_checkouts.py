"""`scripts/compare_checkouts.py` tells equal results from different ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from stores import Store

from scripts import compare_checkouts
from scripts.compare_checkouts import Made, compare, read


def made(weight: float, points: list[tuple[int, float]]) -> Made:
    tensors = {"layer.weight": torch.tensor([1.0, weight]), "layer.bias": torch.zeros(1)}
    return Made({"base 1": tensors}, {"base 1": {"train.loss": points}}, {"base 1": {"retain.accuracy": 0.5}})


def test_equal_weights_and_curves_are_equal() -> None:
    (row,) = compare(made(2.0, [(1, 0.5)]), made(2.0, [(1, 0.5)]))
    assert (row.tensors, row.largest, row.different) == (2, 0.0, ())


def test_one_bit_of_one_weight_is_a_difference() -> None:
    (row,) = compare(made(2.0, [(1, 0.5)]), made(2.0000002384185791, [(1, 0.5)]))
    assert row.different == ("layer.weight",)
    assert row.largest == pytest.approx(2.4e-7, rel=0.01)


@pytest.mark.parametrize("points", [[(1, 0.25)], [(1, 0.5), (2, 0.5)], []])
def test_another_curve_is_a_difference(points: list[tuple[int, float]]) -> None:
    (row,) = compare(made(2.0, [(1, 0.5)]), made(2.0, points))
    assert row.different == ("train.loss",)


def test_a_missing_version_is_a_difference() -> None:
    (row,) = compare(made(2.0, []), Made())
    assert row.different == ("missing in NEW",)


@pytest.mark.integration
def test_versions_are_read_by_stage_and_order(digits_store: Store) -> None:
    found = read(digits_store.folder)
    assert {"base 1", "forget 1", "retrain 1", "fim 1", "judge 1", "judge 2"} <= found.tensors.keys()
    assert all(found.curves[key] for key in ("base 1", "forget 1", "retrain 1"))
    assert not any(row.different for row in compare(found, read(digits_store.folder)))


@pytest.mark.integration
def test_the_command_compares_with_a_kept_side(
    digits_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def copied(checkout: Path, store: Path, *_: object) -> None:
        runs.append(checkout.name)
        shutil.copy(digits_store.folder / "mlflow.db", store / "mlflow.db")

    runs: list[str] = []
    monkeypatch.setattr(compare_checkouts, "make", copied)
    monkeypatch.setattr(compare_checkouts, "state", str)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    words = [str(tmp_path / "old"), str(tmp_path / "new"), "--keep", str(tmp_path / "kept")]
    assert compare_checkouts.main(words) == 0
    assert compare_checkouts.main(words) == 0
    assert runs == ["old", "new", "new"]
    assert capsys.readouterr().out.count("\nequal\n") == 2
