"""`latent`: what forgetting did to the latent space of a version, drawn beside its parent's and put in numbers."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sa_mlops.config import BaseConfig, ForgetConfig, LatentConfig
from sa_mlops.core import latent as space
from sa_mlops.errors import CommandError
from sa_mlops.methods import selective_amnesia as amnesia
from sa_mlops.models.mlp import CVAE, one_hot
from sa_mlops.parameters import ParameterError
from sa_mlops.plots.animation import animated_grid, tiles
from sa_mlops.plots.curves import Panel, loss_terms, smoothed
from sa_mlops.plots.latent import (
    centroid_moves,
    distance_matrices,
    embedding_pair,
    latent_pair,
    manifold_pair,
)
from sa_mlops.plots.style import DARK, LIGHT, Theme
from sa_mlops.registry import names, versions
from sa_mlops.registry.tracking import Recorder, stoppable
from sa_mlops.registry.versions import Version
from sa_mlops.settings import CLASSES, FisherSettings, ForgetSettings, Optimisation, Update
from sa_mlops.stages import base, evaluate, forget
from sa_mlops.stages import fisher as fim
from sa_mlops.stages.context import Context, StageRun
from sa_mlops.stages.progress import Progress, say
from sa_mlops.stages.result import Result, table

Floats = NDArray[np.floating]

QUARANTINED = 0.5
"""Silhouette from which on a class is a cluster of its own ("reasonable structure", Kaufman and Rousseeuw, 1990)."""
OUTCAST = 2.0
"""How many times its centroid's distances must have grown: the reference saw them double or triple."""
DEAD = 0.9
"""Share of grey cells from which on a manifold is dead."""

SIDE = 20
UPDATES: tuple[Update, ...] = ("standard", "projected", "alternating")
UPDATE_STEPS = 300
"""Most steps that the comparison of updates takes."""
CURVE_POINTS = 50
PURPOSE = "sa.purpose"
"""On a version that this stage made for a picture; `latest` passes over it here."""
GRID_IMAGE = re.compile(r"samples\+step\+(\d+)\+timestamp\+(\d+)\+[0-9a-f-]+\.png")
"""File of a time-stepped image, as MLflow names it."""


@dataclass(frozen=True, slots=True)
class Planar:
    """Budget of the experiment with z_dim 2."""

    base_steps: int = 3_000
    forget_steps: int = 300
    fisher_samples: int = 50_000


PLANAR = Planar()
"""Half of the fast recipe's steps: two latents are learned sooner than eight."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A version, the generator it is compared with, and both encoders' posterior means of the test set.

    Attributes
    ----------
    gone : classes that the later one has forgotten and the earlier one has not.
    means_before, means_after : (n, z_dim).
    labels : (n,) int.
    subset : rows of the images that stand for all where time grows with the square of their number.
    """

    before: Version
    after: Version
    gone: tuple[int, ...]
    model_before: CVAE
    model_after: CVAE
    means_before: Floats
    means_after: Floats
    labels: NDArray[np.int64]
    subset: NDArray[np.int64]

    @property
    def named(self) -> str:
        """The forgotten classes in a sentence: `the 1`."""
        return "the " + ", ".join(map(str, self.gone))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where each class stands in one latent space, (10,) each; see `core.latent`."""

    silhouette: Floats
    purity: Floats
    outcast: Floats


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the reference reports, with our numbers.

    Attributes
    ----------
    name, says : what is claimed, in a word and in a sentence with its numbers.
    value : what decides.
    least : the claim holds from here on.
    """

    name: str
    says: str
    value: float
    least: float

    @property
    def holds(self) -> bool:
        """Whether our model bears it out."""
        return self.value >= self.least


