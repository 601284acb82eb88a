"""The specification of a data set, and data sets by name."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from sa_mlops import datasets
from sa_mlops.datasets.spec import DataSpec, metric_word

LETTERS = DataSpec("letters", ("a", "b", "T-shirt/top", "7"), (3, 8, 12))


def test_chance_and_sizes_follow_from_classes_and_shape() -> None:
    assert (LETTERS.count, LETTERS.pixels) == (4, 288)
    assert LETTERS.chance == 0.25
    assert LETTERS.max_entropy == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("words", "indices"),
    [(["b", "a"], (1, 0)), (["B", " t-shirt/TOP "], (1, 2)), (["2"], (2,)), (["7"], (3,)), ([], ())],
    ids=["names in their order", "any case", "a number", "a name that is a number", "none"],
)
def test_classes_are_found_by_name_or_else_by_number(words: list[str], indices: tuple[int, ...]) -> None:
    assert LETTERS.indices(words) == indices


def test_names_of_indices_keep_their_order() -> None:
    assert LETTERS.names((2, 0)) == ("T-shirt/top", "a")


@pytest.mark.parametrize("word", ["c", "4", "-1", "1.0", "", "९", "1" * 400])
def test_a_word_that_is_no_class_is_named_in_one_line(word: str) -> None:
    with pytest.raises(ValueError, match=r"is no class of letters \(a, b, T-shirt/top, 7\)$") as error:
        LETTERS.indices([word])
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        (("a", "A"), "'a' and 'A'"),
        (("a/b", "a:b"), "'a/b' and 'a:b'"),
        (("a", "b,c"), "'b,c'"),
        (("a", "b\nc"), r"'b\\nc'"),
        (("a", ""), "''"),
        (("a", " b"), "' b'"),
        (("a", "b" * 81), "'bbb"),
        (("a",), "1 classes"),
        (tuple(map(str, range(10_000))), "10000 classes"),
    ],
    ids=["case", "metric", "comma", "line break", "empty", "space", "long", "one", "many"],
)
def test_class_names_that_would_be_mistaken_are_refused(classes: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DataSpec("bad", classes, (1, 8, 8))


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 3, 8), (1, 8, 2000), (1, 8), (0, 8, 8)])
def test_a_shape_that_is_no_grey_or_colour_image_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="shape"):
        DataSpec("bad", ("a", "b"), shape)


@pytest.mark.parametrize(("name", "word"), [("T-shirt/top", "T-shirt_top"), ("1.5", "1_5"), ("ä b", "ä b")])
def test_metric_words_are_names_that_mlflow_takes(name: str, word: str) -> None:
    from mlflow.utils import validation

    assert metric_word(name) == word
    validation._validate_metric_name(f"class.{word}.prob")  # type: ignore[no-untyped-call]


def test_the_bundled_data_sets_are_known() -> None:
    assert {"mnist", "digits"} <= set(datasets.known())
    assert datasets.spec("mnist").classes == datasets.spec("digits").classes == tuple("0123456789")


def test_a_data_set_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"no data set 'pin'; there are .*mnist"):
        datasets.spec("pin")


def test_specifications_need_no_torch() -> None:
    code = (
        "import sys; from sa_mlops import datasets; datasets.spec('mnist'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.usefixtures("toys")
def test_a_file_in_the_package_s_path_is_a_data_set() -> None:
    assert "shapes" in datasets.known()
    loaded = datasets.load("shapes", torch.device("cpu"))
    assert loaded.name == "shapes"
    assert loaded.train_images.shape == (600, 3, 8, 12)
