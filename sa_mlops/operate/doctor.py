"""`doctor`: what is wrong here, and what to do about it. Looks; writes only with `fix`, and then destroys nothing."""

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
from mlflow.entities import LoggedModel, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from packaging.requirements import Requirement

from sa_mlops import __version__
from sa_mlops.datasets import pin as data
from sa_mlops.environment import database
from sa_mlops.registry import lineage, names, processes, stores, tracking, versions, weights
from sa_mlops.registry.stores import StoreError
from sa_mlops.registry.version import Version
from sa_mlops.registry.versions import VersionError
from sa_mlops.stages.result import Result

DISTRIBUTION = "sa-mlops"
FREE_BYTES = 500_000_000
LINKS = {
    names.PARENT: names.GENERATORS, names.BASE: names.GENERATORS, names.FIM: names.FISHERS,
    names.JUDGE: names.JUDGES, names.JUDGE_PLAIN: names.JUDGES,
}  # fmt: skip
"""Tag -> registered model that its value must name a version of."""

Level = Literal["ok", "note", "wrong", "fixed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    area : `environment`, `devices`, `data`, `store`, `runs`, `versions` or `models`.
    level : `note` deserves a look; `wrong` makes the command fail; `fixed` was wrong until now.
    found : what there is.
    advice : what to do, empty if nothing.
    """

    area: str
    level: Level
    found: str
    advice: str = ""

    def line(self) -> str:
        """For people."""
        mark = {"ok": "ok   ", "note": "note ", "wrong": "WRONG", "fixed": "fixed"}[self.level]
        return f"{mark}  {self.area}: {self.found}" + (f"\n       do: {self.advice}" if self.advice else "")


def examine(fix: bool = False) -> Result:
    """Look at everything.

    With `fix`, runs whose process is gone end as KILLED, and the models they left unfinished as FAILED; nothing is
    deleted.
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
        advice = getattr(error, "advice", "") or "start the server, or correct MLFLOW_TRACKING_URI"
        if "schema" in str(error):
            advice = f"copy the database, then `mlflow db upgrade {shlex.quote(mlflow.get_tracking_uri())}`"
        found = error.found if isinstance(error, StoreError) else str(error)
        findings.append(Finding("store", "wrong", " ".join(found.split())[:300], advice))
    wrong = sum(f.level == "wrong" for f in findings)
    fixed = sum(f.level == "fixed" for f in findings)
    summary = (
        f"{wrong} things are wrong" if wrong > 1 else "1 thing is wrong" if wrong else "nothing is wrong"
    )
    text = "\n".join([*(f.line() for f in findings), summary + (f"; {fixed} fixed" if fixed else "")])
    document: dict[str, Any] = {
        "healthy": not wrong,
        "wrong": wrong,
        "fixed": fixed,
        "findings": [asdict(f) for f in findings],
    }
    return Result(document, text, passed=not wrong)


def environment() -> Iterator[Finding]:
    """Python and the packages that the project needs, against what it asks for."""
    yield Finding(
        "environment",
        "ok",
        f"sa-mlops {__version__}, Python {platform.python_version()}, {platform.platform()}",
    )
    try:
        wanted = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding(
            "environment",
            "note",
            "the package is not installed, so its requirements are not checked",
            "`make help`",
        )
        return
    shown = []
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding(
                "environment", "wrong", f"{requirement.name} is missing", "`pip install -r requirements.txt`"
            )
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield Finding(
                "environment", "wrong", f"{requirement.name} {found} does not satisfy {requirement.specifier}",
                "`pip install -r requirements.txt`",
            )  # fmt: skip
        shown.append(f"{requirement.name} {found}")
    yield Finding("environment", "ok", ", ".join(shown))


def devices() -> Iterator[Finding]:
    """What a stage could run on."""
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cuda = ", ".join(f"cuda:{i} {name}" for i, name in enumerate(cards)) or "no CUDA"
    mps = ", mps" if torch.backends.mps.is_available() else ""
    yield Finding("devices", "ok", f"cpu with {torch.get_num_threads()} threads, {cuda}{mps}")


def pinned_data() -> Iterator[Finding]:
    """The pinned files as they are; nothing is pulled."""
    try:
        pin = data.read_pin(data.project_root())
        if not pin.path.exists():
            yield Finding(
                "data",
                "note",
                f"{pin.path.name}/ is not pulled yet",
                "nothing; the first stage pulls it, or `sa-mlops data`",
            )
            return
        files = data.verify(pin)
    except data.DataError as error:
        yield Finding("data", "wrong", str(error), f"`{data.REPAIR}`")
        return
    yield Finding(
        "data", "ok", f"all {len(files)} files of {pin.path.name}/ agree with {data.PIN} ({pin.md5})"
    )


def store(fix: bool) -> tuple[bool, list[Finding]]:
    """Whether there is a store to look into, and what can be said of it before MLflow opens it.

    Raises
    ------
    StoreError : if it does not answer, or has another version's tables.
    """
    uri = mlflow.get_tracking_uri()
    path = database(uri)
    found = []
    if path is not None:
        if not path.exists():
            return False, [
                Finding("store", "note", f"{uri}: not there yet", "nothing; the first stage makes it")
            ]
        if broken := _sqlite_damage(path):
            advice = "copy the file, then `sqlite3 FILE .recover` into a new one"
            return False, [Finding("store", "wrong", f"{uri}: {broken}", advice)]
        if fix and (before := stores.moved_from(path)) is not None:
            count = stores.correct_places(path)
            found.append(
                Finding(
                    "store",
                    "fixed",
                    f"{uri}: {count} places of artifacts in {before} are now in {path.parent}",
                )
            )
        free = shutil.disk_usage(path.parent).free
        if free < FREE_BYTES:
            found.append(
                Finding("store", "note", f"{free / 1e6:.0f} MB are free beside the store", "make room")
            )
    client = tracking.connect()
    count = len(client.search_experiments())
    return True, [
        *found,
        Finding("store", "ok", f"{uri}: answers, tables as this MLflow wants them, {count} experiments"),
    ]


def _sqlite_damage(path: Path) -> str:
    try:
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30) as database:
            answer = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        # Locked is not damaged; MLflow will say so in its own words.
        return "" if "locked" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if answer == "ok" else answer