def run(config: LatentConfig, planar: Planar = PLANAR) -> Result:
    """Draw and measure the latent space of a version and of its parent."""
    started = time.monotonic()
    ctx = Context(config)
    before, after = subject(ctx, config)
    models = check_axes(ctx, config, before, after)
    with stoppable(), ctx.entry("latent", config) as run:
        run.recorder.tags({names.STAGE: "latent", "sa.version": after.uri})
        for version in (before, after):
            run.recorder.used(version.model_id)
        pair = encode(ctx, config, before, after, models)
        claims, metrics = _space(ctx, config, run, pair)
        Recorder(ctx.client, after.run_id).metrics(metrics, model_id=after.model_id)
        _animate(ctx, run, pair)
        if config.z2:
            found, values = _planar(ctx, config, run, pair.gone, planar)
            claims, metrics = [*claims, *found], metrics | values
        updates = _updates(ctx, run, config, pair) if config.updates else {}
        metrics |= {f"latent.update.{u}.{k}": v for u, row in updates.items() for k, v in row.items()}
        metrics["time.latent"] = time.monotonic() - started
        run.recorder.metrics(metrics)
    return _result(pair, claims, updates, metrics)


def subject(ctx: Context, config: LatentConfig) -> tuple[Version, Version]:
    """The generator to compare with, and the one that is looked at.

    The first is the parent, or for a generator without one (an oracle) the newest base of its seed and data.

    Raises
    ------
    ParameterError : if there is no such version, or it has forgotten nothing.
    CommandError : if there is nothing to compare it with.
    """
    after = ctx.named_generator("version", config.version)
    if config.version == names.LATEST_ALIAS and PURPOSE in after.tags:
        for older in versions.all_versions(ctx.client, names.GENERATORS):
            if PURPOSE not in older.tags:
                say(f"{after.uri} was made for a picture; looking at {older.uri}")
                after = ctx.named_generator("version", str(older.number))
                break
    if not after.forgotten:
        raise ParameterError(
            "version", config.version, f"a generator that has forgotten a class; {after.uri} has not"
        )
    if after.parent is not None:
        return versions.get(ctx.client, names.GENERATORS, after.parent), after
    root = evaluate.root_of(ctx, after)
    if root is None:
        raise CommandError(f"{after.uri} has neither a parent nor a base here; nothing to compare it with")
    return root, after


def check_axes(ctx: Context, config: LatentConfig, before: Version, after: Version) -> tuple[CVAE, CVAE]:
    """Both nets, once they are known to have the axes that are asked for.

    Raises
    ------
    ParameterError : if they have not, or differ in their latent size.
    """
    models = ctx.load(before), ctx.load(after)
    z_dim = models[1].z_dim
    if models[0].z_dim != z_dim:
        allowed = f"a generator with the latent size of {before.uri}, {models[0].z_dim}"
        raise ParameterError("version", config.version, allowed)
    if z_dim < 2:
        raise ParameterError(
            "version", config.version, f"a generator with z_dim 2 or more; {after.uri} has 1"
        )
    if config.plane is not None and max(config.plane) >= z_dim:
        raise ParameterError("axes", config.axes, f"two different axes from 0 to {z_dim - 1}, or tsne")
    return models


def encode(
    ctx: Context, config: LatentConfig, before: Version, after: Version, models: tuple[CVAE, CVAE]
) -> Pair:
    """Posterior means of all test images under both nets, each image with its own label."""
    images, labels = ctx.dataset.test_images, ctx.dataset.test_labels
    with torch.no_grad():
        means = [model.encode(images, one_hot(labels))[0].cpu().numpy() for model in models]
    size = min(config.subset, len(labels))
    subset = np.sort(np.random.default_rng(config.seed).choice(len(labels), size, replace=False))
    gone = tuple(d for d in after.forgotten if d not in before.forgotten) or after.forgotten
    return Pair(before, after, gone, *models, means[0], means[1], labels.cpu().numpy(), subset)


def standing(means: Floats, pair: Pair, distances: Floats) -> Standing:
    """Where each class stands; silhouettes and neighbourhoods over the subset."""
    apart = space.quarantine(means[pair.subset], pair.labels[pair.subset])
    return Standing(apart.silhouette, apart.purity, space.outcast(distances))


