"""`forget`: one step from a registered generator to one that has forgotten further classes, measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.figure import Figure
from torch import Tensor

from sa_mlops.config import ForgetConfig
from sa_mlops.core.training import Report
from sa_mlops.methods import interface
from sa_mlops.methods.interface import Inputs, StepSettings, needs_classifier, train_step
from sa_mlops.parameters import ParameterError
from sa_mlops.plots.curves import Term, gradient_norms, loss_terms
from sa_mlops.plots.grids import before_after
from sa_mlops.registry import lineage, names
from sa_mlops.registry.version import Version
from sa_mlops.stages import fisher, judge, pictures
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.make import Key, Made, make, spelled
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import Progress
from sa_mlops.stages.result import Result
from sa_mlops.stages.runs import StageRun


def obtain(
    ctx: Context,
    start: Version,
    settings: StepSettings,
    protection: Version | None,
    judges: Judges,
    images: Tensor | None = None,
    last: int | None = None,
) -> Version:
    """The generator that one step makes of `start`: from the registry, or trained and measured now.

    Parameters
    ----------
    protection : the Fisher diagonal, if the method needs one.
    images : (n, C, H, W), the user's, if the method takes any.
    last : index of the class that was named last; by default the last in order.
    """
    title = f"forget {ctx.spell(settings.forget)}"

    def made(run: StageRun) -> Made:
        before = ctx.load(start)
        phases = Phases(run, ctx.spell(settings.forget), ctx.spell(settings.forgotten))
        inputs = Inputs(
            fisher={} if protection is None else fisher.load(ctx, protection, before),
            images=images,
            data=ctx.dataset,
            classifier=judge.load(ctx, judge.obtain(ctx, "trainer")) if needs_classifier(settings) else None,
        )
        on_step = ctx.grid_log(run, settings.length)
        after = train_step(before, settings, inputs, ctx.generator, watch=phases.watch, on_step=on_step)
        metrics = judges.measure(after, settings.forgotten).metrics() | phases.seconds
        root = lineage.base_of(ctx.client, start)
        if root is not None:
            metrics |= judges.beside_base(after, root, settings.forgotten)
        heading = (
            f"{title}: judge's probability {metrics['forget.prob']:.3f}, entropy {metrics['forget.entropy']:.3f} nats, "
            f"retained accuracy {metrics['retain.accuracy']:.3f}"
        )
        drawn = ctx.grid(before), ctx.grid(after)
        figure = before_after(*drawn, title=heading, classes=ctx.classes, forgotten=settings.forgotten)
        run.figure(figure, "figures/before_after.png")
        figures = ", ".join(f"`figures/{name}.png`" for name in ("before_after", *phases.figures))
        description = (
            f"**{title}** from {start.uri} by {settings.method}: probability {metrics['forget.prob']:.4f}, entropy "
            f"{metrics['forget.entropy']:.4f} nats, retained accuracy {metrics['retain.accuracy']:.4f} (worst class "
            f"{metrics['retain.accuracy_min']:.4f}), {settings.length} steps in {metrics['time.forget']:.1f} s."
            f"\n\nFigures of the run: {figures}."
        )
        tags = judges.tags() | ({} if root is None else {names.BASE: root.uri})
        tags |= {names.METHOD: settings.method, names.TARGET: settings.target}
        tags[names.FORGOTTEN_LAST] = ctx.classes[settings.forget[-1] if last is None else last]
        return Made(
            content=after,
            metrics=metrics,
            description=description,
            tags=tags,
            picture="figures/before_after.png",
        )

    return make(ctx, key_of(ctx, start, settings, protection), made, before=judges.ready)


def key_of(ctx: Context, start: Version, settings: StepSettings, protection: Version | None) -> Key:
    """The version that one step makes; the parameters are those of `obtain`."""
    upstream = {names.PARENT: start} | ({} if protection is None else {names.FIM: protection})
    return Key(
        name=names.GENERATORS,
        stage="forget",
        code="forget",
        title=names.forget_title(ctx.spell(settings.forget), settings.method, settings.phases),
        settings=settings,
        tags={names.FORGOTTEN: ctx.spell(settings.forgotten)} | {k: v.uri for k, v in upstream.items()},
        params=spelled(ctx, settings) | {"start": start.uri},
        used=tuple(upstream.values()),
        steps=settings.steps_in_all,
    )


class Phases:
    """The phases of a step: the progress, the seconds and the figures of each.

    Parameters
    ----------
    forget : names of the classes that the method forgets.
    forgotten : those that are forgotten afterwards, the subject of the later phases.
    """

    def __init__(self, run: StageRun, forget: str, forgotten: str) -> None:
        self.run, self.forget, self.forgotten = run, forget, forgotten
        self.seconds: dict[str, float] = {}
        self.figures: list[str] = []
        self._done = 0

    @contextmanager
    def watch(self, phase: str, steps: int) -> Iterator[Report]:
        """Receives the terms of a phase's loop, and draws them when it has ended."""
        first = phase == "forget"
        title = f"{phase} {self.forget if first else self.forgotten}"
        with Progress(title, steps, self.run.recorder, before=self._done) as progress:
            yield progress
        self._done += steps
        self.seconds[f"time.{phase}"] = progress.seconds
        curves = {term: [progress.curve(term, title)] for term in progress.points}
        norm = curves.pop("gradient_norm", None)
        if curves:
            words = "loss terms and found attacks" if phase == "harden" else "loss terms, per sample"
            terms = [Term(term, curve, log=term == "ewc") for term, curve in curves.items()]
            self._figure(loss_terms(terms, title=f"{title}: {words}"), "loss" if first else phase)
        if norm is not None and first:
            self._figure(gradient_norms(norm, title=f"{title}: gradient norm"), "gradient_norm")

    def _figure(self, figure: Figure, name: str) -> None:
        self.run.figure(figure, f"figures/{name}.png")
        self.figures.append(name)


