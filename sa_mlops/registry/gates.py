"""What a version must show before it may be the champion, and the record of every change of an alias."""

from __future__ import annotations

import dataclasses
import json
import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from sa_mlops.parameters import ParameterError
from sa_mlops.registry import names
from sa_mlops.registry.lineage import alias_map
from sa_mlops.registry.version import Version
from sa_mlops.settings import CLASSES

EVENT = "sa.alias_event."
"""Prefix of the tags of the registered model that record changes of aliases; one tag an event, never rewritten."""
RACES = 20
"""How often a change of an alias looks again whether another one has come between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Limits on the metrics of a version; all must hold.

    Attributes
    ----------
    forget_prob : largest probability of each forgotten class under the calibrated judge.
    forget_entropy : least entropy of each forgotten class, nats.
    forget_pixel_variance : largest variance over the pixels of a forgotten image. No judge can name a blur of all
        digits, and a decoder whose condition was merely cut off paints one; what has become noise is flat.
    retain_accuracy_drop : how much lower than the base's the mean retained accuracy may be.
    retain_class_drop : the same for each single retained class.
    retain_fid_rise : how much higher than the base's the retained FID may be, as a share of it.
    """

    forget_prob: float = 0.11
    forget_entropy: float = 2.29
    forget_pixel_variance: float = 0.01
    retain_accuracy_drop: float = 0.005
    retain_class_drop: float = 0.02
    retain_fid_rise: float = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate: what was asked, what was found."""

    gate: str
    found: float
    limit: float
    passed: bool

    def line(self) -> str:
        """For people."""
        sign = "<=" if self.gate not in ("forget_entropy",) else ">="
        return f"{'pass' if self.passed else 'FAIL'}  {self.gate}: {self.found:.4f} {sign} {self.limit:g}"


def read_gates(path: Path | None) -> Gates:
    """Gates from a JSON file with any of the fields of `Gates`; the defaults without a file.

    Raises
    ------
    ParameterError : if the file cannot be read, or has an unknown field or a value that is no finite number.
    """
    if path is None:
        return Gates()
    known = {f.name for f in dataclasses.fields(Gates)}
    allowed = f"a JSON file with numbers for any of {', '.join(sorted(known))}"
    try:
        # A whole number may be too large for a float; one read as a float is infinite then.
        values = json.loads(path.read_text(encoding="utf-8"), parse_int=float)
    except (OSError, ValueError, RecursionError):
        raise ParameterError("gates", str(path), allowed) from None
    if not isinstance(values, dict) or not values.keys() <= known:
        raise ParameterError("gates", str(path), allowed)
    for value in values.values():
        if not isinstance(value, float) or not math.isfinite(value):
            raise ParameterError("gates", str(path), allowed)
    return Gates(**values)


def judge_version(version: Version, metrics: Mapping[str, float], gates: Gates) -> list[Verdict]:
    """Each gate's verdict on a version's recorded metrics. A metric that is missing fails its gate."""

    def value(key: str) -> float:
        return metrics.get(key, math.nan)

    gone = version.forgotten_indices
    kept = [d for d in range(CLASSES) if d not in gone]
    probabilities = [value(f"class.{d}.prob") for d in gone]
    entropies = [value(f"class.{d}.entropy") for d in gone]
    drops = [value(f"base.class.{d}.accuracy") - value(f"class.{d}.accuracy") for d in kept]
    base_fid = value("base.retain.fid")
    found = {
        "forget_prob": _worst(probabilities, max),
        "forget_entropy": _worst(entropies, min),
        "forget_pixel_variance": value("forget.pixel_variance"),
        "retain_accuracy_drop": value("base.retain.accuracy") - value("retain.accuracy"),
        "retain_class_drop": _worst(drops, max),
        "retain_fid_rise": (value("retain.fid") - base_fid) / base_fid if base_fid > 0 else math.nan,
    }
    verdicts = []
    for gate, limit in dataclasses.asdict(gates).items():
        seen = found[gate]
        good = seen >= limit if gate == "forget_entropy" else seen <= limit
        verdicts.append(Verdict(gate, seen, limit, good))
    return verdicts


def _worst(values: list[float], pick: Any) -> float:
    # max and min would let a NaN slip through.
    return math.nan if not values or any(math.isnan(v) for v in values) else float(pick(values))


def record_alias(
    client: MlflowClient, name: str, alias: str, number: int, previous: int | None
) -> int | None:
    """Point an alias at a version, record the change on the registered model, and return where the alias points now.

    Of changes that race, the one that is last in `alias_history` wins: each writer compares the alias with the records
    afterwards, and the last one to compare has seen them all.
    """
    order = 1 + max((e.order for e in alias_history(client, name)), default=0)
    now = int(time.time() * 1000)
    event = {"alias": alias, "from": previous, "to": number, "at": now, "order": order}
    client.set_registered_model_tag(name, f"{EVENT}{now:013d}-{uuid.uuid4().hex[:8]}", json.dumps(event))
    client.set_registered_model_alias(name, alias, str(number))
    for _ in range(RACES):
        recorded = [e.number for e in alias_history(client, name) if e.alias == alias][-1]
        if alias_map(client, name).get(alias) == recorded:
            break
        client.set_registered_model_alias(name, alias, str(recorded))
    return alias_map(client, name).get(alias)


@dataclass(frozen=True, slots=True)
class AliasEvent:
    """A change of an alias.

    Attributes
    ----------
    alias, previous, number : the alias, the version it pointed at before, and since.
    at : milliseconds since 1970 by the clock of the machine that made the change; clocks differ.
    order : 1 more than the largest known when the change was made; 0 in records of older code.
    """

    alias: str
    previous: int | None
    number: int
    at: int
    order: int = 0


def alias_history(client: MlflowClient, name: str) -> list[AliasEvent]:
    """All recorded changes, oldest first, whatever their clocks said; tags that cannot be read are left out."""
    events = []
    for model in client.search_registered_models(f"name = '{name}'", max_results=1):
        for key, text in sorted(dict(model.tags).items()):
            if key.startswith(EVENT):
                try:
                    e = json.loads(text)
                    previous = None if e["from"] is None else int(e["from"])
                    number, at, order = int(e["to"]), int(e["at"]), int(e.get("order", 0))
                    events.append(AliasEvent(str(e["alias"]), previous, number, at, order))
                except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                    continue
    return sorted(events, key=lambda e: e.order)


def promote(client: MlflowClient, version: Version, previous: int | None) -> int | None:
    """Make a version the champion; the number of the champion that is read back."""
    return record_alias(client, names.GENERATORS, names.CHAMPION_ALIAS, version.number, previous)
