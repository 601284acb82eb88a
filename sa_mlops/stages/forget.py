"""`forget`: one step from a registered generator to one that has forgotten further classes, measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from sa_mlops.config import ForgetConfig
from sa_mlops.core.training import Report
from sa_mlops.methods.interface import Inputs, StepSettings, named, train_step
from sa_mlops.models.interface import CVAE
from sa_mlops.parameters import ParameterError
from sa_mlops.plots.curves import Term, gradient_norms, loss_terms
from sa_mlops.plots.grids import before_after
from sa_mlops.registry import lineage, names
from sa_mlops.registry.tracking import stoppable
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
    surrogate: Tensor | None = None,
) -> Version:
    """The generator that one step makes of `start`: from the registry, or trained and measured now.

    Parameters
    ----------
    protection : the Fisher diagonal, if the method needs one.
    surrogate : images that the forgotten classes are to become, if they come from a folder.
    """
    forgotten, steps, needs = settings.forgotten, settings.length, named(settings.method).needs
    title = f"forget {names.spell_digits(settings.forget)}"

    def made(run: StageRun) -> Made:
        before = ctx.load(start)
        phases = Phases(run, {"forget": settings.forget, "harden": forgotten})
        trained_against = needs.classifier or settings.harden
        inputs = Inputs(
            fisher={} if protection is None else fisher.load(ctx, protection, before),
            images=surrogate,
            data=ctx.dataset if needs.data else None,
            classifier=judge.load(ctx, judge.obtain(ctx, "trainer")) if trained_against else None,
        )
        after = train_step(
            before, settings, inputs, ctx.generator, watch=phases.watch, on_step=ctx.grid_log(run, steps)
        )
        metrics = judges.measure(after, forgotten).metrics() | phases.seconds
        root = lineage.base_of(ctx.client, start)
        if root is not None:
            metrics |= judges.beside_base(root, forgotten)
        _draw(ctx, run, before, after, forgotten, title, metrics)
        return Made(
            content=after,
            metrics=metrics,
            description=(
                f"**{title}** from {start.uri}: probability {metrics['forget.prob']:.4f}, entropy "
                f"{metrics['forget.entropy']:.4f} nats, retained accuracy {metrics['retain.accuracy']:.4f} "
                f"(worst class {metrics['retain.accuracy_min']:.4f}), {steps} steps in "
                f"{metrics['time.forget']:.1f} s.\n\n"
                "Figures of the run: `figures/before_after.png`, `figures/loss.png`, `figures/gradient_norm.png`."
            ),
            tags=judges.tags() | ({} if root is None else {names.BASE: root.uri}),
        )

    key = Key(
        name=names.GENERATORS,
        stage="forget",
        code="forget",
        title=title,
        settings=settings,
        tags={
            names.PARENT: start.uri,
            names.FORGOTTEN: names.spell_digits(forgotten),
            **({} if protection is None else {names.FIM: protection.uri}),
        },
        params=spelled(settings) | {"start": start.uri},
        used=(start,) if protection is None else (start, protection),
        steps=steps + (settings.harden.optimisation.steps if settings.harden else 0),
    )
    return make(ctx, key, made, before=judges.ready)


@dataclass(slots=True)
class Phases:
    """The phases of a step: the progress, the seconds and the figures of each.

    Attributes
    ----------
    classes : phase -> the classes that its title names.
    seconds : `time.PHASE` of the phases that have ended.
    """

    run: StageRun
    classes: dict[str, tuple[int, ...]]
    seconds: dict[str, float]
    done: int

    def __init__(self, run: StageRun, classes: dict[str, tuple[int, ...]]) -> None:
        self.run, self.classes, self.seconds, self.done = run, classes, {}, 0

    @contextmanager
    def watch(self, phase: str, steps: int) -> Iterator[Report]:
        """Receives the terms of a phase's loop, and draws them when it has ended."""
        title = f"{phase} {names.spell_digits(self.classes[phase])}"
        with Progress(title, steps, self.run.recorder, before=self.done) as progress:
            yield progress
        self.done += steps
        self.seconds[f"time.{phase}"] = progress.seconds
        terms = [term for term in progress.points if term != "gradient_norm"]
        panels = [Term(term, [progress.curve(term, title)], log=term == "ewc") for term in terms]
        name = "loss" if phase == "forget" else phase
        words = (
            "loss terms per sample, penalty with its weight"
            if phase == "forget"
            else "loss terms and attacks that succeed"
        )
        self.run.figure(loss_terms(panels, title=f"{title}: {words}"), f"figures/{name}.png")
        if "gradient_norm" in progress.points and phase == "forget":
            norms = gradient_norms([progress.curve("gradient_norm", title)], title=f"{title}: gradient norm")
            self.run.figure(norms, "figures/gradient_norm.png")


def _draw(
    ctx: Context,
    run: StageRun,
    before: CVAE,
    after: CVAE,
    forgotten: tuple[int, ...],
    title: str,
    metrics: dict[str, float],
) -> None:
    heading = (
        f"{title}: judge's probability {metrics['forget.prob']:.3f}, entropy {metrics['forget.entropy']:.3f} nats, "
        f"retained accuracy {metrics['retain.accuracy']:.3f}"
    )
    figure = before_after(
        ctx.grid(before), ctx.grid(after), title=heading, classes=ctx.classes, forgotten=forgotten
    )
    run.figure(figure, "figures/before_after.png")


def starting_point(ctx: Context, word: str, classes: tuple[int, ...], option: str) -> Version | None:
    """The generator that `--from-version` names, None for the base that is still to be obtained.

    Parameters
    ----------
    classes, option : the classes to forget from it, and the option that gave them.

    Raises
    ------
    ParameterError : if it does not exist, has forgotten one of the classes already, or would retain none.
    """
    if word == "auto":
        return None
    start = ctx.named_generator("from_version", word)
    retained = fisher.retained(start)
    spelling = ", ".join(map(str, retained))
    again = [c for c in classes if c not in retained]
    if again:
        allowed = f"classes that {start.uri} has not forgotten ({spelling})"
        raise ParameterError(option, ",".join(map(str, again)), allowed)
    if len(classes) >= len(retained):
        allowed = f"at most {len(retained) - 1} of {spelling}, so that one class is retained"
        raise ParameterError(option, ",".join(map(str, classes)), allowed)
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
    settings = config.resolved(start.forgotten_indices, md5)
    needs = named(settings.method).needs
    protection = fisher.obtain(ctx, start, config.fisher_samples) if needs.fisher else None
    return obtain(ctx, start, settings, protection, judges, images)


def run(config: ForgetConfig) -> Result:
    """Forget, and print the metrics before and after."""
    ctx = Context.open(config)
    judges = Judges(ctx)
    start = starting_point(ctx, config.from_version, config.indices, "classes")
    surrogate = pictures.read(config.images, ctx.device)
    with stoppable(), ctx.runs.entry("forget", config):
        return judges.result(obtain_from(ctx, config, start, judges, surrogate))