def starting_point(ctx: Context, word: str, indices: tuple[int, ...]) -> Version | None:
    """The generator that `--from-version` names, None for the base that is still to be obtained.

    Parameters
    ----------
    indices : of the classes to forget from it.

    Raises ParameterError if it does not exist, has forgotten one of the classes already, or would retain none.
    """
    if word == "auto":
        return None
    start = ctx.named_generator("from_version", word)
    retained = fisher.retained(start)
    again = [c for c in indices if c not in retained]
    if again:
        allowed = f"classes that {start.uri} has not forgotten ({ctx.spell(retained)})"
        raise ParameterError("classes", ctx.spell(again), allowed)
    if len(indices) >= len(retained):
        allowed = f"at most {len(retained) - 1} of {ctx.spell(retained)}, so that one class is retained"
        raise ParameterError("classes", ctx.spell(indices), allowed)
    return start


def obtain_from(
    ctx: Context,
    config: ForgetConfig,
    start: Version | None,
    judges: Judges,
    surrogate: tuple[Tensor | None, str | None] = (None, None),
) -> Version:
    """The step of a command and everything that it needs: base, Fisher diagonal, judges."""
    start = start or base_for(ctx, config, judges)
    images, md5 = surrogate
    settings = config.resolved(start.forgotten_indices, md5, net=start.net)
    needed = interface.named(settings.method).needs.fisher
    protection = fisher.obtain(ctx, start, config.fisher_samples) if needed else None
    return obtain(ctx, start, settings, protection, judges, images, config.ordered[-1])


def run(config: ForgetConfig) -> Result:
    """Forget, and print the metrics before and after."""
    ctx = Context.open(config)
    judges = Judges(ctx)
    start = starting_point(ctx, config.from_version, config.indices)
    surrogate = pictures.read(config.images, ctx.dataset.spec.shape, ctx.device)
    with ctx.runs.entry("forget", config):
        return judges.result(obtain_from(ctx, config, start, judges, surrogate))
