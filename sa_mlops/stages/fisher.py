"""`fim`: the Fisher diagonal of a generator over its own samples."""

from __future__ import annotations

import json

from sa_mlops.config import BaseConfig, FimConfig
from sa_mlops.core.fisher import Diagonal, combine, generator_fisher
from sa_mlops.models.mlp import CVAE
from sa_mlops.plots.curves import layer_fisher
from sa_mlops.registry import names, publish, versions, weights
from sa_mlops.registry.tracking import run_metrics, stoppable
from sa_mlops.registry.versions import Version
from sa_mlops.settings import CLASSES, FisherSettings, fingerprint, jsonable
from sa_mlops.stages import base
from sa_mlops.stages.context import Context
from sa_mlops.stages.progress import Progress
from sa_mlops.stages.result import Result, table


def obtain(ctx: Context, parent: Version, settings: FisherSettings, model: CVAE | None = None) -> Version:
    """The Fisher diagonal of generator `parent`: from the registry, or estimated now."""
    tags = {
        names.STAGE: "fim",
        names.PARENT: parent.uri,
        names.CONFIG: fingerprint("fim", settings),
    }
    found = ctx.reusable(names.FISHERS, tags)
    if found is not None:
        ctx.note_reuse("fim", found)
        return found

    model = ctx.load(parent) if model is None else model
    params = {
        "samples": str(settings.samples),
        "labels": names.spell_digits(settings.labels),
        "parent": parent.uri,
    }
    with ctx.run("fim", f"Fisher of v{parent.number}", params) as run:
        run.recorder.used(parent.model_id)
        run.recorder.tags({names.STEPS: str(settings.samples)})
        generator = ctx.generator("fim", settings.labels)
        with Progress(
            f"Fisher of v{parent.number}", settings.samples, run.recorder, unit="sample"
        ) as progress:
            diagonal = generator_fisher(model, settings, generator, report=progress)
        metrics = _summary(diagonal) | {"time.fim": progress.seconds}
        run.recorder.metrics(metrics)
        run.figure(layer_fisher({k: v.cpu().numpy() for k, v in diagonal.items()}), "figures/fisher.png")
        version = publish.publish_files(
            ctx.client,
            run.recorder,
            names.FISHERS,
            lambda folder: weights.save(folder, diagonal, {"kind": "fim", "z_dim": model.z_dim}),
            tags={
                **tags,
                names.FORGOTTEN: names.spell_digits(parent.forgotten),
                names.SETTINGS: json.dumps(jsonable(settings)),
                **ctx.common_tags(),
            },
            description=(
                f"**Fisher diagonal** of {parent.uri} from {settings.samples} of its own samples of the classes "
                f"{names.spell_digits(settings.labels)}: mean of the squared per-sample ELBO gradients.\n\n"
                "Picture on the run: `figures/fisher.png`."
            ),
            metrics=metrics,
            params=params,
        )
    return ctx.note_made(version)


def load(ctx: Context, version: Version, like: CVAE) -> Diagonal:
    """The diagonal of a version, for the net `like`.

    Raises
    ------
    VersionError, WeightsError : if its files are missing or belong to another net.
    """
    return weights.load_fisher(versions.files(version), like, ctx.device)


def load_number(ctx: Context, number: int, like: CVAE) -> Diagonal:
    """The diagonal of version `number`, for the net `like`. Errors as in `load`."""
    return load(ctx, versions.get(ctx.client, names.FISHERS, number), like)


def accumulate(ctx: Context, parent: Version, newest: Version) -> Version:
    """The sum of a generator's own diagonal and of the one that protected the step that made it, as a version."""
    previous = names.parse_uri(parent.tags.get(names.FIM, ""))
    if previous is None:
        return newest
    parts = [newest, versions.get(ctx.client, names.FISHERS, previous[1])]
    uris = [v.uri for v in parts]
    tags = {
        names.STAGE: "fim",
        names.PARENT: parent.uri,
        names.CONFIG: fingerprint("fim", {"sum of": uris}),
    }
    found = ctx.reusable(names.FISHERS, tags)
    if found is not None:
        return found
    like = ctx.load(parent)
    with ctx.run("fim", f"Fisher up to v{parent.number}", {"sum_of": ",".join(uris)}) as run:
        for part in parts:
            run.recorder.used(part.model_id)
        diagonal = combine(load(ctx, part, like) for part in parts)
        metrics = _summary(diagonal)
        run.recorder.metrics(metrics)
        version = publish.publish_files(
            ctx.client, run.recorder, names.FISHERS,
            lambda folder: weights.save(folder, diagonal, {"kind": "fim", "z_dim": like.z_dim}),
            tags={**tags, names.FORGOTTEN: names.spell_digits(parent.forgotten), **ctx.common_tags()},
            description=f"**Fisher diagonal** up to {parent.uri}: the sum of {' and '.join(uris)}.",
            metrics=metrics, params={"sum_of": ",".join(uris)},
        )  # fmt: skip
    return ctx.note_made(version)


def retained_labels(parent: Version, forget: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Classes that `parent` still draws and that are not about to be forgotten."""
    return tuple(c for c in range(CLASSES) if c not in parent.forgotten + forget)


def _summary(diagonal: Diagonal) -> dict[str, float]:
    sums = {name: float(value.double().sum()) for name, value in diagonal.items()}
    entries = sum(value.numel() for value in diagonal.values())
    nonzero = sum(int((value > 0).sum()) for value in diagonal.values())
    layers = {f"fisher.{name}": value for name, value in sums.items()}
    return layers | {"fisher.trace": sum(sums.values()), "fisher.nonzero": nonzero / entries}


def run(config: FimConfig) -> Result:
    """Estimate or reuse the Fisher diagonal of a generator."""
    ctx = Context(config)
    start = (
        None if config.from_version == "auto" else ctx.named_generator("from_version", config.from_version)
    )
    with stoppable(), ctx.entry("fim", config):
        if start is None:
            recipe = BaseConfig(
                dataset=config.dataset, seed=config.seed, recipe=config.recipe, z_dim=config.z_dim
            )
            start = base.obtain(ctx, recipe.settings())
        settings = FisherSettings(samples=config.fisher_samples, labels=retained_labels(start))
        version = obtain(ctx, start, settings)
        metrics = run_metrics(ctx.client, version.run_id)
    layers = {k.removeprefix("fisher."): v for k, v in metrics.items() if k.startswith("fisher.")}
    text = f"{version.uri}: {version.title}\n" + table(
        ["parameter", "sum of F"], [[k, f"{v:.4g}"] for k, v in sorted(layers.items())]
    )
    return Result({"version": version.uri, "parent": start.uri, "metrics": metrics}, text)
