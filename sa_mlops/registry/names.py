"""Names of registered models, tags and aliases, and what may be written in them."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
DATASET = "sa.dataset"
DATA_MD5 = "sa.data_md5"
CONFIG = "sa.config"
SEED = "sa.seed"
GIT_COMMIT = "sa.git_commit"
ROLE = "sa.role"
SETTINGS = "sa.settings"
"""The settings behind `sa.config` as JSON, so that a version can be rebuilt from its tags."""
BASE = "sa.base"
"""The trained-from-scratch generator at the root of a forgetting version."""
MACHINE = "sa.machine"
"""Kind of processor, threads and PyTorch behind a version: with the same ones, rebuilding it gives equal tensors."""
EVALUATION = "sa.evaluation"
"""Hash of how the metrics on the version's run were measured."""
REUSED = "sa.reused"
"""On a run: the version that it took from the registry instead of making it."""
STEPS = "sa.steps"
"""On a run: how many steps the stage will take; what progress is measured against."""

BASE_ALIAS = "base"
LATEST_ALIAS = "latest"
"""MLflow's own: always the newest version. It cannot be set, and need not be."""
CHAMPION_ALIAS = "champion"

MODEL_SOURCE = re.compile(r"models:/(m-[0-9a-f]{32})")
"""The only version source that is read: a logged model of this store. No paths, no other schemes."""

VERSION_URI = re.compile(r"models:/(sa-cvae|sa-fim|sa-judge)/([1-9][0-9]{0,8})")


def version_uri(name: str, number: int) -> str:
    """`models:/name/number`."""
    return f"models:/{name}/{number}"


def parse_uri(uri: str) -> tuple[str, int] | None:
    """(name, number) of a version's URI, None if it is something else."""
    match = VERSION_URI.fullmatch(uri)
    return (match[1], int(match[2])) if match else None


def hardened(tags: Mapping[str, str]) -> bool:
    """Whether the settings recorded with a version say that it was trained against recovery attacks as well."""
    return '"harden": {' in tags.get(SETTINGS, "")


def spell_digits(digits: tuple[int, ...]) -> str:
    """`0,1,2` as in the tag `sa.forgotten`; empty for none."""
    return ",".join(str(d) for d in sorted(digits))


def parse_digits(text: str) -> tuple[int, ...]:
    """Classes in a tag `sa.forgotten`; anything that is no digit is left out (tags can be edited by hand)."""
    return tuple(sorted({int(word) for word in text.split(",") if word.strip() in tuple("0123456789")}))