def runs(client: MlflowClient, fix: bool) -> Iterator[Finding]:
    """Runs that say RUNNING, by what has become of their process."""
    alive = 0
    for run in _running(client):
        run_id, name = run.info.run_id, run.info.run_name
        fate = processes.fate(run.data.tags)
        if fate == "alive":
            alive += 1
            continue
        host = run.data.tags.get(processes.HOST, "")
        if fate == "elsewhere":
            yield Finding(
                "runs", "note", f"{run_id} ({name}) runs on {host!r}", "look there: `sa-mlops doctor`"
            )
            continue
        if fate == "unknown":
            yield Finding(
                "runs", "note", f"{run_id} ({name}) says RUNNING and not which process it is",
                f"if nothing makes it any more: MlflowClient().set_terminated('{run_id}', 'KILLED')",
            )  # fmt: skip
            continue
        # A process writes its last status before it goes, so what is read after it has gone is final.
        if client.get_run(run_id).info.status != "RUNNING":
            continue
        what = f"{run_id} ({name}) says RUNNING, but its process {run.data.tags[processes.PID]} is gone"
        if fix:
            client.set_tag(
                run_id, "sa.error", "the process ended without a word; marked by `sa-mlops doctor --fix`"
            )
            client.set_terminated(run_id, "KILLED")
            yield Finding("runs", "fixed", f"{what}; now KILLED")
        else:
            yield Finding("runs", "wrong", what, "`sa-mlops doctor --fix` marks it KILLED")
    yield Finding("runs", "ok", f"{alive} running on this machine")


