"""One registered version: its fields, and its tags in their types. Needs neither MLflow nor torch."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sa_mlops.errors import CommandError, plain
from sa_mlops.registry import names
from sa_mlops.settings import SEED

_RETAINED = ("r", "retain.accuracy", "{:.3f}")
_FORGOTTEN = (("p", "forget.prob", "{:.3f}"), ("H", "forget.entropy", "{:.3f}"), _RETAINED)
SHOWN: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "base": (("nELBO", "base.test_nelbo", "{:.2f}"), _RETAINED),
    "forget": _FORGOTTEN,
    "retrain": _FORGOTTEN,
    "judge": (("accuracy", "judge.accuracy", "{:.4f}"), ("ECE", "judge.ece", "{:.4f}")),
    "fim": (("trace", "fisher.trace", "{:.4g}"),),
}
"""Stage -> metrics of a version's line in the tree: label, metric, format."""
MAX_CLAIM, MAX_REASON = 1_000, 600
"""Characters that are shown of a claim, and of the reason of a withdrawal."""


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version. Tags can be edited by hand, so no property raises or trusts their text.

    Attributes
    ----------
    name, number : `sa-cvae` 3 is `models:/sa-cvae/3`.
    tags : the version's tags, `sa.*` and others.
    aliases : aliases of the version, sorted; left empty by MLflow's search.
    run_id : the run that made it, empty if unknown.
    model_id : the logged model that holds its files, None if the source is something else.
    created : milliseconds since 1970.
    """

    name: str
    number: int
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    run_id: str = ""
    model_id: str | None = None
    created: int = 0
    description: str = ""

    @property
    def uri(self) -> str:
        """`models:/name/number`."""
        return names.version_uri(self.name, self.number)

    @property
    def options(self) -> str:
        """The options that name it to a stage: `--dataset photos --version 3`."""
        dataset = plain(self.tags.get(names.DATASET, ""))
        return (f"--dataset {shlex.quote(dataset)} " if dataset else "") + f"--version {self.number}"

    @property
    def seed(self) -> int | None:
        """Seed of the random numbers that made it; None if its tag holds none."""
        word = self.tags.get(names.SEED, "")
        return int(word) if re.fullmatch("[0-9]{1,10}", word) and int(word) <= SEED[1] else None

    @property
    def stage(self) -> str:
        """`base`, `forget`, `retrain`, `fim`, `judge`, or empty for versions of other projects."""
        stage = self.tags.get(names.STAGE, "")
        return names.OLD_STAGES.get(stage, stage)

    @property
    def parent(self) -> int | None:
        """Number of the generator it was made from; None on roots."""
        return self.link(names.PARENT, names.GENERATORS)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes of its data set, in order."""
        return names.parse_classes(self.tags.get(names.CLASSES, "")) or names.DIGITS

    @property
    def forgotten(self) -> tuple[str, ...]:
        """Names of the classes that it has forgotten or was never trained on, in the order of `classes`."""
        words = names.parse_classes(self.tags.get(names.FORGOTTEN, ""))
        return tuple(c for c in self.classes if c in words)

    @property
    def forgotten_indices(self) -> tuple[int, ...]:
        """The same as indices into `classes`."""
        forgotten = self.forgotten
        return tuple(i for i, c in enumerate(self.classes) if c in forgotten)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The JSON object in the tag `sa.settings`; empty if absent or unreadable."""
        try:
            found = json.loads(self.tags.get(names.SETTINGS, "")[: names.MAX_SETTINGS])
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def hardened(self) -> bool:
        """Whether it was also trained against recovery attacks."""
        return bool(self.settings.get("harden"))

    @property
    def method(self) -> str:
        """Name of the method that made it forget; empty for versions that no method made."""
        old = {"forget": "selective-amnesia", "retrain": "retrain"}
        return self.tags.get(names.METHOD, "") or old.get(self.stage, "")

    @property
    def target(self) -> str:
        """Declared target of that method: `grey`, `noise`, `another class` or `as retrained`."""
        return self.tags.get(names.TARGET, "") or "grey"

    @property
    def claim(self) -> str:
        """The claims that its probes support, in words (`registry.claims`); empty if it was not probed."""
        return plain(self.tags.get(names.LEVEL, ""))[:MAX_CLAIM]

    @property
    def withdrawn(self) -> str:
        """Why it was withdrawn; empty if it was not."""
        if names.WITHDRAWN not in self.tags:
            return ""
        return plain(self.tags[names.WITHDRAWN])[:MAX_REASON] or "no reason is recorded"

    @property
    def net(self) -> str:
        """Name of a generator's net; empty for other models."""
        return (self.tags.get(names.NET, "") or "mlp") if self.name == names.GENERATORS else ""

    @property
    def title(self) -> str:
        """A short description: `v3 forget 1`."""
        classes = names.spell_classes(self.forgotten)
        match self.stage:
            case "forget":
                phases = [phase for phase in names.PHASES if self.settings.get(phase)]
                words = names.forget_title(classes, self.method, phases)
            case "retrain":
                words = f"retrained without {classes}"
            case "judge":
                words = f"judge {self.tags.get(names.ROLE, '')}".strip()
            case "fim":
                words = f"Fisher of v{self.parent}" if self.parent else "Fisher"
            case stage:
                words = stage or "unknown"
        return plain(f"v{self.number} {words}" + (" (withdrawn)" if self.withdrawn else ""))

    def link(self, tag: str, name: str) -> int | None:
        """Number of the version of the registered model `name` that a tag names; None if it names none."""
        target = names.parse_uri(self.tags.get(tag, ""))
        return target[1] if target and target[0] == name else None


