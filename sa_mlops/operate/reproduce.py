"""`reproduce`: rebuild a version from its tags, and compare tensors and metrics. Registers nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlflow.tracking import MlflowClient
from torch import Tensor

from sa_mlops import datasets
from sa_mlops.config import RunConfig
from sa_mlops.core.fisher import combine
from sa_mlops.core.runtime import machine
from sa_mlops.errors import CommandError
from sa_mlops.methods.interface import Inputs, StepSettings, named, needs_classifier, train_step
from sa_mlops.models.interface import CVAE
from sa_mlops.registry import names, provenance, recorded, tracking, versions
from sa_mlops.registry.recorded import RecordedError
from sa_mlops.registry.stopping import stoppable
from sa_mlops.registry.tracking import run_metrics
from sa_mlops.registry.version import Version
from sa_mlops.registry.versions import VersionError
from sa_mlops.settings import BaseSettings, FisherSettings, fingerprint
from sa_mlops.stages import base, fisher, judge
from sa_mlops.stages.context import Context
from sa_mlops.stages.make import reusable
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import Progress, say, watching
from sa_mlops.stages.result import Result

TOLERANCE = 1e-2
"""Largest allowed difference on other hardware, as a share of the tensor's largest element."""

Tensors = Mapping[str, Tensor]


class ReproduceError(CommandError):
    """A version that cannot be rebuilt here. The message is one line."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Largest absolute difference of two tensors, and largest absolute element of the registered one."""

    tensor: str
    difference: float
    largest: float

    @property
    def share(self) -> float:
        """The difference as a share of the largest element."""
        return self.difference / self.largest if self.largest else self.difference


def reproduce(word: str, device: str) -> Result:
    """Rebuild a version from its recorded settings, data and seed, and compare.

    Raises ParameterError if the version does not exist; ReproduceError if its settings, data, seed or upstream versions
    are missing or have changed.

    Parameters
    ----------
    word : a number or alias of `sa-cvae`, or `sa-cvae/3`, `sa-fim/2`, `models:/sa-fim/2`.
    """
    client = tracking.connect()
    version = find(client, word)
    if version.stage not in ("base", "retrain", "forget", "fim"):
        kind = f"a {version.stage}" if version.stage else "a version of another project"
        raise ReproduceError(f"{version.uri} is {kind}, which is not rebuilt")
    text = version.tags.get(names.SETTINGS, "")
    if not text:
        raise ReproduceError(
            f"{version.uri} records no settings (tag {names.SETTINGS}), so it cannot be rebuilt"
        )
    dataset = version.tags.get(names.DATASET, "")
    if dataset not in datasets.known():
        raise ReproduceError(f"{version.uri}: {names.DATASET} {dataset[:40]!r} is unknown")
    if version.seed is None:
        given = version.tags.get(names.SEED, "")[:40]
        raise ReproduceError(f"{version.uri}: {names.SEED} {given!r} is not a seed")
    ctx = Context.open(RunConfig(dataset=dataset, seed=version.seed, device=device))
    made_on, here = version.tags.get(names.MACHINE, ""), machine(ctx.device)
    _same_kind_of_device(version, made_on, ctx.device.type)
    if ctx.dataset.md5 != version.tags.get(names.DATA_MD5, ""):
        then = version.tags.get(names.DATA_MD5, "")[:40]
        raise ReproduceError(
            f"{version.uri} was made from data {then!r}; the data here is {ctx.dataset.md5!r}"
        )

    try:
        rebuild, expected, same_code = plan(ctx, version, text)
    except RecordedError as error:
        raise ReproduceError(f"{version.uri}: {error}; {_older_code(version)}") from None
    differing = provenance.differences(version.run_id)
    for line in differing:
        say(line)
    with stoppable():
        built = rebuild()
        differences = compare(expected, built)
        changes = measured(ctx, version, built)
    return _result(version, differences, changes, made_on, here, same_code, differing)