def _running(client: MlflowClient) -> list[Run]:
    experiments = [e.experiment_id for e in client.search_experiments()]
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(experiments, "attributes.status = 'RUNNING'", page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def registered(client: MlflowClient) -> Iterator[Finding]:
    """Registered versions: sources, files, links."""
    known = {name: list(versions.all_versions(client, name)) for name in names.MODELS}
    numbers = {name: {v.number for v in found} for name, found in known.items()}
    sound = 0
    for name in names.MODELS:
        for version in reversed(known[name]):
            problems = [*_links(version, numbers), *_files(client, version)]
            yield from problems
            sound += not problems
    bases = [v for v in known[names.GENERATORS] if v.stage == "base"]
    if bases and names.BASE_ALIAS not in lineage.alias_map(client, names.GENERATORS):
        yield Finding(
            "versions", "note", f"no version has the alias {names.BASE_ALIAS}",
            "run `sa-mlops base` with the base's parameters: it is reused, and gets its alias",
        )  # fmt: skip
    yield Finding("versions", "ok", f"{sound} with all their files and links")


def _links(version: Version, numbers: dict[str, set[int]]) -> list[Finding]:
    found = []
    for tag, name in LINKS.items():
        value = version.tags.get(tag, "")
        if not value:
            continue
        target = names.parse_uri(value)
        if target is None or target[0] != name:
            what, advice = (
                f"is no version of {name}",
                "correct the tag if you know better; it is not followed",
            )
        elif target[1] not in numbers[name]:
            what, advice = (
                "is not registered any more",
                "nothing brings it back; make the version anew with --fresh",
            )
        elif target == (version.name, version.number):
            what, advice = "is the version itself", "correct the tag; the chain ends here"
        else:
            continue
        found.append(Finding("versions", "wrong", f"{version.uri}: {tag} {value[:80]!r} {what}", advice))
    return found


def _files(client: MlflowClient, version: Version) -> list[Finding]:
    if version.model_id is None:
        what = f"{version.uri}: comes from no logged model of this store, and is not read"
        return [Finding("versions", "wrong", what, "delete the version if it is not yours")]
    folder = "artifacts" if version.name == names.GENERATORS else None
    try:
        listed = client.list_logged_model_artifacts(version.model_id, folder)
        there = {Path(str(f.path)).name: f.file_size for f in listed}
    except (MlflowException, OSError) as error:
        there = {}
        reason = f" ({' '.join(str(error).split())[:120]})"
    else:
        reason = ""
    missing = [name for name in (weights.WEIGHTS, weights.CONFIG) if not there.get(name)]
    if not missing:
        return _unreadable(version, folder)
    what = f"{version.uri}: {' and '.join(missing)} missing or empty{reason}"
    return [
        Finding("versions", "wrong", what, "restore the artifacts, or delete the version: it is never reused")
    ]


def _unreadable(version: Version, folder: str | None) -> list[Finding]:
    """Files of a store on this machine that may not be read; a server's are not fetched for this."""
    if mlflow.get_tracking_uri().startswith(("http://", "https://")):
        return []
    try:
        for name in (weights.WEIGHTS, weights.CONFIG):
            with (versions.files(version) / (folder or "") / name).open("rb") as file:
                file.read(1)
    except (VersionError, OSError) as error:
        advice = "let the owner of the files run `chmod -R a+rX` on the folder of the store's artifacts"
        return [Finding("versions", "wrong", f"{version.uri}: cannot be read ({error})", advice)]
    return []


def models(client: MlflowClient, fix: bool) -> Iterator[Finding]:
    """Logged models that were begun and never finished."""
    for model in _pending(client):
        if _status(client, model.source_run_id) == "RUNNING":
            continue
        what = f"logged model {model.model_id} was never finished; no version can come of it"
        if fix:
            client.finalize_logged_model(model.model_id, "FAILED")
            yield Finding("models", "fixed", f"{what}; now FAILED")
        else:
            yield Finding("models", "wrong", what, "`sa-mlops doctor --fix` marks it FAILED")


def _pending(client: MlflowClient) -> list[LoggedModel]:
    experiments = [e.experiment_id for e in client.search_experiments()]
    found: list[LoggedModel] = []
    token = None
    while True:
        # Every one is read: the status is a number in the database, and MLflow's filter only compares text with it.
        page = client.search_logged_models(experiments, page_token=token)
        found += [model for model in page if str(model.status) == "PENDING"]
        token = page.token
        if not token:
            return found


def _status(client: MlflowClient, run_id: str | None) -> str:
    if run_id is None:
        return ""
    try:
        return str(client.get_run(run_id).info.status)
    except MlflowException:
        return ""
