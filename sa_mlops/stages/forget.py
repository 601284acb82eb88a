"""`forget`: one step of amnesia, from a registered generator to a new one that has forgotten, measured."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sa_mlops.config import BaseConfig, ForgetConfig
from sa_mlops.methods import hardening
from sa_mlops.methods import selective_amnesia as amnesia
from sa_mlops.models.mlp import CVAE
from sa_mlops.parameters import ParameterError
from sa_mlops.plots.curves import Panel, gradient_norms, loss_terms
from sa_mlops.plots.grids import before_after
from sa_mlops.registry import names, publish
from sa_mlops.registry.tracking import stoppable
from sa_mlops.registry.versions import Version
from sa_mlops.settings import CLASSES, FisherSettings, ForgetSettings, HardenSettings, fingerprint, jsonable
from sa_mlops.stages import base, evaluate, judge
from sa_mlops.stages import fisher as fim
from sa_mlops.stages.context import Context, GridLog, StageRun
from sa_mlops.stages.progress import Progress
from sa_mlops.stages.result import Result

MIN_SURROGATES = 1
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def obtain(
    ctx: Context, start: Version, settings: ForgetSettings, fisher: Version, surrogate: Tensor | None
) -> Version:
    """The generator that one step makes of `start`: from the registry, or made and measured now."""
    tags = {
        names.STAGE: "forget",
        names.PARENT: start.uri,
        names.FIM: fisher.uri,
        names.FORGOTTEN: names.spell_digits(settings.earlier + settings.forget),
        names.CONFIG: fingerprint("forget", settings),
    }
    found = ctx.reusable(names.GENERATORS, tags)
    if found is not None:
        ctx.note_reuse("forget", found)
        return found

    judges = evaluate.judges(ctx)
    title = f"forget {names.spell_digits(settings.forget)}"
    with ctx.run("forget", title, _spelled(settings, start)) as run:
        run.recorder.used(start.model_id)
        run.recorder.used(fisher.model_id)
        before = ctx.load(start)
        diagonal = fim.load(ctx, fisher, before)
        after, progress = _train(ctx, run, before, diagonal, settings, surrogate, title)

        forgotten = tuple(sorted(settings.earlier + settings.forget))
        measured = evaluate.measure(ctx, after, forgotten)
        root = evaluate.root_of(ctx, start)
        metrics = measured.metrics() | {"time.forget": progress.seconds}
        if root is not None:
            metrics |= evaluate.beside_base(ctx, root, forgotten)
        run.recorder.metrics(metrics)
        run.figure(
            before_after(
                ctx.grid(before), ctx.grid(after), forgotten=forgotten,
                title=f"{title}: judge's probability {metrics['forget.prob']:.3f}, "
                f"entropy {metrics['forget.entropy']:.3f} nats, retained accuracy {metrics['retain.accuracy']:.3f}",
            ),
            "figures/before_after.png",
        )  # fmt: skip
        version = publish.publish_generator(
            ctx.client,
            run.recorder,
            after,
            tags={
                **tags,
                names.SETTINGS: json.dumps(jsonable(settings)),
                **({names.BASE: root.uri} if root is not None else {}),
                **judges.tags(),
                **ctx.common_tags(),
            },
            description=(
                f"**{title}** from {start.uri}: probability {metrics['forget.prob']:.4f}, entropy "
                f"{metrics['forget.entropy']:.4f} nats, retained accuracy {metrics['retain.accuracy']:.4f} "
                f"(worst class {metrics['retain.accuracy_min']:.4f}), {settings.optimisation.steps} steps in "
                f"{progress.seconds:.1f} s.\n\n"
                "Pictures on the run: `figures/before_after.png`, `figures/loss.png`, `figures/gradient_norm.png`."
            ),
            metrics=metrics,
            params=_spelled(settings, start),
        )
    return ctx.note_made(version)


def _train(
    ctx: Context,
    run: StageRun,
    before: CVAE,
    diagonal: dict[str, Tensor],
    settings: ForgetSettings,
    surrogate: Tensor | None,
    title: str,
) -> tuple[CVAE, Progress]:
    steps = settings.optimisation.steps
    later = settings.harden.optimisation.steps if settings.harden else 0
    run.recorder.tags({names.STEPS: str(steps + later)})
    with Progress(title, steps, run.recorder) as progress:
        after = amnesia.forget(
            before,
            diagonal,
            settings,
            ctx.generator("forget", settings.forget, settings.earlier),
            surrogate_images=surrogate,
            report=progress,
            on_step=GridLog(ctx, run, steps),
        )
    terms = [t for t in ("forget", "replay", "ewc") if t in progress.points]
    panels = [Panel(t, [progress.curve(t, title)], log=t == "ewc") for t in terms]
    run.figure(
        loss_terms(panels, title=f"{title}: loss terms per sample, penalty with its weight"),
        "figures/loss.png",
    )
    run.figure(
        gradient_norms([progress.curve("gradient_norm", title)], title=f"{title}: gradient norm"),
        "figures/gradient_norm.png",
    )
    if settings.harden is not None:
        after = _harden(ctx, run, before, after, settings, settings.harden)
    return after, progress


def _harden(
    ctx: Context,
    run: StageRun,
    before: CVAE,
    after: CVAE,
    settings: ForgetSettings,
    how: HardenSettings,
) -> CVAE:
    """The second phase: the decoder gives the class up under attack too."""
    trainer = judge.load(ctx, judge.obtain(ctx, "trainer"))
    gone = tuple(sorted(settings.earlier + settings.forget))
    title = f"harden {names.spell_digits(gone)}"
    done = settings.optimisation.steps
    with Progress(title, how.optimisation.steps, run.recorder, before=done) as progress:
        hardened = hardening.harden(
            after, before, trainer, how, gone, ctx.generator("harden", gone), report=progress
        )
    panels = [Panel(t, [progress.curve(t, title)]) for t in ("retain", "grey", "outside", "attack", "found")]
    run.figure(
        loss_terms(panels, title=f"{title}: loss terms and attacks that succeed"), "figures/harden.png"
    )
    run.recorder.metrics({"time.harden": progress.seconds})
    return hardened


def surrogate_images(config: ForgetConfig, device: torch.device) -> tuple[Tensor | None, str | None]:
    """The user's surrogate images (n, 784) in [0, 1] and their md5; (None, None) if the surrogate is no folder.

    Pictures of any size and colour are read as grey and scaled to 28x28.

    Raises
    ------
    ParameterError : if the folder holds no picture, or one that cannot be read.
    """
    if config.surrogate in ("noise", "grey"):
        return None, None
    from PIL import Image, UnidentifiedImageError

    folder = Path(config.surrogate)
    arrays = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        try:
            with Image.open(path) as picture:
                small = picture.convert("L").resize((28, 28), Image.Resampling.BILINEAR)
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
            raise ParameterError(
                "surrogate", config.surrogate, f"a folder of images; {path.name} is none"
            ) from None
        arrays.append(np.asarray(small, dtype=np.float32).reshape(-1) / 255)
    if len(arrays) < MIN_SURROGATES:
        raise ParameterError(
            "surrogate", config.surrogate, f"a folder with pictures in it ({', '.join(IMAGE_SUFFIXES)})"
        )
    stacked = np.stack(arrays)
    return torch.from_numpy(stacked).to(device), hashlib.md5(
        stacked.tobytes(), usedforsecurity=False
    ).hexdigest()


def starting_point(ctx: Context, config: ForgetConfig) -> Version | None:
    """The generator that `from_version` names, or None for the base that is still to be obtained.

    Raises
    ------
    ParameterError : if there is none, or it has forgotten one of the classes already.
    """
    if config.from_version == "auto":
        return None
    start = ctx.named_generator("from_version", config.from_version)
    again = set(config.classes) & set(start.forgotten)
    if again:
        kept = [str(c) for c in range(CLASSES) if c not in start.forgotten]
        raise ParameterError(
            "digits" if config.digits else "digit",
            ",".join(map(str, sorted(again))),
            f"digits that {start.uri} has not forgotten ({', '.join(kept)})",
        )
    if len(set(config.classes) | set(start.forgotten)) >= CLASSES:
        raise ParameterError(
            "digits", names.spell_digits(config.classes), "fewer, so that one class is retained"
        )
    return start


def obtain_from(
    ctx: Context, config: ForgetConfig, start: Version | None, surrogate: Tensor | None, md5: str | None
) -> Version:
    """Everything upstream, then the step itself."""
    if start is None:
        recipe = BaseConfig(
            dataset=config.dataset, seed=config.seed, recipe=config.recipe, z_dim=config.z_dim
        )
        start = base.obtain(ctx, recipe.settings())
    settings = config.resolved(start.forgotten, md5)
    labels = fim.retained_labels(start)
    fisher = fim.obtain(ctx, start, FisherSettings(samples=config.fisher_samples, labels=labels))
    return obtain(ctx, start, settings, fisher, surrogate)


def run(config: ForgetConfig) -> Result:
    """Forget, and print before and after."""
    ctx = Context(config)
    start = starting_point(ctx, config)
    surrogate, md5 = surrogate_images(config, ctx.device)
    with stoppable(), ctx.entry("forget", config):
        version = obtain_from(ctx, config, start, surrogate, md5)
        return evaluate.result(ctx, version)


def _spelled(settings: ForgetSettings, start: Version) -> dict[str, str]:
    flat = jsonable(settings)
    return {k: str(v) for k, v in {**flat.pop("optimisation"), **flat, "start": start.uri}.items()}
