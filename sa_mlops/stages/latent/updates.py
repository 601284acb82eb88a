"""Forgetting with each kind of update, at equal draws."""

from __future__ import annotations

from dataclasses import replace

from sa_mlops.config import ForgetConfig, LatentConfig
from sa_mlops.methods.interface import Inputs, train_step, watched
from sa_mlops.methods.selective_amnesia import UPDATES, ForgetSettings
from sa_mlops.plots.curves import Term, loss_terms, smoothed
from sa_mlops.registry import names, recorded, versions
from sa_mlops.registry.recorded import RecordedError
from sa_mlops.registry.version import Version
from sa_mlops.stages import fisher
from sa_mlops.stages.context import Context
from sa_mlops.stages.latent.figures import figure
from sa_mlops.stages.latent.pair import Pair
from sa_mlops.stages.progress import Progress
from sa_mlops.stages.runs import StageRun

STEPS = 300
"""Most steps that the comparison takes."""
CURVE_POINTS = 50


def compare(ctx: Context, run: StageRun, config: LatentConfig, pair: Pair) -> dict[str, dict[str, float]]:
    """Forget again with each update, at equal draws, and compare the curves; nothing is registered.

    Returns where each ends: means over the last tenth of the steps.
    """
    settings = own_settings(pair.after)
    if settings is None:
        classes = ctx.dataset.spec.names(pair.forgotten)
        recipe = ForgetConfig(dataset=config.dataset, seed=config.seed, classes=classes)
        resolved = recipe.resolved(pair.before.forgotten_indices, None, net=pair.before.net)
        assert isinstance(resolved, ForgetSettings)
        settings = resolved
    steps = min(settings.optimisation.steps, STEPS)
    settings = replace(settings, optimisation=replace(settings.optimisation, steps=steps))
    inputs = Inputs(fisher=fisher.load(ctx, _fisher(ctx, pair), pair.model_before))
    done: dict[str, Progress] = {}
    for update in UPDATES:
        title = f"{update} update"
        params = {"update": update, "steps": str(steps), "start": pair.before.uri}
        with ctx.runs.run("update", title, params) as nested:
            nested.recorder.used(pair.before.model_id)
            with Progress(title, steps, nested.recorder) as progress:
                # Every step: an alternating run has one kind of gradient in odd steps, the other in even ones.
                progress.every = 1
                train_step(
                    pair.model_before, replace(settings, update=update), inputs, ctx.generator,
                    watch=watched(progress),
                )  # fmt: skip
            done[update] = progress
    ends = {u: {t: _end(p, t) for t in ("forget", "replay", "ewc", "gradient_norm")} for u, p in done.items()}
    width = max(2, 2 * round(steps / CURVE_POINTS / 2))
    terms = [
        Term(words, [smoothed(p.curve(term, u), width) for u, p in done.items()], log=term != "replay")
        for term, words in (
            ("forget", "forget term, nats a sample"),
            ("replay", "replay term, nats a sample"),
            ("ewc", "EWC penalty with its weight, nats a batch"),
            ("gradient_norm", "gradient norm"),
        )
    ]
    low, high = (pick(ends, key=lambda u: ends[u]["ewc"]) for pick in (min, max))
    replay = sorted(end["replay"] for end in ends.values())
    words = (
        f"After {steps} steps the replay term ends at {replay[0]:,.0f} to {replay[-1]:,.0f} nats, the EWC penalty at "
        f"{ends[low]['ewc']:,.0f} ({low}) to {ends[high]['ewc']:,.0f} ({high})"
    )
    figure(run, "updates", loss_terms, terms, title=words, unit="")
    return ends


def own_settings(version: Version) -> ForgetSettings | None:
    """The recorded settings of a version; None if it was hardened, made from a folder of images or in another way."""
    try:
        settings = recorded.read(ForgetSettings, version.tags.get(names.SETTINGS, ""), len(version.classes))
    except RecordedError:
        return None
    return None if settings.harden is not None or settings.surrogate == "images" else settings


def _fisher(ctx: Context, pair: Pair) -> Version:
    """The Fisher diagonal that protected the step, or else the parent's own."""
    target = names.parse_uri(pair.after.tags.get(names.FIM, ""))
    if target is not None:
        return versions.get(ctx.client, *target)
    return fisher.obtain(ctx, pair.before, 50_000)


def _end(progress: Progress, term: str) -> float:
    values = progress.curve(term, term).y
    return float(values[-max(2, len(values) // 10) :].mean())
