"""Conditions for promoting a version to champion."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sa_mlops.parameters import FileError, read_json
from sa_mlops.registry import log, names
from sa_mlops.registry.version import Version

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition for promotion.

    Attributes
    ----------
    limit : default limit, in units of `unit`.
    better : whether less or more is better; the limit itself passes.
    help : the measure, in words.
    unit : number of classes -> unit of the limit.
    targets : declared targets of methods that the gate applies to; empty for all.
    """

    limit: float
    better: Literal["low", "high"]
    help: str
    unit: Callable[[int], float] | None = None
    targets: tuple[str, ...] = ()


FEATURELESS = ("grey", "noise")
GATES: Mapping[str, Gate] = {
    "forget_prob": Gate(
        1.1, "low", "largest probability of a forgotten class, calibrated judge, worse view", lambda k: 1 / k
    ),
    "forget_entropy": Gate(
        0.9945, "high", "least entropy of a forgotten class under the calibrated judge, nats", math.log, FEATURELESS
    ),
    "forget_pixel_variance": Gate(
        0.01, "low", "variance over the pixels of the forgotten classes' images; a blur of all classes has more", None,
        FEATURELESS,
    ),
    "screen_prob": Gate(
        1.5, "low",
        "largest probability of a forgotten class after the weights that changed most are set back to the base's",
        lambda k: 1 / k,
    ),
    "retain_accuracy_drop": Gate(0.005, "low", "loss of mean retained accuracy against the base"),
    "retain_class_drop": Gate(0.02, "low", "largest loss of accuracy of one retained class against the base"),
    "retain_fid_rise": Gate(0.05, "low", "rise of the retained FID, as a share of the base's"),
    "retain_recall_share": Gate(0.9, "high", "retained recall, as a share of the base's; FID rewards less variety"),
}  # fmt: skip
"""Gate -> condition. `forget_prob` and `screen_prob` are limited to multiples of chance 1/K, `forget_entropy` to a
share of ln K."""

FORGETTING: Mapping[str, str] = {"forget_prob": "forget.prob_worst", "screen_prob": "screen.prob"}
"""Gates that a version must pass for its forgotten classes to count as suppressed -> what they are judged by."""
RATIO = "_ratio"
"""Suffix, in a file of limits, of a limit in the gate's unit; without it the limit is absolute."""
KEYS = tuple(GATES) + tuple(name + RATIO for name, gate in GATES.items() if gate.unit is not None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one gate."""

    gate: str
    found: float
    limit: float
    passed: bool

    def brief(self) -> str:
        """`pass  forget_prob: 0.0213 <= 0.11`."""
        if math.isnan(self.found):
            return f"FAIL  {self.gate}: not measured"
        sign = "<=" if GATES[self.gate].better == "low" else ">="
        mark = "pass" if self.passed else "FAIL"
        return f"{mark}  {self.gate}: {self.found:.4f} {sign} {self.limit:g}"

    def line(self) -> str:
        """The same with the meaning of the gate."""
        return f"{self.brief()}  ({GATES[self.gate].help})"


def read_limits(path: Path | None) -> dict[str, float]:
    """Limits from a JSON file with numbers for any of `KEYS`; empty without a file.

    Raises FileError if the file cannot be read, or has an unknown key or a value that is not a finite number.
    """
    if path is None:
        return {}
    given = read_json("gates", path, KEYS)
    for key, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not abs(value) <= sys.float_info.max:
            said = f"the text {value!r:.40}" if isinstance(value, str) else f"{value!r:.40}"
            raise FileError("gates", path, f"{key} is {said}; give a number")
    return given


def limits(classes: int, given: Mapping[str, float] = MappingProxyType({})) -> dict[str, float]:
    """Gate -> absolute limit for data of so many classes; `given` overrides the defaults."""
    found = {}
    for name, gate in GATES.items():
        unit = 1.0 if gate.unit is None else gate.unit(classes)
        found[name] = given.get(name, given.get(name + RATIO, gate.limit) * unit)
    return found


def digest(found: Mapping[str, float]) -> str:
    """Hash of absolute limits: sha256 of their JSON."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def judge_version(
    version: Version, metrics: Mapping[str, float], given: Mapping[str, float] = MappingProxyType({})
) -> list[Verdict]:
    """Each gate's verdict on a version's recorded metrics. A metric that is missing fails its gate."""
    return judge(version.classes, version.forgotten, metrics, given, target=version.target)


def judge(
    classes: Sequence[str],
    forgotten: Sequence[str],
    metrics: Mapping[str, float],
    given: Mapping[str, float] = MappingProxyType({}),
    *,
    target: str = "grey",
) -> list[Verdict]:
    """The same for a generator that is not registered, by names of classes and the target of its method."""

    def value(key: str) -> float:
        return metrics.get(key, math.nan)

    def each(names_of: Sequence[str], measure: str, *, base: bool = False) -> NDArray[np.float64]:
        return np.array([value(names.class_metric(c, measure, base=base)) for c in names_of] or [math.nan])

    retained = [c for c in classes if c not in forgotten]
    base_fid, base_recall = value("base.retain.fid"), value("base.retain.recall")
    # NumPy's minimum and maximum are NaN where a value is.
    found = {
        **{gate: value(metric) if forgotten else math.nan for gate, metric in FORGETTING.items()},
        "forget_entropy": each(forgotten, "entropy").min(),
        "forget_pixel_variance": value("forget.pixel_variance"),
        "retain_accuracy_drop": value("base.retain.accuracy") - value("retain.accuracy"),
        "retain_class_drop": (each(retained, "accuracy", base=True) - each(retained, "accuracy")).max(),
        "retain_fid_rise": (value("retain.fid") - base_fid) / base_fid if base_fid > 0 else math.nan,
        "retain_recall_share": value("retain.recall") / base_recall if base_recall > 0 else math.nan,
    }
    verdicts = []
    for name, limit in limits(len(classes), given).items():
        if GATES[name].targets and target not in GATES[name].targets:
            continue
        verdicts.append(_verdict(name, float(found[name]), limit))
    return verdicts


def judge_forgetting(version: Version, metrics: Mapping[str, float]) -> list[Verdict]:
    """The verdicts of the gates of forgetting alone, at their default limits, on a version that has forgotten."""
    allowed = limits(len(version.classes))
    return [_verdict(g, metrics.get(metric, math.nan), allowed[g]) for g, metric in FORGETTING.items()]


def _verdict(gate: str, found: float, limit: float) -> Verdict:
    passed = found <= limit if GATES[gate].better == "low" else found >= limit
    return Verdict(gate, found, limit, passed)


def promote(
    client: MlflowClient, version: Version, previous: int | None, verdicts: Sequence[Verdict] = ()
) -> int | None:
    """Make a version the champion, log what its gates found, and return the number of the champion read back."""
    found = {v.gate: [v.found, v.limit] for v in verdicts}
    return log.record_alias(
        client, names.GENERATORS, names.CHAMPION_ALIAS, version.number, previous, "promotion", gates=found
    )
