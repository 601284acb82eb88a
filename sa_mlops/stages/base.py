"""`base`: a conditional VAE trained from scratch on all classes; without some of them, the retrained control."""

from __future__ import annotations

from collections.abc import Callable

from sa_mlops import keys
from sa_mlops.config import BaseConfig, RecipeConfig
from sa_mlops.core.training import Report, train_generator
from sa_mlops.models.interface import CVAE
from sa_mlops.parameters import Value
from sa_mlops.plots.curves import Term, loss_terms
from sa_mlops.plots.grids import sample_grid
from sa_mlops.registry import log, names
from sa_mlops.registry.version import Version
from sa_mlops.settings import BaseSettings
from sa_mlops.stages.context import Context
from sa_mlops.stages.make import Key, Made, make
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import Progress
from sa_mlops.stages.result import Result
from sa_mlops.stages.runs import StageRun


def obtain(ctx: Context, settings: BaseSettings, judges: Judges, *, alias: bool = True) -> Version:
    """The generator of these settings, data and seed: from the registry, or trained and measured now.

    Parameters
    ----------
    alias : give it the alias `base` if it has all classes.
    """
    forgotten = left_out(ctx, settings)
    stage = "retrain" if forgotten else "base"
    title = f"retrained without {ctx.spell(forgotten)}" if forgotten else "base"
    steps = settings.optimisation.steps

    def made(run: StageRun) -> Made:
        with Progress(title, steps, run.recorder) as progress:
            model = train(ctx, settings, progress, ctx.grid_log(run, steps))
        terms = [Term(t, [progress.curve(t, title)]) for t in ("loss", "reconstruction", "divergence")]
        run.figure(loss_terms(terms, title=f"{title}: training loss per image"), "figures/loss.png")
        measured = judges.measure(model, forgotten)
        heading = f"{title}: test nELBO {measured.test_nelbo:.1f} nats"
        samples = sample_grid(ctx.grid(model), title=heading, classes=ctx.classes, forgotten=forgotten)
        run.figure(samples, "figures/samples.png")
        metrics = measured.metrics() | {f"time.{stage}": progress.seconds}
        return Made(
            picture="figures/samples.png",
            content=model,
            metrics=metrics if forgotten else metrics | {"base.test_nelbo": measured.test_nelbo},
            description=(
                f"**{title}**: conditional VAE ({model.net}), z_dim {settings.z_dim}, {steps} steps, "
                f"test nELBO {measured.test_nelbo:.2f} nats, retained accuracy {measured.retained.accuracy:.4f}."
                "\n\nFigures of the run: `figures/samples.png`, `figures/loss.png`."
            ),
            tags=judges.tags(),
        )

    key = Key(
        name=names.GENERATORS,
        stage=stage,
        code="base",
        title=title,
        settings=settings,
        tags={names.FORGOTTEN: ctx.spell(forgotten)},
        steps=steps,
    )
    version = make(ctx, key, made, before=judges.ready)
    if alias and not forgotten:
        _point(ctx, version)
    return version


def base_for(
    ctx: Context, config: RecipeConfig, judges: Judges, *, without: tuple[int, ...] = (), **changes: Value
) -> Version:
    """The base of a command's recipe, or the generator of that recipe that is trained without some classes.

    `changes` are options of the recipe that differ from the command's.
    """
    options = {name: getattr(config, name) for name in RecipeConfig.parameters()}
    return obtain(ctx, BaseConfig(**options | changes).settings(without=without), judges)


def train(
    ctx: Context, settings: BaseSettings, report: Report, on_step: Callable[[int, CVAE], None] | None = None
) -> CVAE:
    """The training loop on the command's data, with the random numbers of its seed."""
    return train_generator(
        ctx.dataset.train_images, ctx.dataset.train_labels, ctx.dataset.spec, settings,
        ctx.generator(*keys.base(left_out(ctx, settings))), report=report, on_step=on_step,
    )  # fmt: skip


def left_out(ctx: Context, settings: BaseSettings) -> tuple[int, ...]:
    """Indices of the classes that the generator is not trained on."""
    return tuple(c for c in range(ctx.dataset.spec.count) if c not in settings.labels)


def _point(ctx: Context, version: Version) -> None:
    """Let the alias `base` point to a base of this command, and to an older one only if nothing has the alias."""
    now = log.alias_map(ctx.client, names.GENERATORS).get(names.BASE_ALIAS)
    if now is None or (version.uri in ctx.runs.made and now != version.number):
        log.record_alias(ctx.client, names.GENERATORS, names.BASE_ALIAS, version.number, now)


def run(config: BaseConfig) -> Result:
    """Train or reuse the base."""
    ctx = Context.open(config)
    judges = Judges(ctx)
    with ctx.runs.entry("base", config):
        return judges.result(obtain(ctx, config.settings(), judges))
