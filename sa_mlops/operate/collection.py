"""`data add`, `list`, `show` and `remove`: a user's own data sets, pinned by DVC."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock, Timeout
from tqdm import tqdm

from sa_mlops import datasets
from sa_mlops.datasets import imported, sources
from sa_mlops.datasets.pin import DataError, project_root, read_pin, repository
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.parameters import ParameterError
from sa_mlops.registry.stopping import stoppable
from sa_mlops.stages.progress import interactive, say
from sa_mlops.stages.result import Result, table

NAME = r"[a-z0-9][a-z0-9_-]{0,39}"
SHOWN = 10
"""Lines of a list that are printed."""
SHEET_ROWS, SHEET_COLUMNS = 6, 30
"""Images a class, and classes, of a contact sheet."""


def add(source: str, name: str, form: sources.Form, share: float, seed: int, licence: str) -> Result:
    """Import a source as `datasets/NAME/`, pin it, and say what to commit. A failure leaves nothing behind.

    Raises ParameterError if the name is taken or not allowed; SourceError if the source is no data set; DataError if
    DVC or the disk refuses.

    Parameters
    ----------
    share : share of each class that tests, if the source has no split.
    seed : of that split.
    """
    if not re.fullmatch(NAME, name):
        raise ParameterError("name", name, "up to 40 lower-case letters, digits, dashes and underscores")
    if name in datasets.known():
        raise ParameterError("name", name, f"a name other than {', '.join(datasets.known())}")
    root = project_root()
    home = root / imported.FOLDER
    if (home / name).exists():
        raise ParameterError("name", name, f"another name: {imported.FOLDER}/{name} exists and is not pinned")
    with _writing(root) as scratch:
        raw = sources.read(source, form, scratch, _watch)
        doubts = sources.check(raw)
        test = sources.split(raw, share, seed)
        spec = DataSpec(name, raw.classes, _shape(raw.images.shape))
        folder = scratch / name
        folder.mkdir()
        sources.write(folder / imported.IMAGES, raw, test)
        meta = {
            "classes": list(spec.classes),
            "shape": list(spec.shape),
            "images": len(test),
            "test": int(test.sum()),
        }
        manifest = {
            **meta,
            "train_counts": np.bincount(raw.labels[~test], minlength=spec.count).tolist(),
            "test_counts": np.bincount(raw.labels[test], minlength=spec.count).tolist(),
            "source": source if source.startswith("torchvision:") else Path(source).name,
            "split": "the source's"
            if raw.test is not None
            else f"share {share:g} of each class, seed {seed}",
            "licence": licence,
            "left_out": list(raw.left_out),
        }
        (folder / imported.MANIFEST).write_text(
            json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
        home.mkdir(exist_ok=True)
        _pin(root, folder, home / name, meta)
    pin = read_pin(root, imported.file_of(name))
    shape = "x".join(map(str, spec.shape))
    trains, tests = int((~test).sum()), int(test.sum())
    lines = [f"{name}: {spec.count} classes, {shape}, {trains:,} training and {tests:,} test images"]
    lines += [f"note: {doubt}" for doubt in doubts]
    if raw.left_out:
        lines.append(f"left out {len(raw.left_out):,} files:")
        lines += [f"  {line}" for line in raw.left_out[:SHOWN]]
        if len(raw.left_out) > SHOWN:
            lines.append(f"  ... ({imported.FOLDER}/{name}/{imported.MANIFEST} lists all)")
    commit = f"git add {pin.file} {imported.FOLDER}/.gitignore && git commit -m 'Data set {name}'"
    lines += [
        f"pinned as {pin.file} ({pin.md5})",
        "",
        f"commit it:  {commit}",
        f"share it:   dvc remote add -d store URL && dvc push {pin.file}",
        f"use it:     sa-mlops forget --dataset {name} --classes {shlex.quote(spec.classes[-1])}",
    ]
    document = {"name": name, "pin": pin.md5, "file": pin.file, "notes": list(doubts), **manifest}
    return Result(document, "\n".join(lines))


def listed() -> Result:
    """All data sets: bundled, and imported ones with their pins."""
    rows, entries = [], []
    for name in datasets.known():
        entry: dict[str, Any] = {"name": name, "bundled": name in datasets.bundled()}
        try:
            spec = datasets.spec(name)
            entry |= {"shape": list(spec.shape), "classes": spec.count, "images": None, "pin": None}
            if not entry["bundled"]:
                pin = read_pin(project_root(), imported.file_of(name))
                entry |= {"images": pin.meta.get("images"), "pin": pin.md5, "pulled": pin.path.is_dir()}
        except DataError as error:
            entry["problem"] = str(error)
        entries.append(entry)
        state = "bundled" if entry["bundled"] else "pulled" if entry.get("pulled") else "not pulled"
        rows.append([
            name,
            "x".join(map(str, entry.get("shape", ["?"]))),
            str(entry.get("classes", "?")),
            f"{entry['images']:,}" if entry.get("images") else "",
            "cannot be read" if "problem" in entry else state,
            entry.get("pin") or "",
        ])  # fmt: skip
    return Result({"datasets": entries}, table(["data set", "shape", "classes", "images", "", "pin"], rows))


def show(name: str, out: Path | None) -> Result:
    """Counts per class, pin and origin of a data set, and a sheet of its images as a PNG file or in the terminal.

    Raises ParameterError if there is no such data set, or `out` cannot be written; DataError if its files are missing
    or altered.
    """
    import torch

    from sa_mlops.operate.look import terminal, write_png
    from sa_mlops.plots.grids import mosaic

    if name not in datasets.known():
        raise ParameterError("NAME", name, f"one of {', '.join(datasets.known())}")
    data = datasets.load(name, torch.device("cpu"))
    spec = data.spec
    counts = [torch.bincount(y, minlength=spec.count).tolist() for y in (data.train_labels, data.test_labels)]
    columns = min(spec.count, SHEET_COLUMNS)
    firsts = [(data.train_labels == c).nonzero().flatten()[:SHEET_ROWS] for c in range(columns)]
    sheet = np.full((SHEET_ROWS, columns, *spec.shape), np.nan, np.float32)
    for column, rows in enumerate(firsts):
        sheet[: len(rows), column] = data.train_images[rows].numpy()
    picture = mosaic(sheet)
    about = {} if name in datasets.bundled() else imported.manifest(project_root(), name)
    known = {key: str(about[key]) for key in ("source", "split", "licence") if about.get(key)}
    lines = [f"{name}: {spec.count} classes, {'x'.join(map(str, spec.shape))}, pin {data.md5}"]
    lines += [f"{key}: {value}" for key, value in known.items()]
    rows_ = [[c, str(a), str(b)] for c, a, b in zip(spec.classes, *counts, strict=True)]
    lines += ["", table(["class", "train", "test"], rows_), ""]
    lines.append(f"first training images; columns {', '.join(spec.classes[:columns])}")
    if out is None:
        lines.append(terminal(picture, shutil.get_terminal_size((120, 40)).columns))
    else:
        write_png(picture, out)
        lines[-1] += f": {out}"
    document = {
        "name": name, "shape": list(spec.shape), "classes": list(spec.classes), "train": counts[0],
        "test": counts[1], "pin": data.md5, "file": None if out is None else str(out), **known,
    }  # fmt: skip
    return Result(document, "\n".join(lines))


def removable(name: str) -> None:
    """Raise ParameterError unless the name is that of an imported data set."""
    if name in datasets.bundled():
        raise ParameterError("NAME", name, "a data set of yours; this one is part of the program")
    if name not in imported.known() and not (
        re.fullmatch(NAME, name) and (project_root() / imported.FOLDER / name).is_dir()
    ):
        yours = ", ".join(imported.known()) or "there are none"
        raise ParameterError("NAME", name, f"a data set of yours ({yours})")


def remove(name: str) -> Result:
    """Remove the images and the pin of an imported data set; DVC's cache and remotes keep what they have."""
    removable(name)
    root = project_root()
    with _writing(root):
        if (root / imported.file_of(name)).exists():
            with repository(root) as repo:
                repo.remove(imported.file_of(name))
        if (folder := root / imported.FOLDER / name).exists():
            shutil.rmtree(folder)
    text = f"removed {imported.file_of(name)} and {imported.FOLDER}/{name}/; `dvc gc -w` frees DVC's cache"
    return Result({"removed": name}, text)


