"""How a version is made, for every stage: reuse a registered one, or open a run, train, publish and note."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sa_mlops.core.runtime import machine
from sa_mlops.datasets import pin
from sa_mlops.models.interface import CVAE
from sa_mlops.registry import gates, names, provenance, tracking, versions
from sa_mlops.registry.publish import publish_files, publish_generator
from sa_mlops.registry.version import Version
from sa_mlops.settings import fingerprint, jsonable
from sa_mlops.stages.context import Context
from sa_mlops.stages.progress import say
from sa_mlops.stages.runs import StageRun

CLASS_FIELDS = ("labels", "forget", "earlier")
"""Fields of settings that hold class indices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A version before it is made.

    Attributes
    ----------
    name : the registered model.
    stage : tag `sa.stage` of the version and of its run.
    code : the stage whose code revision counts in `sa.config`.
    title : of the run.
    settings : decide the result; hashed as `sa.config`, recorded as `sa.settings`.
    tags : further tags that decide whether a version is reused, such as the parent.
    params : of the run; the settings if empty.
    used : versions that the run reads.
    steps : of the training loop, for progress; 0 if there is none.
    """

    name: str
    stage: str
    code: str
    title: str
    settings: object
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    used: tuple[Version, ...] = ()
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The result of training, to be published.

    Attributes
    ----------
    content : a generator, or a function that writes the files of another model into a folder.
    metrics : of the run and of the version.
    description : Markdown, shown with the version.
    tags : further tags of the version.
    picture : path of the run's figure that stands below the description on MLflow's page; empty for none.
    """

    content: CVAE | Callable[[Path], None]
    metrics: Mapping[str, float]
    description: str
    tags: Mapping[str, str] = field(default_factory=dict)
    picture: str = ""


def make(
    ctx: Context, key: Key, train: Callable[[StageRun], Made], before: Callable[[], object] | None = None
) -> Version:
    """The version of a key: from the registry, or trained now in a run of its own and registered.

    Parameters
    ----------
    train : trains, measures and draws in the open run.
    before : called before the run opens, to make versions whose runs are not part of it.
    """
    found = reusable(ctx, key)
    if found is not None:
        ctx.runs.reused(key.stage, _run_title(key), found)
        return found
    if before is not None:
        before()
    params = key.params or spelled(ctx, key.settings)
    with ctx.runs.run(key.stage, _run_title(key), params) as run:
        run.recorder.tags({names.CRITERIA: gates.digest(gates.limits(len(ctx.classes)))})
        for version in key.used:
            run.recorder.used(version.model_id)
        if key.steps:
            run.recorder.tags({names.STEPS: str(key.steps)})
        made = train(run)
        tags = {
            names.STAGE: key.stage,
            names.SETTINGS: json.dumps(jsonable(key.settings)),
            names.CLASSES: names.spell_classes(ctx.classes),
            names.GIT_COMMIT: _commit(),
            names.MACHINE: machine(ctx.device),
            **_identity(ctx, key),
            **made.tags,
        }
        if isinstance(made.content, CVAE):
            tags[names.NET] = made.content.net
            publish = partial(publish_generator, ctx.client, run.recorder, made.content)
        else:
            publish = partial(publish_files, ctx.client, run.recorder, key.name, made.content)
        # The words first: MLflow's table of versions shows the beginning.
        description = made.description + _picture(run.run_id, made.picture)
        record = {
            "command": ctx.runs.command,
            "seed": ctx.seed,
            "dataset": {"name": ctx.dataset.name, "md5": ctx.dataset.md5},
            "settings": jsonable(key.settings),
            "git_commit": tags[names.GIT_COMMIT],
            "machine": tags[names.MACHINE],
        }
        provenance.log(ctx.client, run.run_id, record)
        version = publish(tags=tags, description=description, metrics=made.metrics, params=params)
    ctx.runs.made.add(version.uri)
    return version


def reusable(ctx: Context, key: Key) -> Version | None:
    """A registered version of the same settings, data and seed; under `--fresh` only one that this command made."""
    found = versions.find(ctx.client, key.name, _identity(ctx, key))
    return None if found is not None and ctx.fresh and found.uri not in ctx.runs.made else found


def spelled(ctx: Context, settings: object) -> dict[str, str]:
    """Settings as a run's params: fields as text, classes by name, the training loop's fields among the others."""
    fields = flat(jsonable(settings))
    return {k: ctx.spell(v) if k in CLASS_FIELDS else str(v) for k, v in fields.items()}


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of settings; those of a phase after its name and a dot, without phases that are left out."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            before = "" if key == "optimisation" else f"{key}."
            found |= {f"{before}{k}": v for k, v in flat(value).items()}
        elif value is not None:
            found[key] = value
    return found


def _picture(run_id: str, path: str) -> str:
    """Markdown of an artifact's picture; its address has no server, so that every MLflow server shows its own."""
    return f"\n\n![{path}](get-artifact?path={quote(path, safe='')}&run_uuid={run_id})" if path else ""


def _run_title(key: Key) -> str:
    """`forget 1 from v2`; the titles of Fisher diagonals name their generator already."""
    parent = names.parse_uri(key.tags.get(names.PARENT, ""))
    return f"{key.title} from v{parent[1]}" if parent and key.name == names.GENERATORS else key.title


def _identity(ctx: Context, key: Key) -> dict[str, str]:
    """The tags by which a version is found again. The hash in `sa.config` covers the stage."""
    return {
        **key.tags,
        names.CONFIG: fingerprint(key.code, key.settings),
        names.DATASET: ctx.dataset.name,
        names.DATA_MD5: ctx.dataset.md5,
        names.SEED: str(ctx.seed),
    }


@cache
def _commit() -> str:
    """Commit of the project's checkout; empty, with one warning, where there is none."""
    try:
        found = tracking.git_commit(pin.project_root())
    except pin.DataError:
        found = ""
    if not found:
        say(
            f"no commit is recorded ({names.GIT_COMMIT} stays empty): the project's folder is no Git checkout"
        )
    return found
