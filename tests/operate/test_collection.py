"""Own data sets from `data add` to `data remove`, and into a clone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from stores import ROOT

from sa_mlops import cli, datasets
from sa_mlops.config import ForgetConfig
from sa_mlops.datasets.pin import repository
from sa_mlops.parameters import ParameterError

CPU = torch.device("cpu")


def checkout(root: Path) -> Path:
    (root / ".dvc").mkdir(parents=True)
    for name in ("data.dvc", "MLproject"):
        shutil.copy(ROOT / name, root)
    (root / ".dvc" / "config").write_text(
        f"[core]\n    analytics = false\n    remote = store\n['remote \"store\"']\n    url = {root.parent / 'remote'}\n"
    )
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = checkout(tmp_path / "checkout")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).integers(0, 256, (80, 8, 12, 3), np.uint8)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=np.arange(80) % 4)
    return tmp_path / "own.npz"


def files(root: Path) -> set[str]:
    found = (p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    return {name for name in found if not name.startswith(".dvc/")} | {
        name for name in found if "sa-mlops-add" in name
    }


def test_a_data_set_of_one_s_own_is_used_by_name_until_it_is_removed(
    root: Path, arrays: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(root)
    command = ["data", "add", str(arrays), "--name", "own", "--classes", "a,b,c,d", "--licence", "MIT"]
    assert cli.main(command) == 0
    assert "git add datasets/own.dvc" in capsys.readouterr().out
    assert "own" in datasets.known()
    assert ForgetConfig(dataset="own", classes=("d",)).spec.shape == (3, 8, 12)

    data = datasets.load("own", CPU)
    assert (len(data.train_images), len(data.test_images)) == (72, 8)
    rows = torch.cat([data.train_images[:], data.test_images[:]])
    with np.load(arrays) as given:
        wanted = {image.transpose(2, 0, 1).tobytes() for image in given["x_train"]}
    assert {(255 * row).round().byte().numpy().tobytes() for row in rows} == wanted
    assert data.test_labels.bincount().tolist() == [2] * 4

    assert cli.main(["data", "show", "own", "--out", "sheet.png", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["train"], shown["licence"], shown["pin"]) == ([18] * 4, "MIT", data.md5)
    assert (root / "sheet.png").stat().st_size
    (root / "sheet.png").unlink()

    assert cli.main(["data", "remove", "own"]) == 2  # nobody is asked here
    assert cli.main(["data", "remove", "own", "--yes"]) == 0
    assert files(root) == before
    with pytest.raises(ParameterError, match=r"--dataset: 'own' is not allowed"):
        ForgetConfig(dataset="own", classes=("d",))


def test_a_clone_knows_the_classes_and_pulls_the_images(
    root: Path, arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["data", "add", str(arrays), "--name", "own"]) == 0
    md5 = datasets.load("own", CPU).md5
    with repository(root) as repo:
        repo.push(targets=["datasets/own.dvc"])
    clone = checkout(tmp_path / "clone")
    (clone / "datasets").mkdir()
    shutil.copy(root / "datasets" / "own.dvc", clone / "datasets")
    monkeypatch.chdir(clone)
    assert datasets.spec("own").classes == ("0", "1", "2", "3")
    assert not (clone / "datasets" / "own").exists()
    assert datasets.load("own", CPU).md5 == md5


def test_an_altered_file_is_named(root: Path, arrays: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "add", str(arrays), "--name", "own"]) == 0
    path = root / "datasets" / "own" / "images.safetensors"
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\0")
    capsys.readouterr()
    assert cli.main(["data", "show", "own"]) == 1
    line = capsys.readouterr().err
    assert "datasets/own/images.safetensors: altered" in line
    assert "dvc pull --force datasets/own.dvc" in line


def test_a_failure_leaves_nothing_behind(
    root: Path, arrays: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(root)
    (root / ".dvc" / "cache").write_text("in the way")
    assert cli.main(["data", "add", str(arrays), "--name", "own"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert files(root) == before
    (root / ".dvc" / "cache").unlink()
    assert cli.main(["data", "add", str(arrays), "--name", "own"]) == 0


@pytest.mark.parametrize("name", ["mnist", "Own", "a b", "../x", "", "-x"])
def test_a_name_that_is_taken_or_no_name_is_refused(root: Path, arrays: Path, name: str) -> None:
    assert cli.main(["data", "add", str(arrays), f"--name={name}"]) == 2


def test_a_bad_source_is_one_line_and_status_2(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "add", "nowhere", "--name", "own"]) == 2
    assert capsys.readouterr().err.startswith("sa-mlops: nowhere: not found; give")
