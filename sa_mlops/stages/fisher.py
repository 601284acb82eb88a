"""`fim`: the Fisher diagonal of a generator over its own samples."""

from __future__ import annotations

from sa_mlops import keys
from sa_mlops.config import FimConfig
from sa_mlops.core.fisher import Diagonal, combine, generator_fisher
from sa_mlops.core.training import Report
from sa_mlops.models.interface import CVAE
from sa_mlops.plots.curves import layer_fisher
from sa_mlops.registry import names, versions, weights
from sa_mlops.registry.tracking import run_metrics
from sa_mlops.registry.version import Version
from sa_mlops.settings import FisherSettings
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.make import Key, Made, make
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import Progress
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun

SUM = "sum of"
"""Key of the settings of a summed diagonal: the URIs of its parts."""


def obtain(ctx: Context, parent: Version, samples: int) -> Version:
    """The Fisher diagonal of a generator over the classes that it retains: from the registry, or estimated now."""
    settings = FisherSettings(samples=samples, labels=retained(parent))
    labels = ctx.spell(settings.labels)
    title = f"Fisher of v{parent.number}"

    def made(run: StageRun) -> Made:
        model = ctx.load(parent)
        with Progress(title, samples, run.recorder, unit="sample") as progress:
            diagonal = estimate(ctx, model, settings, progress)
        run.figure(layer_fisher({k: v.cpu().numpy() for k, v in diagonal.items()}), "figures/fisher.png")
        description = (
            f"**Fisher diagonal** of {parent.uri} from {samples} of its own samples of the classes {labels}: mean of "
            "the squared per-sample ELBO gradients.\n\nFigure of the run: `figures/fisher.png`."
        )
        return _published(parent, model, diagonal, description, progress.seconds)

    params = {"samples": str(samples), "labels": labels, "parent": parent.uri}
    return make(ctx, _key(parent, title, settings, params, (parent,), steps=samples), made)


def accumulate(ctx: Context, parent: Version, newest: Version) -> Version:
    """The sum of a generator's own diagonal and of the one that protected the step that made it."""
    previous = names.parse_uri(parent.tags.get(names.FIM, ""))
    if previous is None:
        return newest
    parts = (newest, versions.get(ctx.client, *previous))
    uris = [v.uri for v in parts]

    def made(_: StageRun) -> Made:
        model = ctx.load(parent)
        diagonal = combine(load(ctx, part, model) for part in parts)
        description = f"**Fisher diagonal** up to {parent.uri}: the sum of {' and '.join(uris)}."
        return _published(parent, model, diagonal, description)

    title = f"Fisher up to v{parent.number}"
    return make(ctx, _key(parent, title, {SUM: uris}, {"sum_of": ",".join(uris)}, parts), made)


def summed(version: Version) -> list[str]:
    """URIs of the older diagonals that a version is the sum of; empty for one that was estimated."""
    given = version.settings.get(SUM)
    found = [names.parse_uri(uri) for uri in given if isinstance(uri, str)] if isinstance(given, list) else []
    good = all(part and part[0] == names.FISHERS and part[1] < version.number for part in found)
    return [names.version_uri(*part) for part in found if part] if good else []


def _key(
    parent: Version,
    title: str,
    settings: object,
    params: dict[str, str],
    used: tuple[Version, ...],
    steps: int = 0,
) -> Key:
    return Key(
        name=names.FISHERS, stage="fim", code="fim", title=title, settings=settings,
        tags={names.PARENT: parent.uri}, params=params, used=used, steps=steps,
    )  # fmt: skip


def _published(
    parent: Version, model: CVAE, diagonal: Diagonal, description: str, seconds: float | None = None
) -> Made:
    return Made(
        content=lambda folder: weights.save(folder, diagonal, {"kind": "fim", "z_dim": model.z_dim}),
        metrics=_summary(diagonal) | ({} if seconds is None else {"time.fim": seconds}),
        description=description,
        tags={names.FORGOTTEN: names.spell_classes(parent.forgotten)},
    )


def estimate(ctx: Context, model: CVAE, settings: FisherSettings, report: Report) -> Diagonal:
    """The diagonal of a net, with the random numbers of the command's seed."""
    return generator_fisher(model, settings, ctx.generator(*keys.fisher(settings.labels)), report=report)


def load(ctx: Context, version: Version, like: CVAE) -> Diagonal:
    """The diagonal of a version, for the net `like`.

    Raises VersionError, WeightsError if its files are missing or belong to another net.
    """
    return weights.load_fisher(versions.net(version), like, ctx.device)


def retained(parent: Version) -> tuple[int, ...]:
    """Indices of the classes that a generator has not forgotten."""
    return tuple(c for c in range(len(parent.classes)) if c not in parent.forgotten_indices)


def _summary(diagonal: Diagonal) -> dict[str, float]:
    sums = {name: float(value.double().sum()) for name, value in diagonal.items()}
    entries = sum(value.numel() for value in diagonal.values())
    nonzero = sum(int((value > 0).sum()) for value in diagonal.values())
    layers = {f"fisher.{name}": value for name, value in sums.items()}
    return layers | {"fisher.trace": sum(sums.values()), "fisher.nonzero": nonzero / entries}


def run(config: FimConfig) -> Result:
    """Estimate or reuse the Fisher diagonal of a generator."""
    ctx = Context.open(config)
    word = config.from_version
    start = None if word == "auto" else ctx.named_generator("from_version", word)
    with ctx.runs.entry("fim", config):
        start = start or base_for(ctx, config, Judges(ctx))
        version = obtain(ctx, start, config.fisher_samples)
        metrics = run_metrics(ctx.client, version.run_id)
    layers = {k.removeprefix("fisher."): v for k, v in metrics.items() if k.startswith("fisher.")}
    text = f"{version.uri}: {version.title}\n" + table(
        ["parameter", "sum of F"], [[k, f"{v:.4g}"] for k, v in sorted(layers.items())]
    )
    return Result({"version": version.uri, "parent": start.uri, "metrics": metrics}, text)
