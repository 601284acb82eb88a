"""`erase`: from a request to forget classes to a registry in which no version is served that knows them.

A plan comes first. Approved, its steps run under an entry `approval` of the log; each is done once, so that an erasure
that was interrupted goes on when the command is given again.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sa_mlops.config import ForgetConfig
from sa_mlops.errors import CommandError, plain
from sa_mlops.operate.audit import SUPPRESSED, audit
from sa_mlops.registry import gates, log, names, publish, tracking, versions
from sa_mlops.registry.log import Entry
from sa_mlops.registry.version import Version
from sa_mlops.registry.versions import VersionError
from sa_mlops.stages import forget
from sa_mlops.stages.result import Result

MAX_REASON = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    classes : names of the classes.
    dataset : the data set whose versions are meant; None for all.
    delete : delete versions instead of withdrawing them.
    settings : JSON file with options of `forget` for new successors; empty for the defaults.
    gates : JSON file with limits; None for the project's own.
    """

    classes: tuple[str, ...]
    dataset: str | None = None
    delete: bool = False
    settings: str = ""
    gates: Path | None = None

    def content(self) -> dict[str, Any]:
        """The part that an approval holds: with other limits, or to delete, another approval is needed."""
        return {
            "classes": list(self.classes),
            "dataset": self.dataset,
            "delete": self.delete,
            "limits": gates.read_limits(self.gates),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps that are left.

    Attributes
    ----------
    request : what is asked for.
    successors : generator that must go -> the version that takes its place; None where one must be made.
    withdraw : generators and Fisher diagonals that must go, and why.
    keep : what stays, and why.
    approval : the entry of the log under which the steps may run; None if nobody has approved.
    """

    request: Request
    successors: tuple[tuple[Version, Version | None], ...]
    withdraw: tuple[tuple[Version, str], ...]
    keep: tuple[tuple[str, str], ...] = field(default=())
    approval: Entry | None = field(default=None)

    @property
    def empty(self) -> bool:
        """Whether nothing is left to do."""
        return not self.withdraw and not self.successors

    def document(self) -> dict[str, Any]:
        """The plan in JSON types."""
        made = [
            {"for": old.uri, "version": None if new is None else new.uri, "forgets": list(_missing(old, self.request))}
            for old, new in self.successors
        ]  # fmt: skip
        return {
            **self.request.content(),
            "successors": made,
            "aliases": [{"alias": alias, "from": old.uri, "to": to} for alias, old, to in self._aliases()],
            "withdraw": [{"uri": v.uri, "title": v.title, "why": why} for v, why in self.withdraw],
            "keep": [{"what": what, "why": why} for what, why in self.keep],
            "approval": None if self.approval is None else self.approval.document(),
        }

    def _aliases(self) -> Iterator[tuple[str, Version, str | None]]:
        """Alias, the version that loses it, and the version that gets it; the base's is removed."""
        places = {old.uri: "the new version" if new is None else new.uri for old, new in self.successors}
        for version, _ in self.withdraw:
            for alias in version.aliases:
                yield alias, version, None if alias == names.BASE_ALIAS else places.get(version.uri)

    def text(self) -> str:
        """The plan for people."""
        verb = "delete" if self.request.delete else "withdraw"
        lines = []
        for old, new in self.successors:
            forgets = names.spell_classes(_missing(old, self.request))
            place = f"make     a version of {old.uri} that has forgotten {forgets}, if it passes the gates"
            lines.append(place if new is None else f"use      {new.uri} ({new.title}) in place of {old.uri}")
        for alias, old, to in self._aliases():
            lines.append(
                f"move     @{alias} from {old.uri} to {to}" if to else f"remove   @{alias} from {old.uri}"
            )
        lines += [f"{verb:<8} {v.uri} ({v.title}): {why}" for v, why in self.withdraw]
        lines += [f"keep     {what}: {why}" for what, why in self.keep]
        return "\n".join(map(plain, lines))


def plan(request: Request) -> Plan:
    """What is to be done for a request, from the present state of the registry. Changes nothing.

    Raises
    ------
    ParameterError : if no version records the data set or one of the classes, or a file cannot be read.
    """
    limits = gates.read_limits(request.gates)
    found = audit(request.classes, request.dataset).document
    client = tracking.connect()
    entries = log.read(client, names.GENERATORS)
    done = {e.content.get("uri") for e in entries if e.kind in ("withdrawal", "deletion")}

    def unfinished(version: Version) -> bool:
        return request.delete or names.WITHDRAWN not in version.tags or version.uri not in done

    good, withdraw, keep = [], [], []
    for held in found["generators"]:
        version = versions.get(client, names.GENERATORS, held["version"])
        if names.WITHDRAWN not in version.tags and set(held["classes"].values()) == {SUPPRESSED}:
            good.append(version)
            keep.append(
                (f"{version.uri} ({version.title})", "it has forgotten and passes the gates of forgetting")
            )
        elif unfinished(version):
            states = (f"{state} ({name})" for name, state in held["classes"].items())
            withdraw.append((version, ", ".join(states)))
    for held in found["fishers"]:
        diagonal = versions.get(client, names.FISHERS, int(held["uri"].rpartition("/")[2]))
        if unfinished(diagonal):
            withdraw.append((diagonal, "made with samples of the class, or of a version that holds it"))
    if found["judges"]:
        keep.append((f"{len(found['judges'])} judges", "they tell the class from others and draw nothing"))
    if found["runs"]:
        why = "their pictures may show the class; delete runs with MLflow if they must go"
        keep.append((f"{len(found['runs'])} runs", why))
    metrics = {v.uri: tracking.run_metrics(client, v.run_id) for v in good}
    passing = [v for v in good if all(x.passed for x in gates.judge_version(v, metrics[v.uri], limits))]
    going = [v for v, _ in withdraw if v.name == names.GENERATORS]
    successors = tuple((old, _successor(old, request, passing)) for old in _served(going, passing))
    for old, new in successors:
        if new is None:
            _config(old, request)  # settings that cannot be used are named before anybody approves
    approval = _pending(entries, request)
    return Plan(request, successors, tuple(withdraw), tuple(keep), approval)


def _missing(version: Version, request: Request) -> tuple[str, ...]:
    return tuple(c for c in request.classes if c not in version.forgotten)


def _served(going: Sequence[Version], passing: Sequence[Version]) -> list[Version]:
    """The versions that need a successor: those with an alias; without any, one that stands for all."""
    live = [v for v in going if names.WITHDRAWN not in v.tags]
    served = [v for v in live if set(v.aliases) - {names.BASE_ALIAS}]
    if served or passing:
        return served
    return [v for v in live if v.stage == "base"][:1] or live[:1]


def _successor(old: Version, request: Request, passing: Sequence[Version]) -> Version | None:
    """The newest version of the same data and seed that has forgotten what the old one has, and the classes."""
    wanted = {*old.forgotten, *request.classes} & set(old.classes)
    same = (names.DATASET, names.DATA_MD5, names.SEED)
    fits = [
        v
        for v in passing
        if set(v.forgotten) == wanted and all(v.tags.get(t) == old.tags.get(t) for t in same)
    ]
    return max(fits, key=lambda v: v.number, default=None)


def _pending(entries: Sequence[Entry], request: Request) -> Entry | None:
    """The newest approval for the classes, if it is of this request and no entry `erasure` has closed it."""
    closed = {e.content.get("approval") for e in entries if e.kind == "erasure"}
    wanted = request.content()
    newest = next(
        (
            e
            for e in reversed(entries)
            if e.kind == "approval" and all(e.content.get(k) == wanted[k] for k in ("classes", "dataset"))
        ),
        None,
    )
    if newest is None or newest.hash in closed or any(newest.content.get(k) != v for k, v in wanted.items()):
        return None
    return newest


def erase(request: Request, reason: str) -> Result:
    """Carry a plan out: approve, make successors, move aliases, withdraw or delete.

    Parameters
    ----------
    reason : why it was approved, for the log; not used if an interrupted erasure goes on.

    Raises
    ------
    CommandError : if a successor fails a gate; nothing has been withdrawn then.
    """
    steps = plan(request)
    if steps.empty and steps.approval is None:
        return Result(steps.document() | {"erased": True}, "Nothing is left to do.")
    client = tracking.connect()
    approval = steps.approval or _approve(client, request, reason)
    made = [_make(client, old, request) for old, new in steps.successors if new is None]
    steps = plan(request) if made else steps  # with the Fisher diagonals that were made on the way
    successors = {old.uri: new for old, new in steps.successors if new is not None}
    moved = [_move(client, old, successors) for old, _ in steps.withdraw]
    for version, why in steps.withdraw:
        _withdraw(client, version, f"{why}; {approval.content.get('reason', '')}", request.delete, approval)
    gone = [v.uri for v, _ in steps.withdraw]
    log.append(
        client, names.GENERATORS, "erasure", approval=approval.hash, withdrawn=len(gone),
        successors=sorted({v.uri for v in successors.values()}),
    )  # fmt: skip
    document = steps.document() | {
        "erased": True,
        "approval": approval.document(),
        "made": {old: new.uri for old, new in successors.items()},
    }
    verb = "deleted" if request.delete else "withdrawn"
    lines = [
        *(f"{new.uri} ({new.title}) takes the place of {old}" for old, new in successors.items()),
        *(line for lines in moved for line in lines),
        f"{verb}: {', '.join(gone) or 'nothing'}",
    ]
    if request.delete:
        lines.append("MLflow keeps deleted files until `mlflow gc --backend-store-uri URI` removes them")
    return Result(document, "\n".join(map(plain, lines)))


def _approve(client: MlflowClient, request: Request, reason: str) -> Entry:
    words = " ".join(reason.split())
    if not words or len(words) > MAX_REASON or not words.isprintable():
        raise CommandError(f"an approval needs a reason of at most {MAX_REASON} printable characters")
    who = "unknown"
    with suppress(OSError, KeyError):
        who = getpass.getuser()
    return log.append(client, names.GENERATORS, "approval", reason=words, by=who, **request.content())


def _config(old: Version, request: Request) -> ForgetConfig:
    """The options of `forget` that make a successor; ParameterError if its data set or settings cannot be read."""
    return ForgetConfig(
        dataset=old.tags.get(names.DATASET, ""),
        seed=int(old.tags.get(names.SEED, "0")),
        classes=tuple(c for c in _missing(old, request) if c in old.classes),
        from_version=str(old.number),
        settings=request.settings,
    )


def _make(client: MlflowClient, old: Version, request: Request) -> Version:
    """A version of the old one that has forgotten the classes as well, and passes every gate."""
    number = names.parse_uri(forget.run(_config(old, request)).document["version"])
    assert number is not None
    made = versions.get(client, *number)
    verdicts = gates.judge_version(
        made, tracking.run_metrics(client, made.run_id), gates.read_limits(request.gates)
    )
    if failed := [v.gate for v in verdicts if not v.passed]:
        cure = "nothing was withdrawn; give --settings with other options of `forget`"
        raise CommandError(
            f"{made.uri} cannot take the place of {old.uri}: it fails {', '.join(failed)}; {cure}"
        )
    return made


def _move(client: MlflowClient, old: Version, successors: dict[str, Version]) -> list[str]:
    lines = []
    for alias in versions.get(client, old.name, old.number).aliases:
        if alias == names.BASE_ALIAS or old.uri not in successors:
            log.remove_alias(client, old.name, alias, old.number)
            lines.append(f"@{alias} is removed from {old.uri}")
        else:
            new = successors[old.uri]
            log.record_alias(client, old.name, alias, new.number, old.number)
            lines.append(f"@{alias} moved from {old.uri} to {new.uri}")
    return lines


def _withdraw(client: MlflowClient, version: Version, reason: str, delete: bool, approval: Entry) -> None:
    """Make the weights unreadable, log it, then tag or delete the version. Each step may be repeated."""
    with suppress(VersionError):  # its files are lost
        publish.withdraw(client, version, reason)
    kind = "deletion" if delete else "withdrawal"
    known = log.read(client, names.GENERATORS)
    if not any(e.kind == kind and e.content.get("uri") == version.uri for e in known):
        log.append(client, names.GENERATORS, kind, uri=version.uri, approval=approval.hash)
    number = str(version.number)
    if not delete:
        client.set_model_version_tag(version.name, number, names.WITHDRAWN, reason)
        return
    with suppress(MlflowException):  # deleted before an interruption
        client.delete_logged_model(str(version.model_id))
    client.delete_model_version(version.name, number)
