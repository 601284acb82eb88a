"""Names of registered models, tags, aliases and metrics, and the form of their values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from sa_mlops.datasets.spec import metric_word

GENERATORS = "sa-cvae"
FISHERS = "sa-fim"
JUDGES = "sa-judge"
MODELS = (GENERATORS, FISHERS, JUDGES)

STAGE = "sa.stage"
PARENT = "sa.parent"
FIM = "sa.fim"
JUDGE = "sa.judge"
JUDGE_PLAIN = "sa.judge_plain"
FORGOTTEN = "sa.forgotten"
FORGOTTEN_LAST = "sa.forgotten_last"
CLASSES = "sa.classes"
METHOD = "sa.method"
NET = "sa.net"
TARGET = "sa.target"
LEVEL = "sa.level"
"""Both claims about a probed version (`registry.claims`), in words."""
DATASET = "sa.dataset"
DATA_MD5 = "sa.data_md5"
CONFIG = "sa.config"
SEED = "sa.seed"
GIT_COMMIT = "sa.git_commit"
ROLE = "sa.role"
SETTINGS = "sa.settings"
"""The settings behind `sa.config` as JSON, from which a version can be rebuilt."""
BASE = "sa.base"
"""The generator trained from scratch from which a forgetting version descends."""
NOTE = "sa.note"
"""Text that a user has written on a version."""
WITHDRAWN = "sa.withdrawn"
"""Why a version was withdrawn by `erase`; its weights are not loaded any more."""
MACHINE = "sa.machine"
"""Processor, threads and PyTorch version; equal ones rebuild equal tensors."""
EVALUATION = "sa.evaluation"
"""Hash of the judges and sample sizes behind the metrics on the version's run."""
CRITERIA = "sa.criteria"
"""On a run: digest of the default limits of all gates when it began, so that later limits show."""
REUSED = "sa.reused"
"""On a run: the registered version that it reused."""
COMMAND = "sa.command"
"""On a row of a comparison: the command that reproduces it."""
STEPS = "sa.steps"
"""On a run: total number of steps of the stage, for progress."""

BASE_ALIAS = "base"
LATEST_ALIAS = "latest"
"""MLflow's own alias of the newest version; it cannot be set."""
CHAMPION_ALIAS = "champion"

MODEL_SOURCE = re.compile(r"models:/(m-[0-9a-f]{32})")
"""The only version source that is read: a logged model of this store; no paths, no other schemes."""

DIGITS = tuple("0123456789")
"""Names of the classes where a version does not record them (older stores)."""
OLD_STAGES = {"oracle": "retrain"}
"""Values of `sa.stage` that older stores hold -> present ones."""
OLD_METRIC = re.compile(r"(^|\.)digit\.(\d)(?=\.)")
BASE_PREFIX = "base."
"""Prefix of the base's metrics on the run of a version: the same metric, at the same latents."""
PROCESS = ("train/", "system/", "progress/", "train.", "progress.")
"""Prefixes of metrics that are curves or counters, not results. MLflow groups by the part before `/`; older stores have
a dot."""
MAX_SETTINGS = 20_000
"""Characters of `sa.settings` that are read."""

VERSION_URI = re.compile(r"models:/(sa-cvae|sa-fim|sa-judge)/([1-9][0-9]{0,8})")


def version_uri(name: str, number: int) -> str:
    """`models:/name/number`."""
    return f"models:/{name}/{number}"


def parse_uri(uri: str) -> tuple[str, int] | None:
    """(name, number) of a version's URI; None for other text."""
    match = VERSION_URI.fullmatch(uri)
    return (match[1], int(match[2])) if match else None


def spell_classes(classes: Iterable[str]) -> str:
    """Names of classes in a tag: `0,1,2`, `coat,shirt`; empty for none."""
    return ",".join(classes)


PHASES = {"harden": "hardened", "distil": "distilled"}
"""Phase after a method, by its name in settings -> the word for a version that had it, in their order."""


def forget_title(classes: str, method: str, phases: Collection[str]) -> str:
    """`forget 1`, `forget 1 by esd hardened distilled`: classes, the method if it is not the usual one, phases."""
    by = "" if method == "selective-amnesia" else f"by {method}"
    words = ["forget", classes, by, *(word for phase, word in PHASES.items() if phase in phases)]
    return " ".join(word for word in words if word)


def parse_classes(text: str) -> tuple[str, ...]:
    """Names of classes in a tag, each once, in the order written."""
    return tuple(dict.fromkeys(word for part in text.split(",") if (word := part.strip())))


def class_metric(name: str, measure: str, *, base: bool = False) -> str:
    """Name of a metric of one class: `class.NAME.MEASURE`, of the base `base.class.NAME.MEASURE`."""
    return f"{'base.' if base else ''}class.{metric_word(name)}.{measure}"


def results(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics that are results, not curves or counters, under their present names, sorted."""
    kept = sorted(k for k in metrics if not k.startswith(PROCESS))
    return current_metrics({k: metrics[k] for k in kept})


def current_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics under their present names: `digit.D.*` of older stores becomes `class.D.*`, after any prefix."""
    return {
        OLD_METRIC.sub(r"\1class.\2", key) if "digit." in key else key: value
        for key, value in metrics.items()
    }