def _space(
    ctx: Context, config: LatentConfig, run: StageRun, pair: Pair
) -> tuple[list[Claim], dict[str, float]]:
    """The maps of the pair itself, and what the reference claims about them."""
    title = f"v{pair.before.number} and v{pair.after.number}"
    say(f"{title}: silhouettes, neighbourhoods and centroids")
    claims, metrics, distances, standings = _claims(pair)
    apart, cast = claims

    say(f"{title}: t-SNE of {len(pair.subset)} test images, twice")
    shown = pair.labels[pair.subset]
    maps = space.tsne_pair(pair.means_before[pair.subset], pair.means_after[pair.subset], config.seed)
    _figure(
        run, "tsne",
        lambda theme: embedding_pair(
            maps.before, maps.after, shown, title=_heading(apart, pair), forgotten=pair.gone, theme=theme
        ),
    )  # fmt: skip

    label = pair.gone[0] if config.label is None else config.label
    say(f"{title}: manifold of label {label}, {SIDE} x {SIDE}")
    decoded = [
        _decode(ctx, model, z, label)
        for model, z in zip((pair.model_before, pair.model_after), _grids(config, pair, maps), strict=True)
    ]
    dead = [space.dead_zone(images.reshape(len(images) ** 2, -1)).share for images in decoded]
    metrics |= {"latent.dead_zone": dead[1], "latent.before.dead_zone": dead[0]}
    sentence = f"{dead[1]:.0%} of the manifold of label {label} is grey ({dead[0]:.0%} before)"
    if label in pair.gone:
        claims = [*claims, Claim("dead zone", sentence, dead[1], DEAD)]
    first, second = ("t-SNE 1", "t-SNE 2") if config.plane is None else (f"z{a + 1}" for a in config.plane)
    _figure(
        run, "manifold",
        lambda theme: manifold_pair(*decoded, title=sentence, axes_names=(first, second), theme=theme),
    )  # fmt: skip

    say(f"{title}: centroids")
    centroids = [space.class_centroids(m, pair.labels) for m in (pair.means_before, pair.means_after)]
    plane = space.joint_plane(*centroids)
    _figure(
        run, "centroids",
        lambda theme: centroid_moves(
            plane.before, plane.after, title=_heading(cast, pair), explained=plane.explained,
            forgotten=pair.gone, theme=theme,
        ),
    )  # fmt: skip
    grown = metrics["latent.distance_ratio"], metrics["latent.distance_ratio_retained"]
    _figure(
        run, "centroid_distances",
        lambda theme: distance_matrices(
            distances.before, distances.after, distances.ratio, forgotten=pair.gone, theme=theme,
            title=f"Distances to {pair.named} grow {grown[0]:.2f}-fold, those among the others {grown[1]:.2f}-fold",
        ),
    )  # fmt: skip
    run.client.log_table(run.run_id, _rows(pair, distances, *standings), "tables/latent_classes.json")
    return claims, metrics


def _claims(
    pair: Pair,
) -> tuple[list[Claim], dict[str, float], space.CentroidDistances, tuple[Standing, Standing]]:
    """Quarantine and outcast, with every number behind them; means over the forgotten classes."""
    distances = space.centroid_distances(
        space.class_centroids(pair.means_before, pair.labels),
        space.class_centroids(pair.means_after, pair.labels),
    )
    was = standing(pair.means_before, pair, distances.before)
    now = standing(pair.means_after, pair, distances.after)
    gone = list(pair.gone)
    kept = [c for c in range(CLASSES) if c not in pair.gone]
    grown = float(np.nanmean(distances.ratio[np.ix_(gone, kept)]))
    metrics = {
        "latent.silhouette": float(now.silhouette[gone].mean()),
        "latent.purity": float(now.purity[gone].mean()),
        "latent.outcast": float(now.outcast[gone].mean()),
        "latent.before.silhouette": float(was.silhouette[gone].mean()),
        "latent.before.purity": float(was.purity[gone].mean()),
        "latent.before.outcast": float(was.outcast[gone].mean()),
        "latent.distance_ratio": grown,
        "latent.distance_ratio_retained": float(np.nanmean(distances.ratio[np.ix_(kept, kept)])),
    }
    m = metrics
    claims = [
        Claim(
            "quarantine",
            f"silhouette {m['latent.silhouette']:.2f} ({m['latent.before.silhouette']:.2f} before), "
            f"{m['latent.purity']:.0%} of the nearest neighbours its own ({m['latent.before.purity']:.0%} before)",
            m["latent.silhouette"], QUARANTINED,
        ),
        Claim(
            "outcast",
            f"distances grown {grown:.2f}-fold, those among the others {m['latent.distance_ratio_retained']:.2f}-fold; "
            f"{m['latent.outcast']:.2f} times as far from the others as they from each other "
            f"({m['latent.before.outcast']:.2f} before)",
            grown, OUTCAST,
        ),
    ]  # fmt: skip
    return claims, metrics, distances, (was, now)


