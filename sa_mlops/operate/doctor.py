"""`doctor`: check the installation, the data and the store, and advise. Writes only with `fix`, and deletes nothing."""

from __future__ import annotations

import platform
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import mlflow
import torch
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from packaging.requirements import Requirement

from sa_mlops import __version__
from sa_mlops.datasets import imported
from sa_mlops.datasets import pin as data
from sa_mlops.environment import database
from sa_mlops.errors import in_one_line, plain
from sa_mlops.registry import inventory, log, names, processes, stores, tracking, versions, weights
from sa_mlops.registry.inventory import Inventory
from sa_mlops.registry.stores import StoreError
from sa_mlops.registry.version import Version, edited
from sa_mlops.registry.versions import VersionError
from sa_mlops.stages.result import Result

DISTRIBUTION = "sa-mlops"
FREE_BYTES = 500_000_000
LINKS = {
    names.PARENT: names.GENERATORS, names.BASE: names.GENERATORS, names.FIM: names.FISHERS,
    names.JUDGE: names.JUDGES, names.JUDGE_PLAIN: names.JUDGES,
}  # fmt: skip
"""Tag -> registered model that its value must name a version of."""

POINT_BASE = "run `sa-mlops base` with the base's parameters: it is reused and gets the alias"
Level = Literal["ok", "note", "wrong", "fixed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    area : `environment`, `devices`, `data`, `store`, `runs`, `versions` or `models`.
    level : `note` is harmless; `wrong` makes the command fail; `fixed` was wrong until now.
    found : the state.
    advice : the remedy, empty where none is needed.
    """

    area: str
    level: Level
    found: str
    advice: str = ""

    def line(self) -> str:
        """One or two lines of text."""
        found = plain(self.found)
        mark = {"ok": "ok   ", "note": "note ", "wrong": "WRONG", "fixed": "fixed"}[self.level]
        return f"{mark}  {self.area}: {found}" + (f"\n       do: {self.advice}" if self.advice else "")


def examine(fix: bool = False) -> Result:
    """Run all checks.

    Parameters
    ----------
    fix : mark runs whose process no longer exists as KILLED and their unfinished models as FAILED, and correct the
        recorded places of artifacts in a store that was moved.
    """
    findings = [*environment(), *devices(), *pinned_data()]
    try:
        usable, store_findings = store(fix)
        findings += store_findings
        if usable:
            client = tracking.connect()
            findings += runs(client, fix)
            findings += registered(client)
            findings += models(client, fix)
    except (StoreError, MlflowException) as error:
        advice = (
            getattr(error, "advice", "") or "see that the store can be opened, or correct MLFLOW_TRACKING_URI"
        )
        if "schema" in str(error):
            advice = f"copy the database, then `mlflow db upgrade {shlex.quote(mlflow.get_tracking_uri())}`"
        found = error.found if isinstance(error, StoreError) else in_one_line(error)
        findings.append(Finding("store", "wrong", " ".join(found.split())[:300], advice))
    wrong = sum(f.level == "wrong" for f in findings)
    fixed = sum(f.level == "fixed" for f in findings)
    summary = f"{wrong or 'no'} problem{'' if wrong == 1 else 's'}" + (f", {fixed} fixed" if fixed else "")
    text = "\n".join([*(f.line() for f in findings), summary])
    document: dict[str, Any] = {
        "healthy": not wrong,
        "wrong": wrong,
        "fixed": fixed,
        "findings": [asdict(f) for f in findings],
    }
    return Result(document, text, passed=not wrong)


def environment() -> Iterator[Finding]:
    """Python, and the installed packages against the required versions."""
    here = f"sa-mlops {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield Finding("environment", "ok", here)
    try:
        wanted = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        found = "the package is not installed, so its requirements are not checked"
        yield Finding("environment", "note", found, "`make help`")
        return
    shown, install = [], "`pip install -r requirements.txt`"
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding("environment", "wrong", f"{requirement.name} is missing", install)
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong = f"{requirement.name} {found} does not satisfy {requirement.specifier}"
            yield Finding("environment", "wrong", wrong, install)
        shown.append(f"{requirement.name} {found}")
    yield Finding("environment", "ok", ", ".join(shown))


def devices() -> Iterator[Finding]:
    """Devices of this machine."""
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cuda = ", ".join(f"cuda:{i} {name}" for i, name in enumerate(cards)) or "no CUDA"
    mps = ", mps" if torch.backends.mps.is_available() else ""
    yield Finding("devices", "ok", f"cpu with {torch.get_num_threads()} threads, {cuda}{mps}")


def pinned_data() -> Iterator[Finding]:
    """The files of every pin against their hashes; nothing is pulled."""
    for name in (None, *imported.known()):
        file, pull, repair = data.PIN, "sa-mlops data", data.REPAIR
        if name is not None:
            file = imported.file_of(name)
            pull, repair = f"dvc pull {file}", f"dvc pull --force {file}"
        try:
            pin = data.read_pin(data.project_root(), file)
            if not pin.path.exists():
                yield Finding(
                    "data", "note", f"{pin.folder}/ is not pulled yet", f"none needed; `{pull}` pulls it now"
                )
                continue
            files = data.verify(pin)
            if name is not None:
                imported.spec(name)
        except data.DataError as error:
            yield Finding("data", "wrong", str(error), f"`{repair}`")
        else:
            yield Finding(
                "data", "ok", f"all {len(files)} files of {pin.folder}/ agree with {file} ({pin.md5})"
            )


def store(fix: bool) -> tuple[bool, list[Finding]]:
    """Whether the store can be opened, and the checks made before MLflow opens it.

    Raises StoreError if it does not answer, or its tables are those of another MLflow.
    """
    uri = mlflow.get_tracking_uri()
    path = database(uri)
    found = []
    if path is not None:
        if not path.exists():
            advice = "none needed: the first stage creates it"
            return False, [Finding("store", "note", f"{uri}: does not exist yet", advice)]
        if broken := _sqlite_damage(path):
            advice = "copy the file, then recover it into a new one: `sqlite3 FILE .recover`"
            return False, [Finding("store", "wrong", f"{uri}: {broken}", advice)]
        if fix and (before := stores.moved_from(path)) is not None:
            count = stores.correct_places(path)
            moved = f"{uri}: {count} places of artifacts in {before} are now in {path.parent}"
            found.append(Finding("store", "fixed", moved))
        free = shutil.disk_usage(path.parent).free
        if free < FREE_BYTES:
            low = f"only {free / 1e6:.0f} MB are free on the store's disk"
            found.append(Finding("store", "note", low, "free some space"))
    count = len(tracking.connect().search_experiments())
    return True, [*found, Finding("store", "ok", f"{uri}: opens, {count} experiments")]


def _sqlite_damage(path: Path) -> str:
    try:
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30) as database:
            answer = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        # A locked database is not damaged; MLflow reports the lock.
        return "" if "locked" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if answer == "ok" else answer


def runs(client: MlflowClient, fix: bool) -> Iterator[Finding]:
    """Runs with the status RUNNING, by the state of their process."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    running = versions.paged(
        lambda token: client.search_runs(experiments, "attributes.status = 'RUNNING'", page_token=token)
    )
    alive = 0
    # Read to the end first: a run that is ended here would move the pages.
    for run in list(running):
        run_id, process = run.info.run_id, processes.of_run(run.data.tags)
        title = f"{run_id} ({run.info.run_name})"
        match processes.fate(process):
            case "alive":
                alive += 1
            case "elsewhere":
                host = process.get(processes.HOST, "")
                yield Finding("runs", "note", f"{title} runs on {host!r}", "run `sa-mlops doctor` there")
            case "unknown":
                advice = f"if it was abandoned: MlflowClient().set_terminated('{run_id}', 'KILLED')"
                yield Finding("runs", "note", f"{title} is RUNNING and records no process", advice)
            case "gone":
                yield from _orphan(client, run, title, fix)
    yield Finding("runs", "ok", f"{alive} running on this machine")


