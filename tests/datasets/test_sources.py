"""Sources of a user's own images: what they become, and one line for each that is no data set."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sa_mlops.datasets import sources
from sa_mlops.datasets.sources import Form, Raw, SourceError

RANDOM = np.random.default_rng(0)


def quietly(_: str, items: Iterable[object]) -> Iterable[object]:
    return items


def read(source: Path | str, scratch: Path, form: Form = Form()) -> Raw:  # noqa: B008  # frozen
    (scratch / "scratch").mkdir(exist_ok=True)
    return sources.read(str(source), form, scratch / "scratch", quietly)


def checked(source: Path, scratch: Path, form: Form = Form()) -> Raw:  # noqa: B008  # frozen
    raw = read(source, scratch, form)
    sources.check(raw)
    sources.split(raw, 0.1, 0)
    return raw


def picture(mode: str = "L", side: int = 8) -> Image.Image:
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    return Image.fromarray(RANDOM.integers(0, 256, shape, np.uint8))


def folders(home: Path, names: Iterable[str], count: int = 20, mode: str = "L") -> Path:
    for name in names:
        (home / name).mkdir(parents=True)
        for i in range(count):
            picture(mode).save(home / name / f"{i:02d}.png")
    return home


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders(tmp_path_factory.mktemp("sources") / "shapes", ("disc", "bar"))


@pytest.fixture
def own(shapes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shapes, tmp_path / "own"))


def test_a_folder_per_class_is_read_in_the_order_of_the_names(shapes: Path, tmp_path: Path) -> None:
    raw = read(shapes, tmp_path)
    assert (raw.classes, raw.images.shape, raw.test) == (("bar", "disc"), (40, 1, 8, 8), None)
    first = np.asarray(Image.open(shapes / "bar" / "00.png"))
    assert np.array_equal(raw.images[0, 0], first)
    assert raw.labels.tolist() == [0] * 20 + [1] * 20


def test_folders_named_by_numbers_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    assert read(folders(tmp_path / "n", ("10", "9", "1")), tmp_path).classes == ("1", "9", "10")


def test_train_and_test_folders_are_the_split(tmp_path: Path) -> None:
    folders(tmp_path / "s" / "train", "ab", 18)
    folders(tmp_path / "s" / "test", "ab", 2)
    raw = checked(tmp_path / "s", tmp_path)
    assert raw.test is not None
    assert raw.test.tolist() == [False] * 36 + [True] * 4


@pytest.mark.parametrize(("side", "size", "wanted"), [(8, None, 8), (80, None, 32), (8, 16, 16)])
def test_sides_up_to_64_are_kept_unless_a_size_is_given(
    tmp_path: Path, side: int, size: int | None, wanted: int
) -> None:
    for name in "ab":
        (tmp_path / "s" / name).mkdir(parents=True)
        for i in range(20):
            picture(side=side).save(tmp_path / "s" / name / f"{i}.png")
    assert read(tmp_path / "s", tmp_path, Form(size)).images.shape[2:] == (wanted, wanted)


def test_a_few_broken_files_are_left_out_by_name(own: Path, tmp_path: Path) -> None:
    (own / "bar" / "broken.png").write_bytes(b"")
    (own / "bar" / "notes.txt").touch()
    (own / "stray.png").touch()
    whole = (own / "disc" / "00.png").read_bytes()
    (own / "disc" / "cut.png").write_bytes(whole[: len(whole) // 2])
    raw = checked(own, tmp_path)
    assert len(raw.images) == 40
    assert [line.split(":")[0] for line in raw.left_out] == [
        "bar/broken.png",
        "disc/cut.png",
        "stray.png",
        "bar/notes.txt",
    ]


def many(home: Path) -> None:
    for i in range(1100):
        (home / f"c{i}").mkdir()


def half_broken(home: Path) -> None:
    for i in range(10):
        (home / "bar" / f"x{i}.png").write_bytes(b"")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "few": (lambda s: (s / "bar" / "00.png").unlink(), "class 'bar' has 19 images; a class needs 20"),
    "one class": (lambda s: shutil.rmtree(s / "disc"), r"one class only \(bar\)"),
    "colour": (
        lambda s: picture("RGB").save(s / "disc" / "01.png"),
        "bar/00.png is grey, disc/01.png is coloured",
    ),
    "broken": (half_broken, "10 of 50 images cannot be read, the first: bar/x0.png: an empty file"),
    "case": (lambda s: shutil.copytree(s / "bar", s / "Bar"), "'Bar' and 'bar' have equal class names"),
    "same": (lambda s: shutil.copytree(s / "bar", s / "copy"), "'bar' and 'copy' have the same images"),
    "many": (many, "1102 classes; a data set has 2 to 1000"),
    "comma": (lambda s: (s / "bar").rename(s / "b,ar"), "class 'b,ar' is not"),
    "half a split": (lambda s: (s / "bar").rename(s / "train"), "disc/ lies beside train/"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_folder_is_refused_in_one_line(own: Path, tmp_path: Path, kind: str) -> None:
    spoil, reason = BAD[kind]
    spoil(own)
    with pytest.raises(SourceError, match=reason) as caught:
        checked(own, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_split_that_loses_a_class_is_refused(tmp_path: Path) -> None:
    folders(tmp_path / "s" / "train", "abc")
    folders(tmp_path / "s" / "test", "ab", 2)
    with pytest.raises(SourceError, match=r"class 'c' is in train/ but not in test/"):
        checked(tmp_path / "s", tmp_path)


# ---------------------------------------------------------------------- arrays


X = RANDOM.integers(0, 256, (60, 8, 8), np.uint8)
Y = np.arange(60, dtype=np.uint8) % 3


def write_idx(path: Path, array: np.ndarray, *, packed: bool = False) -> None:
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True])
def test_a_pair_of_idx_files_is_read(tmp_path: Path, packed: bool) -> None:
    end = ".gz" if packed else ""
    write_idx(tmp_path / f"my-images-idx3-ubyte{end}", X, packed=packed)
    write_idx(tmp_path / f"my-labels-idx1-ubyte{end}", Y, packed=packed)
    for source in (tmp_path, tmp_path / f"my-images-idx3-ubyte{end}"):
        raw = read(source, tmp_path, Form(names=("a", "b", "c")))
        assert raw.classes == ("a", "b", "c")
        assert np.array_equal(raw.images[:, 0], X)
        assert np.array_equal(raw.labels, Y)


FORMS = {
    "bytes": X,
    "a channel": X[..., None],
    "floats": X.astype(np.float32) / 255,
    "floats to 255": X.astype(np.float64),
    "16 bits": X.astype(np.uint16) * 257,
}


@pytest.mark.parametrize("kind", FORMS)
def test_an_npz_of_any_range_becomes_the_same_bytes(tmp_path: Path, kind: str) -> None:
    np.savez(tmp_path / "x.npz", x_train=FORMS[kind], y_train=Y, x_test=FORMS[kind][:6], y_test=Y[:6, None])
    raw = read(tmp_path / "x.npz", tmp_path)
    assert np.array_equal(raw.images[:60, 0], X)
    assert raw.test is not None
    assert raw.test.sum() == 6


def test_levels_far_below_255_are_doubted(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=X // 16, y_train=Y)
    (doubt,) = sources.check(read(tmp_path / "x.npz", tmp_path))
    assert "brighter than 15 of 255" in doubt


BAD_ARRAYS = {
    "outside": ({"x_train": X, "y_train": Y}, Form(names=("a", "b")), "label 2 is outside the classes; there are 2"),
    "negative": ({"x_train": X, "y_train": Y.astype(int) - 1}, Form(), "label -1 is outside"),
    "gap": ({"x_train": X, "y_train": Y * np.uint8(2)}, Form(), "class '1' has 0 images"),
    "huge": ({"x_train": X, "y_train": Y.astype(int) * 10**9}, Form(), "label 2000000000 is outside"),
    "lengths": ({"x_train": X, "y_train": Y[:9]}, Form(), "60 images but 9 labels"),
    "names": ({"images": X, "y_train": Y}, Form(), "holds images, y_train; give x_train"),
    "one-hot": ({"x_train": X, "y_train": np.eye(3)[Y]}, Form(), r"labels are float64 \(60, 3\)"),
    "channels": ({"x_train": np.stack([X] * 4, -1), "y_train": Y}, Form(), r"shape \(60, 8, 8, 4\)"),
    "nan": ({"x_train": np.full(X.shape, np.nan), "y_train": Y}, Form(), "pixels from nan to nan"),
    "objects": ({"x_train": X, "y_train": Y.astype(object)}, Form(), "allow_pickle=False"),
    "same": (
        {"x_train": np.concatenate([X[:20]] * 2), "y_train": np.repeat([0, 1], 20)}, Form(),
        "'0' and '1' have the same images",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_bad_arrays_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    arrays, form, reason = BAD_ARRAYS[kind]
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(SourceError, match=reason) as caught:
        checked(tmp_path / "x.npz", tmp_path, form)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"text"])
def test_a_file_that_is_no_npz_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.npz: no \.npz, or cut off$"):
        read(tmp_path / "x.npz", tmp_path)


def test_names_of_classes_are_refused_where_folders_name_them(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the folders name them"):
        read(shapes, tmp_path, Form(names=("a", "b")))


def test_an_empty_source_is_not_the_folder_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the source is empty"):
        read("", tmp_path)


@pytest.mark.parametrize("source", ["nowhere", "torchvision:CIFAR10"])
def test_an_unknown_source_is_named(tmp_path: Path, source: str) -> None:
    with pytest.raises(SourceError, match=f"{source}.*give"):
        read(source, tmp_path)
