"""Folders pinned by DVC: no file is used before its md5 agrees. DVC is imported only to fetch files."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sa_mlops.errors import CommandError

PIN = "data.dvc"
REPAIR = "sa-mlops data --repair"
LOCK_SECONDS = 600


class DataError(CommandError):
    """Data that disagree with the pin or cannot be fetched. The message is one line and says how to repair them."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The contents of a `.dvc` file.

    Attributes
    ----------
    md5 : hash of the listing, as DVC writes it (32 hex digits and `.dir`).
    size : bytes of all files.
    root : the checkout.
    path : the pinned folder.
    file : the `.dvc` file, relative to the checkout.
    meta : free entries of the file.
    """

    md5: str
    size: int
    root: Path
    path: Path
    file: str = PIN
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The pinned folder, relative to the checkout."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def repair(self) -> str:
        """The command that restores the folder."""
        return REPAIR if self.file == PIN else f"dvc pull --force {self.file}"


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file of the pinned folder: its path inside the folder, and its md5."""

    name: str
    md5: str


def project_root() -> Path:
    """The folder that holds `data.dvc`: the working directory or one above it, else the one beside the package.

    Raises DataError if there is none, or the first one belongs to another project.
    """
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (folder / PIN).is_file():
            if not _is_ours(folder):
                raise DataError(
                    f"{folder / PIN} belongs to another project; run inside a checkout of sa-mlops"
                )
            return folder
    raise DataError(f"{PIN} is not in {here} or above it; run inside a checkout of the project")


def _is_ours(folder: Path) -> bool:
    """Whether a folder is a checkout of this project."""
    try:
        return "name: sa-mlops" in (folder / "MLproject").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False


def read_pin(root: Path, file: str = PIN) -> Pin:
    """The pin in `root`. Raises DataError if the file cannot be read or pins no folder."""
    import yaml

    try:
        content = yaml.safe_load((root / file).read_text(encoding="utf-8"))
        out, meta = content["outs"][0], dict(content.get("meta") or {})
        md5, size, path = str(out["md5"]), int(out["size"]), str(out["path"])
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise DataError(
            f"{file} cannot be read ({type(error).__name__}); restore it with `git checkout {file}`"
        ) from None
    if (
        not _is_md5(md5.removesuffix(".dir"))
        or not md5.endswith(".dir")
        or Path(path).name != path
        or path == ".."
    ):
        raise DataError(f"{file} does not pin one folder by md5; restore it with `git checkout {file}`")
    return Pin(md5, size, root, (root / file).parent / path, file, meta)


def listing(pin: Pin) -> tuple[PinnedFile, ...] | None:
    """The files of the pin, listed in DVC's cache or the bundled remote; None if neither has the listing yet.

    A listing whose hash is not the pin's is ignored.

    Raises DataError if the listing has the hash of the pin, but lists no files or a file outside the folder.
    """
    digest = pin.md5.removesuffix(".dir")
    for store in ("cache", "bundled"):
        path = _listed(pin, store)
        if path is not None:
            text = path.read_bytes()
            if hashlib.md5(text, usedforsecurity=False).hexdigest() == digest:
                try:
                    files = tuple(PinnedFile(str(e["relpath"]), str(e["md5"])) for e in json.loads(text))
                except (ValueError, KeyError, TypeError, RecursionError):
                    files = ()
                if not files or not all(_is_md5(f.md5) for f in files):
                    raise DataError(
                        f"{pin.file} pins a listing of no files; restore it with `git checkout {pin.file}`"
                    )
                if any(Path(f.name).is_absolute() or ".." in Path(f.name).parts for f in files):
                    raise DataError(f"{pin.file} lists a file outside {pin.folder}/; it is not used")
                return files
    return None


def verify(pin: Pin) -> tuple[PinnedFile, ...]:
    """Compare every pinned file with its md5, and return them all.

    Raises DataError for the first file that is missing or different, with both hashes and the command that repairs it.
    """
    files = listing(pin)
    if files is None:
        raise DataError(
            f"{pin.folder}/: the listing {pin.md5} is not in DVC's cache; fetch it with `{pin.repair}`"
        )
    for file in files:
        path = pin.path / file.name
        shown = f"{pin.folder}/{file.name}"
        if not path.is_file():
            raise DataError(
                f"{shown}: missing (expected md5 {file.md5}, found no file); repair with `{pin.repair}`"
            )
        found = _md5(path)
        if found != file.md5:
            raise DataError(
                f"{shown}: altered (expected md5 {file.md5}, found {found}); repair with `{pin.repair}`"
            )
    return files


