"""`base`: a conditional VAE trained from scratch, on all ten classes or (an oracle) on some of them."""

from __future__ import annotations

import json

from sa_mlops.config import BaseConfig
from sa_mlops.core.training import train_generator
from sa_mlops.models.mlp import CVAE
from sa_mlops.plots.curves import Panel, loss_terms
from sa_mlops.plots.grids import sample_grid
from sa_mlops.registry import lineage, names, publish
from sa_mlops.registry.tracking import stoppable
from sa_mlops.registry.versions import Version
from sa_mlops.settings import CLASSES, BaseSettings, fingerprint, jsonable
from sa_mlops.stages import evaluate
from sa_mlops.stages.context import Context, GridLog, StageRun
from sa_mlops.stages.progress import Progress
from sa_mlops.stages.result import Result


def obtain(ctx: Context, settings: BaseSettings) -> Version:
    """The generator that these settings give with this data and seed: reused, or trained and measured now."""
    left_out = tuple(c for c in range(CLASSES) if c not in settings.labels)
    stage = "oracle" if left_out else "base"
    tags = {
        names.STAGE: stage,
        names.FORGOTTEN: names.spell_digits(left_out),
        names.CONFIG: fingerprint("base", settings),
    }
    found = ctx.reusable(names.GENERATORS, tags)
    if found is not None:
        ctx.note_reuse(stage, found)
        if not left_out and names.BASE_ALIAS not in lineage.alias_map(ctx.client, names.GENERATORS):
            # The run that made it was killed before it could say so.
            ctx.client.set_registered_model_alias(names.GENERATORS, names.BASE_ALIAS, str(found.number))
        return found

    title = f"oracle (no {names.spell_digits(left_out)})" if left_out else "base"
    judges = evaluate.judges(ctx)
    with ctx.run(stage, title, _spelled(settings)) as run:
        model, progress = _train(ctx, run, settings, title)
        measured = evaluate.measure(ctx, model, left_out)
        metrics = measured.metrics() | {f"time.{stage}": progress.seconds}
        if not left_out:
            metrics["base.test_nelbo"] = measured.test_nelbo
        run.recorder.metrics(metrics)
        run.figure(
            sample_grid(
                ctx.grid(model),
                title=f"{title}: test nELBO {measured.test_nelbo:.1f} nats",
                forgotten=left_out,
            ),
            "figures/samples.png",
        )
        version = publish.publish_generator(
            ctx.client,
            run.recorder,
            model,
            tags={
                **tags,
                names.SETTINGS: json.dumps(jsonable(settings)),
                **judges.tags(),
                **ctx.common_tags(),
            },
            description=(
                f"**{title}**: conditional VAE, z_dim {settings.z_dim}, {settings.optimisation.steps} steps, "
                f"test nELBO {measured.test_nelbo:.2f} nats, retained accuracy {measured.retained.accuracy:.4f}.\n\n"
                "Pictures on the run: `figures/samples.png`, `figures/loss.png`."
            ),
            metrics=metrics,
            params=_spelled(settings),
        )
        if not left_out:
            ctx.client.set_registered_model_alias(names.GENERATORS, names.BASE_ALIAS, str(version.number))
    return ctx.note_made(version)


def _train(ctx: Context, run: StageRun, settings: BaseSettings, title: str) -> tuple[CVAE, Progress]:
    steps = settings.optimisation.steps
    run.recorder.tags({names.STEPS: str(steps)})
    left_out = tuple(c for c in range(CLASSES) if c not in settings.labels)
    with Progress(title, steps, run.recorder) as progress:
        model = train_generator(
            ctx.dataset.train_images,
            ctx.dataset.train_labels,
            settings,
            ctx.generator("base", left_out),
            report=progress,
            on_step=GridLog(ctx, run, steps),
        )
    panels = [Panel(term, [progress.curve(term, title)]) for term in ("loss", "reconstruction", "divergence")]
    run.figure(loss_terms(panels, title=f"{title}: training loss per image"), "figures/loss.png")
    return model, progress


def run(config: BaseConfig) -> Result:
    """Train or reuse the base."""
    ctx = Context(config)
    with stoppable(), ctx.entry("base", config):
        version = obtain(ctx, config.settings())
        return evaluate.result(ctx, version)


def _spelled(settings: BaseSettings) -> dict[str, str]:
    flat = jsonable(settings)
    return {k: str(v) for k, v in {**flat.pop("optimisation"), **flat}.items()}