def _heading(claim: Claim, pair: Pair) -> str:
    """A figure's title: whether the claim holds, then its numbers."""
    subject = pair.named[0].upper() + pair.named[1:]
    verb = "are" if len(pair.gone) > 1 else "is"
    what = {"quarantine": "a cluster of its own", "outcast": "twice as far out"}[claim.name.split(",")[0]]
    return f"{subject} {verb} {what if claim.holds else f'not {what}'}: {claim.says.split(';')[0]}"


def _grids(config: LatentConfig, pair: Pair, maps: space.EmbeddingPair) -> tuple[Floats, Floats]:
    """Latents (side * side, z_dim) behind the manifold of each net: the same, or those behind its own map."""
    if config.plane is not None:
        z = space.prior_grid(pair.model_after.z_dim, config.plane, SIDE)
        return z, z
    before, after = pair.means_before[pair.subset], pair.means_after[pair.subset]
    return space.map_grid(maps.before, before, SIDE).z, space.map_grid(maps.after, after, SIDE).z


def _decode(ctx: Context, model: CVAE, z: Floats, label: int) -> NDArray[np.float32]:
    """Images (side, side, 28, 28) of latents (side * side, z_dim) under one label."""
    latents = torch.from_numpy(z).to(ctx.device)
    with torch.no_grad():
        images = model.sample(latents, torch.full((len(z),), label, device=ctx.device))
    array: NDArray[np.float32] = images.view(SIDE, SIDE, 28, 28).cpu().numpy()
    return array


def _rows(pair: Pair, distances: space.CentroidDistances, was: Standing, now: Standing) -> dict[str, Any]:
    """One row a class."""
    columns = {
        "silhouette before": was.silhouette,
        "silhouette after": now.silhouette,
        "purity before": was.purity,
        "purity after": now.purity,
        "outcast before": was.outcast,
        "outcast after": now.outcast,
        "mean distance ratio": np.nanmean(distances.ratio, axis=1),
    }
    rounded = {name: np.round(values.astype(float), 4).tolist() for name, values in columns.items()}
    return {"digit": list(range(CLASSES)), "forgotten": [c in pair.gone for c in range(CLASSES)]} | rounded


def _planar(
    ctx: Context, config: LatentConfig, run: StageRun, gone: tuple[int, ...], budget: Planar
) -> tuple[list[Claim], dict[str, float]]:
    """Base and amnesia with z_dim 2, a lineage of its own whose latent space needs no map."""
    newest = max((v.number for v in versions.all_versions(ctx.client, names.GENERATORS)), default=0)
    aliases = dict(ctx.client.get_registered_model(names.GENERATORS).aliases)
    common: dict[str, Any] = {
        "dataset": config.dataset,
        "seed": config.seed,
        "device": config.device,
        "z_dim": 2,
    }
    try:
        start = base.obtain(ctx, BaseConfig(**common, steps=budget.base_steps).settings())
        recipe = ForgetConfig(
            **common, digits=gone, steps=budget.forget_steps, fisher_samples=budget.fisher_samples
        )
        after = forget.obtain_from(ctx, recipe, start, None, None)
    finally:
        # A base made for a picture is not the project's base.
        if names.BASE_ALIAS in aliases:
            ctx.client.set_registered_model_alias(
                names.GENERATORS, names.BASE_ALIAS, str(aliases[names.BASE_ALIAS])
            )
    for version in (start, after):
        if version.number > newest:
            ctx.client.set_model_version_tag(version.name, str(version.number), PURPOSE, "latent z_dim=2")
    pair = encode(ctx, config, start, after, (ctx.load(start), ctx.load(after)))
    claims, metrics, _, _ = _claims(pair)
    rows = pair.subset
    _figure(
        run, "z2",
        lambda theme: latent_pair(
            pair.means_before[rows], pair.means_after[rows], pair.labels[rows],
            title=f"z_dim 2: {_heading(claims[0], pair)}", forgotten=gone, theme=theme,
        ),
    )  # fmt: skip
    named = [replace(c, name=f"{c.name}, z_dim 2") for c in claims]
    return named, {k.replace("latent.", "latent.z2.", 1): v for k, v in metrics.items()}