def _orphan(client: MlflowClient, run: Run, title: str, fix: bool) -> Iterator[Finding]:
    run_id = run.info.run_id
    # A process writes its last status before it exits, so the status read now is final.
    if client.get_run(run_id).info.status != "RUNNING":
        return
    pid = processes.of_run(run.data.tags)[processes.PID]
    found = f"{title} is RUNNING, but its process {pid} no longer exists"
    if not fix:
        yield Finding("runs", "wrong", found, "`sa-mlops doctor --fix` marks it KILLED")
        return
    error = "the process exited without closing its run; marked by `sa-mlops doctor --fix`"
    client.set_tag(run_id, "sa.error", error)
    client.set_terminated(run_id, "KILLED")
    yield Finding("runs", "fixed", f"{found}; now KILLED")


def registered(client: MlflowClient) -> Iterator[Finding]:
    """Registered versions: sources, files, links."""
    held = inventory.read(mlflow.get_tracking_uri())
    known = {name: [v for v in held.versions if v.name == name] for name in names.MODELS}
    numbers = {name: {v.number for v in found} for name, found in known.items()}
    sound = 0
    for name in names.MODELS:
        for version in known[name]:
            problems = [*_tags(version), *_links(version, numbers), *_files(client, version)]
            yield from problems
            sound += not problems
    yield from _renamed(client, known)
    yield from _aliases(held)
    bases = [v for v in known[names.GENERATORS] if v.stage == "base" and not v.withdrawn]
    if bases and names.BASE_ALIAS not in held.aliases.get(names.GENERATORS, {}):
        yield Finding("versions", "note", f"no version has the alias {names.BASE_ALIAS}", POINT_BASE)
    yield Finding("versions", "ok", f"{sound} with all their files and links")