def refuse_withdrawn(version: Version) -> None:
    """Refuse a withdrawn version before its files are looked at.

    Raises CommandError with the reason of the withdrawal.
    """
    if version.withdrawn:
        raise CommandError(f"{version.uri} was withdrawn: {version.withdrawn}")


def ancestry(version: Version, find: Callable[[int], Version | None]) -> list[Version]:
    """From the root to `version`; `find` looks a generator up by number. A ring of parents is cut."""
    chain = [version]
    while (number := chain[-1].parent) is not None and number not in {v.number for v in chain}:
        found = find(number)
        if found is None:
            break
        chain.append(found)
    return chain[::-1]


STAGES = {names.GENERATORS: ("base", "forget", "retrain"), names.FISHERS: ("fim",), names.JUDGES: ("judge",)}
"""Registered model -> stages that make its versions."""


def edited(version: Version) -> Iterator[str]:
    """Tags of a version that no stage can have written; one line each."""
    tags = version.tags
    allowed = STAGES.get(version.name, ())
    if version.stage not in allowed:
        given = tags.get(names.STAGE)
        yield f"{names.STAGE} is {'missing' if given is None else repr(given[:40])}, not {' or '.join(allowed)}"
    if version.seed is None:
        yield f"{names.SEED} {tags.get(names.SEED, '')[:40]!r} is not a seed"
    for tag, form in ((names.CONFIG, r"[0-9a-f]{12}"), (names.DATA_MD5, r"[0-9a-f]{32}(\.dir)?")):
        if not re.fullmatch(form, tags.get(tag, "")):
            yield f"{tag} {tags.get(tag, '')[:40]!r} is not a hash"
    if tags.get(names.SETTINGS) and not version.settings:
        yield f"{names.SETTINGS} is not a JSON object"
    unknown = [c for c in names.parse_classes(tags.get(names.FORGOTTEN, "")) if c not in version.classes]
    if unknown:
        yield f"{names.FORGOTTEN} names {', '.join(unknown)[:80]!r}, which is no class of the data set"
    if len(version.forgotten) == len(version.classes):
        yield f"{names.FORGOTTEN} names every class, so that none is retained"
    if version.name == names.GENERATORS and bool(version.forgotten) == (version.stage == "base"):
        yield f"{names.STAGE} {version.stage!r} contradicts {names.FORGOTTEN} {tags.get(names.FORGOTTEN, '')[:40]!r}"