def _animate(ctx: Context, run: StageRun, pair: Pair) -> None:
    """How the base learned and how the version forgot, from the grids that their runs logged."""
    root = evaluate.root_of(ctx, pair.after)
    if root is not None:
        _animation(run, root, "learning", "loss", ())
    if pair.after.stage == "forget":
        _animation(run, pair.after, "forgetting", "forget", pair.after.forgotten)


def _animation(run: StageRun, version: Version, name: str, term: str, gone: tuple[int, ...]) -> None:
    grids = logged_grids(run.client, version)
    if not grids:
        say(f"{version.title}: its run holds no sample grids; nothing to animate")
        return
    say(f"{version.title}: {len(grids)} sample grids animated")
    history = {m.step: m.value for m in run.client.get_metric_history(version.run_id, f"train.{term}")}
    captions = [_caption(step, max(grids), term, history) for step in grids]
    with tempfile.TemporaryDirectory() as folder:
        for theme in (LIGHT, DARK):
            path = Path(folder) / _file(name, theme, "gif")
            path.write_bytes(
                animated_grid(list(grids.values()), captions, forgotten=gone, milliseconds=250, theme=theme)
            )
            run.client.log_artifact(run.run_id, str(path), "figures")


def logged_grids(client: MlflowClient, version: Version) -> dict[int, Floats]:
    """Sample grids (rows, 10, 28, 28) that a version's run logged while it trained, by step; empty without any."""
    try:
        folder = Path(client.download_artifacts(version.run_id, "images"))
    except (MlflowException, OSError):
        return {}
    found: dict[int, tuple[int, Path]] = {}
    for path in folder.iterdir():
        match = GRID_IMAGE.fullmatch(path.name)
        if match:
            step, stamp = int(match[1]), int(match[2])
            found[step] = max(found.get(step, (0, path)), (stamp, path))
    grids = {}
    for step, (_, path) in sorted(found.items()):
        try:
            with Image.open(path) as picture:
                grids[step] = tiles(np.asarray(picture.convert("L")), 2)
        except (UnidentifiedImageError, OSError, ValueError):
            say(f"{path.name}: not a grid of samples; left out")
    return grids


def _caption(step: int, last: int, term: str, history: Mapping[int, float]) -> str:
    """Step, and the loss there, between the steps where it was logged."""
    text = f"step {step} of {last}"
    if not history or not min(history) <= step <= max(history):
        return text
    value = np.interp(step, sorted(history), [history[s] for s in sorted(history)])
    return f"{text}   {'loss' if term == 'loss' else f'{term} term'} {value:,.1f} nats"


