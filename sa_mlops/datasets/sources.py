"""Sources of `sa-mlops data add`: a folder per class, IDX files, an .npz or torchvision become one array of bytes."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sa_mlops.datasets import idx, pictures
from sa_mlops.datasets.spec import MAX_CLASSES, SIDE_RANGE, DataSpec

FEWEST = 20
"""Images of a class, both splits together."""
LARGEST_KEPT, USUAL = 64, 32
"""Sides up to the first are kept if all images agree; others become the second."""
MOST_LEFT_OUT = 0.1
"""Share of files that may be unreadable; above it the source is refused."""
DOWNLOADS = ("MNIST", "FashionMNIST", "KMNIST", "USPS", "SVHN")
"""Data sets of torchvision that are stored without pickles."""
DARK = 64
"""A data set without a pixel of this level is probably scaled wrongly."""
CHUNK = 4096

Levels = NDArray[np.uint8]
Labels = NDArray[np.int64]
T = TypeVar("T")
Watch = Callable[[str, Sequence[T]], Iterable[T]]
"""watch(title, items): the items, with their progress shown."""


class SourceError(ValueError):
    """A source that is no data set. The message is one line that names the file or the class."""


@dataclass(frozen=True, slots=True)
class Form:
    """The wanted form of the images.

    Attributes
    ----------
    size : pixels a side; None keeps sides of at most 64 if all images agree, and else takes 32.
    channels : 1 or 3; None is that of the images, which must agree.
    names : class names in the order of the labels, for sources whose labels are numbers; None spells the numbers.
    """

    size: int | None = None
    channels: int | None = None
    names: tuple[str, ...] | None = None

    def sides(self, found: Iterable[tuple[int, int]]) -> tuple[int, int]:
        """Height and width for images of these heights and widths."""
        if self.size is not None:
            return self.size, self.size
        sides = set(found)
        only = sides.pop() if len(sides) == 1 else (0, 0)
        kept = all(SIDE_RANGE[0] <= side <= LARGEST_KEPT for side in only)
        return only if kept else (USUAL, USUAL)


@dataclass(frozen=True, slots=True)
class Raw:
    """The content of a source.

    Attributes
    ----------
    classes : K names in the order of the labels.
    images : (n, C, H, W) uint8; it may be a mapped file.
    labels : (n,) in 0 to K - 1.
    test : (n,) bool; None if the source has no split.
    left_out : a line for each file that is no picture, or cannot be read.
    """

    classes: tuple[str, ...]
    images: Levels
    labels: Labels
    test: NDArray[np.bool_] | None
    left_out: tuple[str, ...] = ()


def read(source: str, form: Form, scratch: Path, watch: Watch[Any]) -> Raw:
    """The content of a source: a path, or `torchvision:NAME`, which downloads.

    Raises SourceError if it is no data set.

    Parameters
    ----------
    scratch : an empty folder for files that are needed until the images are written.
    """
    if source.startswith("torchvision:"):
        return _downloaded(source.removeprefix("torchvision:"), form, scratch, watch)
    if not source:
        raise SourceError("the source is empty")
    path = Path(source)
    try:
        if path.is_dir():
            files = [p for p in sorted(path.iterdir()) if p.is_file() and idx.is_idx(p)]
            return _idx(files, form, watch) if files else _folders(path, form, scratch, watch)
        if path.suffix == ".npz" and path.is_file():
            return _npz(path, form, watch)
        if path.is_file() and idx.is_idx(path):
            return _idx([path, _labels_of(path)], form, watch)
    except OSError as error:
        raise SourceError(f"{error.filename or source}: {error.strerror or error}") from None
    kinds = "a folder with a folder of images per class, IDX files, an .npz, or torchvision:NAME"
    raise SourceError(f"{source}: {'no data set' if path.exists() else 'not found'}; give {kinds}")


# ---------------------------------------------------------------------- folders of pictures


def _folders(source: Path, form: Form, scratch: Path, watch: Watch[Any]) -> Raw:
    if form.names is not None:
        raise SourceError(f"{source}: --classes names the classes of arrays; here the folders name them")
    below = _subfolders(source)
    parts = {p.name: p for p in below if p.name in ("train", "test")}
    if parts and len(below) > len(parts):
        other = next(p.name for p in below if p.name not in parts)
        raise SourceError(
            f"{source}: {other}/ lies beside {' and '.join(parts)}/, so the classes are not clear"
        )
    if parts and len(parts) < 2:
        raise SourceError(
            f"{source}: has {next(iter(parts))}/ alone; give train/ and test/, or the classes' folders"
        )
    splits = [parts["train"], parts["test"]] if parts else [source]
    classes = _classes([p.name for p in _subfolders(splits[0])], source)
    for one, another in (splits, splits[::-1]) if parts else ():
        lost = {p.name for p in _subfolders(one)} - {p.name for p in _subfolders(another)}
        if lost:
            raise SourceError(f"class {min(lost)!r} is in {one.name}/ but not in {another.name}/")

    rows: list[tuple[Path, int, bool]] = []
    left_out = [
        f"{_shown(path, source)}: in no class's folder"
        for folder in dict.fromkeys((source, *splits))
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]
    for split in splits:
        for label, name in enumerate(classes):
            found, others = pictures.listed(split / name)
            rows += [(path, label, split.name == "test") for path in found]
            left_out += [_shown(split / name / line, source) for line in others]
    _enough(classes, np.array([label for _, label, _ in rows], dtype=np.int64))

    looks, unread = {}, []
    for path, _, _ in watch("check", rows):
        try:
            looks[path] = pictures.look(path)
        except pictures.PictureError as error:
            unread.append(_shown(path.parent / str(error), source))
    if form.channels is None:
        _one_kind(looks, source)
    channels = form.channels or max((one.channels for one in looks.values()), default=1)
    shape = (channels, *form.sides((one.height, one.width) for one in looks.values()))
    _too_many(unread, len(rows))

    images: Levels = np.memmap(scratch / "images", np.uint8, "w+", shape=(len(rows), *shape))
    good: list[tuple[int, bool]] = []
    for path, label, test in watch("read", [row for row in rows if row[0] in looks]):
        try:
            images[len(good)] = pictures.read(path, shape)
        except pictures.PictureError as error:
            unread.append(_shown(path.parent / str(error), source))
            continue
        good.append((label, test))
    _too_many(unread, len(rows))
    labels = np.array([label for label, _ in good], dtype=np.int64)
    given = np.array([test for _, test in good], dtype=np.bool_) if parts else None
    return Raw(classes, images[: len(good)], labels, given, tuple(unread + left_out))


def _subfolders(folder: Path) -> list[Path]:
    found = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    numbers = all(p.name.isdecimal() for p in found)
    return sorted(found, key=lambda p: (int(p.name) if numbers else 0, p.name))


def _shown(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()


def _one_kind(looks: dict[Path, pictures.Look], source: Path) -> None:
    """Refuse grey beside colour."""
    grey = next((path for path, one in looks.items() if one.channels == 1), None)
    colour = next((path for path, one in looks.items() if one.channels == 3), None)
    if grey is not None and colour is not None:
        raise SourceError(
            f"images differ in channels: {_shown(grey, source)} is grey, {_shown(colour, source)} is coloured; "
            "give --colour grey or --colour rgb"
        )


def _too_many(unread: Sequence[str], files: int) -> None:
    if len(unread) > MOST_LEFT_OUT * files:
        raise SourceError(f"{len(unread):,} of {files:,} images cannot be read, the first: {unread[0]}")


# ---------------------------------------------------------------------- arrays


def _idx(files: Sequence[Path], form: Form, watch: Watch[Any]) -> Raw:
    found: dict[str, Path] = {}
    for path in files:
        split = "test" if "test" in path.name or "t10k" in path.name else "train"
        kind = "labels" if "label" in path.name else "images"
        if f"{split} {kind}" in found:
            raise SourceError(f"{path.name} and {found[f'{split} {kind}'].name} are both {split} {kind}")
        found[f"{split} {kind}"] = path
    if "train images" not in found:
        raise SourceError(f"{files[0].parent}: no IDX file of training images")
    parts = []
    for split in ("train", "test"):
        kinds = [found.get(f"{split} {kind}") for kind in ("images", "labels")]
        if kinds == [None, None]:
            continue
        if None in kinds:
            raise SourceError(
                f"{kinds[0] or kinds[1]}: its {'labels are' if kinds[0] else 'images are'} missing"
            )
        try:
            x, y = (idx.read(path) for path in kinds if path is not None)
        except idx.IdxError as error:
            raise SourceError(str(error)) from None
        parts.append((x, y, str(kinds[0])))
    return _arrays(parts, form, watch)


def _labels_of(images: Path) -> Path:
    """The file of labels beside a file of images."""
    path = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    if path == images or not path.is_file():
        raise SourceError(f"{images}: its labels are missing; they would be {path.name}")
    return path


def _npz(path: Path, form: Form, watch: Watch[Any]) -> Raw:
    if not zipfile.is_zipfile(path):
        raise SourceError(f"{path}: no .npz, or cut off")
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = [key for key in ("x_train", "y_train", "x_test", "y_test") if key in file]
            if keys not in (["x_train", "y_train"], ["x_train", "y_train", "x_test", "y_test"]):
                names = ", ".join(file.files[:10]) or "nothing"
                raise SourceError(
                    f"{path}: holds {names}; give x_train and y_train, with x_test and y_test or without"
                )
            arrays = [file[key] for key in keys]
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    parts = [(arrays[i], arrays[i + 1], f"{path}: {keys[i]}") for i in range(0, len(arrays), 2)]
    return _arrays(parts, form, watch)


def _downloaded(name: str, form: Form, scratch: Path, watch: Watch[Any]) -> Raw:
    if name not in DOWNLOADS:
        raise SourceError(
            f"torchvision:{name} is not known; give one of {', '.join(DOWNLOADS)}, or save the images as an .npz "
            "(torchvision keeps others as pickles, which are not read)"
        )
    from torchvision import datasets as source

    parts = []
    for train in (True, False):
        chosen: dict[str, Any] = (
            {"split": "train" if train else "test"} if name == "SVHN" else {"train": train}
        )
        try:
            data = getattr(source, name)(str(scratch / name), download=True, **chosen)
        except (OSError, RuntimeError) as error:
            raise SourceError(
                f"torchvision:{name} cannot be downloaded: {' '.join(str(error).split())}"
            ) from None
        parts.append(
            (np.asarray(data.data), np.asarray(getattr(data, "targets", getattr(data, "labels", ()))), name)
        )
    names = tuple(str(c) for c in getattr(data, "classes", ()))
    if name == "FashionMNIST":
        from sa_mlops.datasets.fashion_mnist import SPEC

        names = SPEC.classes
    return _arrays(parts, form if form.names or not names else Form(form.size, form.channels, names), watch)


def _arrays(parts: Sequence[tuple[NDArray[Any], NDArray[Any], str]], form: Form, watch: Watch[Any]) -> Raw:
    """Images and labels of the training part, and of the test part if there is one; each with its name."""
    levels = [_levels(x, where) for x, _, where in parts]
    labels = [_labels(y, len(x), where) for x, y, where in parts]
    if len({x.shape[1] for x in levels}) > 1:
        raise SourceError(f"images differ in channels between {parts[0][2]} and {parts[1][2]}")
    count = 1 + max(int(y.max(initial=0)) for y in labels)
    names = form.names or tuple(map(str, range(min(count, MAX_CLASSES + 1))))
    if count > len(names):
        allowed = f"{len(names)} classes" if form.names else f"{MAX_CLASSES:,} classes at most"
        raise SourceError(f"{parts[0][2]}: label {count - 1} is outside the classes; there are {allowed}")
    classes = _classes(names, Path(parts[0][2]))
    shape = (form.channels or levels[0].shape[1], *form.sides(x.shape[2:] for x in levels))
    fitted = [_fitted(x, shape, watch) for x in levels]
    images = fitted[0] if len(parts) == 1 else np.concatenate(fitted)
    test = np.repeat([False, True], [len(y) for y in labels]) if len(parts) > 1 else None
    return Raw(classes, images, np.concatenate(labels), test)


def _levels(x: NDArray[Any], where: str) -> Levels:
    """Images (n, H, W), (n, H, W, C) or (n, C, H, W) as bytes (n, C, H, W)."""
    if x.ndim == 4 and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    elif x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.size:
        raise SourceError(f"{where}: shape {x.shape} is no images (n, H, W), (n, H, W, C) or (n, C, H, W)")
    if x.dtype == np.uint8:
        return x
    if x.dtype == np.bool_:
        return x.astype(np.uint8) * np.uint8(255)
    if x.dtype.kind not in "iuf":
        raise SourceError(f"{where}: {x.dtype} is no type of pixels")
    low, high = float(x.min()), float(x.max())
    top = (
        1.0
        if x.dtype.kind == "f" and high <= 1
        else 65_535.0
        if x.dtype == np.uint16 and high > 255
        else 255.0
    )
    if not 0 <= low <= high <= top:  # NaN as well
        raise SourceError(f"{where}: pixels from {low:g} to {high:g}; give 0 to 255, or numbers from 0 to 1")
    out = np.empty(x.shape, np.uint8)
    for start in range(0, len(x), CHUNK):
        out[start : start + CHUNK] = np.rint(x[start : start + CHUNK] * (255 / top))
    return out


def _labels(y: NDArray[Any], images: int, where: str) -> Labels:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise SourceError(f"{where}: labels are {y.dtype} {y.shape}; give one whole number an image")
    if len(y) != images:
        raise SourceError(f"{where}: {images:,} images but {len(y):,} labels")
    if int(y.min(initial=0)) < 0:
        raise SourceError(f"{where}: label {int(y.min())} is outside the classes, which begin at 0")
    return y.astype(np.int64)


def _fitted(x: Levels, shape: tuple[int, int, int], watch: Watch[Any]) -> Levels:
    """Images (n, C, H, W) converted to another (C, H, W)."""
    if x.shape[1:] == shape:
        return x
    out = np.empty((len(x), *shape), np.uint8)
    for row in watch("scale", range(len(x))):
        out[row] = pictures.converted(x[row], shape)
    return out


# ---------------------------------------------------------------------- checks, split and file


def _classes(names: Sequence[str], source: Path) -> tuple[str, ...]:
    """The names, if they can be the classes of a data set."""
    if len(names) < 2:
        there = f"one class only ({names[0]})" if names else "no folders of classes"
        raise SourceError(f"{source}: {there}; a data set has 2 to {MAX_CLASSES:,}")
    try:
        return DataSpec("", tuple(names), (1, *(SIDE_RANGE[0],) * 2)).classes
    except ValueError as error:
        raise SourceError(f"{source}: {error}") from None


def _enough(classes: Sequence[str], labels: Labels) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    few = int(counts.argmin())
    if counts[few] < FEWEST:
        raise SourceError(f"class {classes[few]!r} has {counts[few]} images; a class needs {FEWEST}")


def check(raw: Raw) -> tuple[str, ...]:
    """Refuse classes that are too small or the same; a line for each smaller doubt.

    Raises SourceError, naming the class.
    """
    _enough(raw.classes, raw.labels)
    digests = [hashlib.blake2b(image.tobytes(), digest_size=12).digest() for image in raw.images]
    of_class: list[set[bytes]] = [set() for _ in raw.classes]
    for digest, label in zip(digests, raw.labels.tolist(), strict=True):
        of_class[label].add(digest)
    times = Counter(digest for members in of_class for digest in members)
    shared = {digest for digest, n in times.items() if n > 1}
    for label, members in enumerate(of_class):
        if members <= shared:
            for other, others in enumerate(of_class):
                if other != label and members <= others:
                    raise SourceError(
                        f"classes {raw.classes[label]!r} and {raw.classes[other]!r} have the same images"
                    )
    doubts = []
    brightest = max(int(raw.images[at : at + CHUNK].max()) for at in range(0, len(raw.images), CHUNK))
    if brightest < DARK:
        doubts.append(f"no pixel is brighter than {brightest} of 255; are the numbers from 0 to {brightest}?")
    if shared:
        doubts.append(f"{len(shared)} images are in more than one class")
    if raw.test is not None:
        train = {d for d, test in zip(digests, raw.test, strict=True) if not test}
        again = sum(d in train for d, test in zip(digests, raw.test, strict=True) if test)
        if again:
            doubts.append(f"{again} test images are also training images")
    return tuple(doubts)


def split(raw: Raw, share: float, seed: int) -> NDArray[np.bool_]:
    """(n,) which images test: the source's own, or a share of each class, at least one image.

    Raises SourceError if a class is missing in a split.
    """
    if raw.test is None:
        random = np.random.default_rng(seed)
        test = np.zeros(len(raw.labels), np.bool_)
        for label in range(len(raw.classes)):
            rows = random.permutation(np.flatnonzero(raw.labels == label))
            test[rows[: max(1, round(share * len(rows)))]] = True
        return test
    for part, chosen in (("training", ~raw.test), ("test", raw.test)):
        counts = np.bincount(raw.labels[chosen], minlength=len(raw.classes))
        if not counts.all():
            raise SourceError(f"class {raw.classes[int(counts.argmin())]!r} has no {part} images")
    return raw.test


def write(path: Path, raw: Raw, test: NDArray[np.bool_]) -> None:
    """Both splits as safetensors, a chunk at a time: the library's own writer holds all of them twice in memory."""
    rows = {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}
    parts: list[tuple[str, NDArray[Any], NDArray[np.int64]]] = []
    for part, chosen in rows.items():
        parts += [
            (f"{part}_labels", raw.labels.astype("<i8"), chosen),
            (f"{part}_images", raw.images, chosen),
        ]
    parts.sort(key=lambda one: one[1].dtype == np.uint8)  # eight-byte numbers first, so that they are aligned
    header, end = {}, 0
    for name, source, chosen in parts:
        size = len(chosen) * source[:1].nbytes
        kind = "U8" if source.dtype == np.uint8 else "I64"
        shape = [len(chosen), *source.shape[1:]]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, source, chosen in parts:
            for start in range(0, len(chosen), CHUNK):
                file.write(source[chosen[start : start + CHUNK]].tobytes())