@contextmanager
def _writing(root: Path) -> Iterator[Path]:
    """An empty scratch folder inside the checkout, while no other process writes data sets here; SIGTERM removes it."""
    home = root / ".dvc" / "tmp"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with stoppable(), FileLock(home / "sa-mlops-data.lock", timeout=0):
            for left in home.glob("sa-mlops-add-*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(prefix="sa-mlops-add-", dir=home))
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except Timeout:
        raise DataError(
            "another process adds or removes a data set here; try again when it is done"
        ) from None
    except OSError as error:
        raise DataError(f"{error.filename or root}: {error.strerror or error}") from None


def _pin(root: Path, made: Path, place: Path, meta: dict[str, Any]) -> None:
    """Move a finished folder to its place and pin it; on failure everything is as before."""
    file, ignored = place.with_name(f"{place.name}.dvc"), place.parent / ".gitignore"
    before = ignored.read_bytes() if ignored.exists() else None
    made.rename(place)
    try:
        with repository(root) as repo:
            repo.add([str(place)])
        content = yaml.safe_load(file.read_text("utf-8")) | {"meta": meta}
        fresh = file.with_name(f".{file.name}.tmp")
        fresh.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
        fresh.replace(file)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        file.unlink(missing_ok=True)
        if before is None:
            ignored.unlink(missing_ok=True)
        else:
            ignored.write_bytes(before)
        raise


def _shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    _, channels, height, width = shape
    return channels, height, width


def _watch(title: str, items: Sequence[Any]) -> Iterable[Any]:
    """The items under a progress bar; without a terminal one line says how many there are."""
    if not interactive():
        say(f"{title} {len(items):,} images")
    return tqdm(items, desc=title, unit="image", leave=False, dynamic_ncols=True, disable=not interactive())