def _tags(version: Version) -> list[Finding]:
    advice = "correct the tag, or delete the version: `promote` refuses it"
    return [Finding("versions", "wrong", f"{version.uri}: {what}", advice) for what in edited(version)]


def _aliases(held: Inventory) -> Iterator[Finding]:
    """The alias of the base, and records of changes that cannot be read."""
    for version in held.versions:
        own = version.name == names.GENERATORS and names.BASE_ALIAS in version.aliases
        if own and version.stage != "base":
            what = f"the alias {names.BASE_ALIAS} points at {version.uri}, which is no base ({version.title})"
            yield Finding("versions", "wrong", what, POINT_BASE)
    for tag, text in held.records.items():
        if tag.startswith(log.EVENT) and not log.old_events({tag: text}):
            what = f"the record {tag[:80]} of a change of an alias cannot be read and is left out"
            yield Finding("versions", "note", what, "it has no effect")
    for what in log.problems(held.records, held.aliases.get(names.GENERATORS, {})):
        advice = "restore the store from a copy, or find out who changed it; `sa-mlops log` lists the entries"
        yield Finding("versions", "wrong", f"log: {what}", advice)


def _renamed(client: MlflowClient, known: dict[str, list[Version]]) -> Iterator[Finding]:
    """Registered models under other names with versions of this project."""
    for name in () if known[names.GENERATORS] else versions.renamed(client):
        what = f"{names.GENERATORS} has no version, but the registered model {name[:80]!r} has versions of this project"
        yield Finding("versions", "wrong", what, versions.rename_back(name))


def _links(version: Version, numbers: dict[str, set[int]]) -> list[Finding]:
    found = []
    for tag, name in LINKS.items():
        value = version.tags.get(tag, "")
        if not value:
            continue
        target = names.parse_uri(value)
        if target is None or target[0] != name:
            what, advice = f"names no version of {name}", "correct the tag; it is ignored as it is"
        elif target[1] not in numbers[name]:
            what, advice = "was deleted", "make this version again with --fresh"
        elif target == (version.name, version.number):
            what, advice = "names the version itself", "correct the tag; the lineage ends here"
        else:
            continue
        found.append(Finding("versions", "wrong", f"{version.uri}: {tag} {value[:80]!r} {what}", advice))
    return found


def _files(client: MlflowClient, version: Version) -> list[Finding]:
    if version.model_id is None:
        what = f"{version.uri}: its source is not a logged model of this store; it is not read"
        return [Finding("versions", "wrong", what, "delete the version if it is not yours")]
    there, reason = {}, ""
    try:
        listed = client.list_logged_model_artifacts(version.model_id, versions.place(version) or None)
        there = {Path(str(f.path)).name: f.file_size for f in listed}
    except PermissionError as error:
        return [_closed(version, error)]
    except (MlflowException, OSError) as error:
        reason = f" ({in_one_line(error, 120)})"
    missing = [name for name in (weights.WEIGHTS, weights.CONFIG) if not there.get(name)]
    if not missing:
        return _unreadable(version)
    what = f"{version.uri}: {' and '.join(missing)} missing or empty{reason}"
    advice = "restore the artifacts, or delete the version: it is never reused"
    return [Finding("versions", "wrong", what, advice)]


def _unreadable(version: Version) -> list[Finding]:
    """Files of a store on this machine without read permission; a server's files are not downloaded for this."""
    if stores.remote(mlflow.get_tracking_uri()):
        return []
    try:
        for name in (weights.WEIGHTS, weights.CONFIG):
            with (versions.files(version) / versions.place(version) / name).open("rb") as file:
                file.read(1)
    except (VersionError, OSError) as error:
        return [_closed(version, error)]
    return []


def _closed(version: Version, error: Exception) -> Finding:
    advice = "let the owner of the files run `chmod -R a+rX` on the folder of the store's artifacts"
    return Finding("versions", "wrong", f"{version.uri}: cannot be read ({error})", advice)


def models(client: MlflowClient, fix: bool) -> Iterator[Finding]:
    """Logged models that were begun and never finished."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    # MLflow cannot filter by status: it stores a number and compares it with text.
    found = versions.paged(lambda token: client.search_logged_models(experiments, page_token=token))
    for model in [m for m in found if str(m.status) == "PENDING"]:
        if _status(client, model.source_run_id) == "RUNNING":
            continue
        what = f"logged model {model.model_id} was never finished and cannot be registered"
        if fix:
            client.finalize_logged_model(model.model_id, "FAILED")
            yield Finding("models", "fixed", f"{what}; now FAILED")
        else:
            yield Finding("models", "wrong", what, "`sa-mlops doctor --fix` marks it FAILED")


def _status(client: MlflowClient, run_id: str | None) -> str:
    if run_id is None:
        return ""
    try:
        return str(client.get_run(run_id).info.status)
    except MlflowException:
        return ""