def _updates(ctx: Context, run: StageRun, config: LatentConfig, pair: Pair) -> dict[str, dict[str, float]]:
    """Forget again with each update, at equal draws, and compare the curves; nothing is registered.

    Returns where each ends: means over the last tenth of the steps.
    """
    settings = own_settings(pair.after)
    if settings is None:
        recipe = ForgetConfig(dataset=config.dataset, seed=config.seed, digits=pair.gone)
        settings = recipe.resolved(pair.before.forgotten, None)
    steps = min(settings.optimisation.steps, UPDATE_STEPS)
    settings = replace(settings, optimisation=replace(settings.optimisation, steps=steps))
    diagonal = fim.load(ctx, _fisher(ctx, pair), pair.model_before)
    done: dict[str, Progress] = {}
    for update in UPDATES:
        title = f"{update} update"
        with ctx.run(
            "update", title, {"update": update, "steps": str(steps), "start": pair.before.uri}
        ) as nested:
            nested.recorder.used(pair.before.model_id)
            with Progress(title, steps, nested.recorder) as progress:
                # Every step: an alternating run has one kind of gradient in odd steps, the other in even ones.
                progress.every = 1
                amnesia.forget(
                    pair.model_before,
                    diagonal,
                    replace(settings, update=update),
                    ctx.generator("forget", settings.forget, settings.earlier),
                    report=progress,
                )
            done[update] = progress
    ends = {u: {t: _end(p, t) for t in ("forget", "replay", "ewc", "gradient_norm")} for u, p in done.items()}
    width = max(2, 2 * round(steps / CURVE_POINTS / 2))
    panels = [
        Panel(words, [smoothed(p.curve(term, u), width) for u, p in done.items()], log=term != "replay")
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
    _figure(run, "updates", lambda theme: loss_terms(panels, title=words, unit="", theme=theme))
    return ends


def own_settings(version: Version) -> ForgetSettings | None:
    """The settings that made a version, from its tags; None if it was not made by the plain loop, or from images."""
    try:
        fields = json.loads(version.tags.get(names.SETTINGS, "null"))
        optimisation = Optimisation(**fields.pop("optimisation"))
        fields |= {name: tuple(fields[name]) for name in ("forget", "earlier")}
        settings = ForgetSettings(**fields, optimisation=optimisation)
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
    return None if settings.harden is not None or settings.surrogate == "images" else settings


def _fisher(ctx: Context, pair: Pair) -> Version:
    """The Fisher diagonal that protected the step, or else the parent's own."""
    target = names.parse_uri(pair.after.tags.get(names.FIM, ""))
    if target is not None:
        return versions.get(ctx.client, *target)
    return fim.obtain(
        ctx, pair.before, FisherSettings(samples=50_000, labels=fim.retained_labels(pair.before))
    )


def _end(progress: Progress, term: str) -> float:
    values = progress.curve(term, term).y
    return float(values[-max(2, len(values) // 10) :].mean())


def _file(name: str, theme: Theme, suffix: str) -> str:
    return f"{name}.{suffix}" if theme is LIGHT else f"{name}_{theme.name}.{suffix}"


def _figure(run: StageRun, name: str, draw: Callable[[Theme], Figure]) -> None:
    """Log a figure in both themes."""
    for theme in (LIGHT, DARK):
        run.figure(draw(theme), f"figures/{_file(name, theme, 'png')}")


def _result(
    pair: Pair,
    claims: Sequence[Claim],
    updates: Mapping[str, Mapping[str, float]],
    metrics: Mapping[str, float],
) -> Result:
    document = {
        "version": pair.after.uri,
        "compared_with": pair.before.uri,
        "forgotten": list(pair.gone),
        "claims": [
            {"claim": c.name, "says": c.says, "value": c.value, "holds_from": c.least, "holds": c.holds}
            for c in claims
        ],
        "updates": {u: dict(row) for u, row in updates.items()},
        "metrics": dict(sorted(metrics.items())),
    }
    lines = [f"{pair.after.uri}: {pair.after.title}, beside {pair.before.uri}", ""]
    for c in claims:
        word = "holds" if c.holds else f"does not hold ({c.value:.2f}, from {c.least:g} on)"
        lines.append(f"{c.name}: {word}\n  {c.says}")
    if updates:
        rows = [
            [u, f"{r['forget']:.1f}", f"{r['replay']:.1f}", f"{r['ewc']:.1f}", f"{r['gradient_norm']:.3g}"]
            for u, r in updates.items()
        ]
        header = ["update, last tenth of its steps", "forget", "replay", "penalty", "gradient norm"]
        lines += ["", table(header, rows)]
    return Result(document, "\n".join(lines))
