"""The plan of an erasure: versions that a request makes, moves aliases to, withdraws and keeps.

Reads alone, a sqlite store without MLflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sa_mlops import environment
from sa_mlops.config import ForgetConfig
from sa_mlops.errors import plain
from sa_mlops.operate.audit import SUPPRESSED, TAGS, search
from sa_mlops.registry import gates, inventory, log, names
from sa_mlops.registry.inventory import Inventory
from sa_mlops.registry.log import Entry
from sa_mlops.registry.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to erase classes.

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
    request : the request that they carry out.
    successors : generator that must go -> the version that takes its place; None where one must be made.
    withdraw : generators and Fisher diagonals that must go, and why.
    keep : versions and runs that stay, and why.
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

    def next(self) -> str:
        """One line for the terminal: the command that carries the plan out, or that nothing is left to do."""
        if self.approval is not None:
            reason = plain(str(self.approval.content.get("reason", "")))
            return f"Approved because: {reason}. `sa-mlops erase` resumes it."
        undone = "Nothing was changed. Carry it out with --approve REASON."
        return "Nothing is left to do." if self.empty else undone


def plan(request: Request, held: Inventory | None = None) -> Plan:
    """The steps that a request needs in the present state of the registry. Changes nothing.

    Raises ParameterError if no version records the data set or one of the classes, or a file cannot be read.

    Parameters
    ----------
    held : that state, with `audit.TAGS` and all metrics; None to read the store.
    """
    limits = gates.read_limits(request.gates)
    held = held or inventory.read(environment.store(), TAGS, metrics=None)
    found = search(held, request.classes, request.dataset).document
    known = {v.uri: v for v in held.versions}
    entries = log.entries(held.records)
    done = {e.content.get("uri") for e in entries if e.kind in ("withdrawal", "deletion")}

    def unfinished(version: Version) -> bool:
        return request.delete or not version.withdrawn or version.uri not in done

    good, withdraw, keep = [], [], []
    for holder in found["generators"]:
        version = known[holder["uri"]]
        if not version.withdrawn and set(holder["classes"].values()) == {SUPPRESSED}:
            good.append(version)
            keep.append(
                (f"{version.uri} ({version.title})", "it has forgotten and passes the gates of forgetting")
            )
        elif unfinished(version):
            states = (f"{state} ({name})" for name, state in holder["classes"].items())
            withdraw.append((version, ", ".join(states)))
    for holder in found["fishers"]:
        if unfinished(known[holder["uri"]]):
            why = "made with samples of the class, or of a version that holds it"
            withdraw.append((known[holder["uri"]], why))
    if found["judges"]:
        keep.append((f"{len(found['judges'])} judges", "they tell the class from others and draw nothing"))
    if found["runs"]:
        why = "their pictures may show the class; delete runs with MLflow if they must go"
        keep.append((f"{len(found['runs'])} runs", why))
    metrics = {v.uri: names.results(held.metrics.get(v.run_id, {})) for v in good}
    passing = [v for v in good if all(x.passed for x in gates.judge_version(v, metrics[v.uri], limits))]
    going = [v for v, _ in withdraw if v.name == names.GENERATORS]
    successors = tuple((old, _successor(old, request, passing)) for old in _served(going, passing))
    for old, new in successors:
        if new is None:
            successor_config(old, request)  # settings that cannot be used are named before anybody approves
    return Plan(request, successors, tuple(withdraw), tuple(keep), _pending(entries, request))


def _missing(version: Version, request: Request) -> tuple[str, ...]:
    return tuple(c for c in request.classes if c not in version.forgotten)


def _served(going: Sequence[Version], passing: Sequence[Version]) -> list[Version]:
    """The versions that need a successor: those with an alias; without any, one that stands for all."""
    live = [v for v in going if not v.withdrawn]
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


def successor_config(old: Version, request: Request) -> ForgetConfig:
    """The options of `forget` that make a successor; ParameterError if its data set or settings cannot be read."""
    return ForgetConfig(
        dataset=old.tags.get(names.DATASET, ""),
        seed=old.seed or 0,
        classes=tuple(c for c in _missing(old, request) if c in old.classes),
        from_version=str(old.number),
        settings=request.settings,
    )