def find(client: MlflowClient, word: str) -> Version:
    """The version that `word` names. Raises ParameterError if it does not exist."""
    match = re.fullmatch(r"(?:models:/)?(sa-cvae|sa-fim|sa-judge)/([^/]+)", word)
    return versions.given(client, match[2], name=match[1]) if match else versions.given(client, word)


def plan(ctx: Context, version: Version, text: str) -> tuple[Callable[[], Tensors], Tensors, bool]:
    """A function that rebuilds the version, its registered tensors, and whether its settings still have their hash.

    Raises RecordedError if the settings cannot be read by this code; VersionError, WeightsError, ReproduceError if
    upstream versions are missing or damaged.
    """
    if version.stage in ("base", "retrain"):
        recipe = recorded.read(BaseSettings, text, ctx.dataset.spec.count)
        return lambda: _base(ctx, recipe), _state(ctx, version), _known(version, "base", recipe)
    parent = _upstream(ctx, version, names.PARENT, names.GENERATORS)
    before = ctx.load(parent)
    if version.stage == "fim":
        registered = fisher.load(ctx, version, before)
        if uris := fisher.summed(version):
            numbers = [int(uri.rpartition("/")[2]) for uri in uris]
            parts = [fisher.load(ctx, _made_from(ctx, version, names.FISHERS, n), before) for n in numbers]
            return lambda: combine(parts), registered, _known(version, "fim", {fisher.SUM: uris})
        sampling = recorded.read(FisherSettings, text, ctx.dataset.spec.count)
        return lambda: _fisher(ctx, before, sampling), registered, _known(version, "fim", sampling)
    step = recorded.read_step(text, ctx.dataset.spec.count)
    if getattr(step, "surrogate_md5", None) is not None:
        raise ReproduceError(f"{version.uri} was made with a folder of images, which is not kept")
    diagonal: Tensors = {}
    if named(step.method).needs.fisher:
        diagonal = fisher.load(ctx, _upstream(ctx, version, names.FIM, names.FISHERS), before)
    return lambda: _forget(ctx, before, diagonal, step), _state(ctx, version), _known(version, "forget", step)


def _same_kind_of_device(version: Version, made_on: str, here: str) -> None:
    kind = made_on.partition(":")[0]
    if made_on and kind != here:
        raise ReproduceError(
            f"{version.uri} was made on {kind}, whose random numbers differ from those of {here}; give --device {kind}"
        )


def _older_code(version: Version) -> str:
    """The advice for a version that this code does not rebuild."""
    commit = version.tags.get(names.GIT_COMMIT, "").removesuffix("-dirty")
    if not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        return "it was made by other code, and records no commit"
    return f"it was made by other code: `git checkout {commit}` and reproduce it there"


def _known(version: Version, stage: str, settings: object) -> bool:
    return version.tags.get(names.CONFIG, "") == fingerprint(stage, settings)


def _upstream(ctx: Context, version: Version, tag: str, name: str) -> Version:
    number = version.link(tag, name)
    if number is None:
        value = version.tags.get(tag, "")[:80]
        raise ReproduceError(f"{version.uri}: {tag} {value!r} names no version of {name}")
    return _made_from(ctx, version, name, number)


def _made_from(ctx: Context, version: Version, name: str, number: int) -> Version:
    try:
        return versions.get(ctx.client, name, number)
    except VersionError:
        uri = names.version_uri(name, number)
        raise ReproduceError(f"{version.uri} was made from {uri}, which was deleted") from None


def _state(ctx: Context, version: Version) -> Tensors:
    return ctx.load(version).state_dict()


def _base(ctx: Context, settings: BaseSettings) -> Tensors:
    with Progress("rebuilding", settings.optimisation.steps) as progress:
        return base.train(ctx, settings, progress).state_dict()


def _fisher(ctx: Context, model: CVAE, settings: FisherSettings) -> Tensors:
    with Progress("rebuilding", settings.samples, unit="sample") as progress:
        return fisher.estimate(ctx, model, settings, progress)