def pull(pin: Pin, *, repair: bool = False) -> None:
    """Fetch the pinned folder from DVC's default remote (the bundled one needs no network).

    Raises DataError if DVC cannot.

    Parameters
    ----------
    repair : replace files that were altered, in the folder and in DVC's cache.
    """
    lock = pin.root / ".dvc" / "tmp" / "sa-mlops.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=LOCK_SECONDS):
            if repair:
                _drop_altered_objects(pin)
            elif pin.path.exists() and listing(pin) is not None:
                return  # another process was faster
            _place(pin, _fetch(pin))
    except Timeout:
        raise DataError(f"{lock} is held by another process; try again when it is done") from None
    except OSError as error:
        raise DataError(f"{pin.folder}/ cannot be written: {error.strerror or error}") from None


@contextmanager
def repository(root: Path) -> Iterator[Any]:
    """DVC's `Repo` of a checkout. DVC's errors inside become DataError, in one line."""
    # Slow to import.
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    for name in ("dvc", "dvc_data"):  # errors are reported here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config: dict[str, Any] = {"core": {"analytics": False, "check_update": False}}
    if not (root / ".git").exists():
        config["core"]["no_scm"] = True
    try:
        with Repo(str(root), config=config) as repo:
            yield repo
    except DvcException as error:
        raise DataError(" ".join(str(error).split())) from None


def _fetch(pin: Pin) -> Path:
    """Bring every pinned object into DVC's cache, and return the cache's folder; the pinned folder is not touched."""
    remote = "bundled" if _listed(pin, "bundled") else None
    try:
        with repository(pin.root) as repo:
            repo.fetch(targets=[str(pin.root / pin.file)], remote=remote)
            return Path(repo.cache.local.path)
    except DataError as error:
        raise DataError(
            f"{pin.file} cannot be pulled: {error}; try `{pin.repair}` or `dvc pull --force`"
        ) from None


def _place(pin: Pin, cache: Path) -> None:
    """Copy missing and altered files from the cache; a folder in the place of a file is renamed, not deleted.

    DVC's own checkout deletes every file that is not pinned.
    """
    files = listing(pin)
    if files is None:
        raise DataError(f"{pin.file} cannot be pulled: the remote lacks the listing {pin.md5}")
    for file in files:
        path, source = pin.path / file.name, cache / file.md5[:2] / file.md5[2:]
        if path.is_file() and _md5(path) == file.md5:
            continue
        if not source.is_file():
            raise DataError(f"{pin.file} cannot be pulled: the remote lacks {file.name} (md5 {file.md5})")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            path.rename(path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}"))
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
        shutil.copyfile(source, temporary)
        temporary.replace(path)


def not_pinned(pin: Pin, files: tuple[PinnedFile, ...]) -> list[str]:
    """Files in the pinned folder that are not pinned, relative to it; no command changes them."""
    known = {file.name for file in files}
    found = (p.relative_to(pin.path).as_posix() for p in sorted(pin.path.rglob("*")) if not p.is_dir())
    return [name for name in found if name not in known]


def _drop_altered_objects(pin: Pin) -> None:
    """Remove cached objects that no longer hash to their name."""
    cache = pin.root / ".dvc" / "cache" / "files" / "md5"
    for path in cache.glob("??/*"):
        if _md5(path) != path.parent.name + path.name.removesuffix(".dir"):
            path.unlink()


def ensure(root: Path, file: str = PIN) -> tuple[Pin, tuple[PinnedFile, ...]]:
    """The verified files; a checkout that has no folder yet pulls it first.

    Raises DataError as `verify` and `pull` do.
    """
    pin = read_pin(root, file)
    if not pin.path.exists():
        pull(pin)
    return pin, verify(pin)


def _listed(pin: Pin, store: str) -> Path | None:
    """The listing's file in a folder of `.dvc`, if it is there."""
    digest = pin.md5.removesuffix(".dir")
    path = pin.root / ".dvc" / store / "files" / "md5" / digest[:2] / f"{digest[2:]}.dir"
    return path if path.is_file() else None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _is_md5(text: str) -> bool:
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)