def _forget(ctx: Context, before: CVAE, diagonal: Tensors, settings: StepSettings) -> Tensors:
    trainer = reusable(ctx, judge.key(ctx, "trainer")) if needs_classifier(settings) else None
    if needs_classifier(settings) and trainer is None:
        raise ReproduceError("the judge that hardening trained against is not in this registry")
    classifier = None if trainer is None else judge.load(ctx, trainer)
    inputs = Inputs(fisher=diagonal, data=ctx.dataset, classifier=classifier)
    return train_step(before, settings, inputs, ctx.generator, watch=watching("rebuilding")).state_dict()


def measured(ctx: Context, version: Version, built: Tensors) -> dict[str, tuple[float, float]]:
    """Metric -> recorded value, value of the rebuilt generator under the same judges.

    Empty for a Fisher diagonal, which has no metrics of judges, and where the judges were deleted.
    """
    numbers = [version.link(tag, names.JUDGES) for tag in (names.JUDGE, names.JUDGE_PLAIN)]
    try:
        pair = tuple(versions.get(ctx.client, names.JUDGES, n) for n in numbers if n is not None)
    except VersionError:
        return {}
    if version.name != names.GENERATORS or len(pair) != 2:
        return {}
    model = ctx.load(version)
    model.load_state_dict(dict(built))
    now = Judges(ctx, pair).measure(model, version.forgotten_indices).metrics()
    then = run_metrics(ctx.client, version.run_id)
    return {name: (then[name], value) for name, value in sorted(now.items()) if name in then}


def compare(expected: Tensors, built: Tensors) -> list[Difference]:
    """Every tensor's difference, in the order of the registered ones."""
    if expected.keys() != built.keys() or any(expected[k].shape != built[k].shape for k in expected):
        raise ReproduceError(
            "the rebuilt net has other tensors than the registered one: the code has changed"
        )
    found = []
    for name, tensor in expected.items():
        a, b = tensor.double().cpu(), built[name].double().cpu()
        found.append(Difference(name, float((a - b).abs().max()), float(a.abs().max())))
    return found


def _result(
    version: Version,
    differences: list[Difference],
    changes: Mapping[str, tuple[float, float]],
    made_on: str,
    here: str,
    same_code: bool,
    differing: list[str],
) -> Result:
    exact = made_on == here
    worst = max(differences, key=lambda d: d.share)
    largest = max(d.difference for d in differences)
    allowed = 0.0 if exact else TOLERANCE
    passed = worst.share <= allowed
    if largest == 0:
        verdict = "equal in every element"
    elif passed:
        verdict = (
            f"equal within {TOLERANCE:g} of each tensor's largest element, the tolerance on another machine"
        )
    else:
        verdict = (
            f"DIFFERENT: {worst.tensor} by {worst.share:.2%} of its largest element, {allowed:.0%} is allowed"
        )
    lines = [
        f"{version.uri}: {version.title}",
        f"{len(differences)} tensors, largest absolute difference {largest:.3g}: {verdict}",
        *([_spell_changes(changes)] if changes else []),
        f"made on {made_on or 'an unrecorded machine'}",
        f"here:   {here}",
    ]
    if not same_code:
        lines.append(f"note: the settings no longer have the hash in {names.CONFIG}; {_older_code(version)}")
    document = {
        "version": version.uri,
        "reproduced": passed,
        "max_abs_difference": largest,
        "max_share": worst.share,
        "tolerance": allowed,
        "made_on": made_on or None,
        "here": here,
        "same_settings_hash": same_code,
        "environment": differing,
        "tensors": {d.tensor: d.difference for d in differences},
        "metrics": {name: {"recorded": then, "rebuilt": now} for name, (then, now) in changes.items()},
    }
    return Result(document, "\n".join(lines), passed)


def _spell_changes(changes: Mapping[str, tuple[float, float]]) -> str:
    name, (then, now) = max(changes.items(), key=lambda item: abs(item[1][0] - item[1][1]))
    if then == now:
        return f"{len(changes)} metrics, all equal to the recorded ones"
    return f"{len(changes)} metrics, the largest change in {name}: recorded {then:.6g}, rebuilt {now:.6g}"
