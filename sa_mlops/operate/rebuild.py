"""`verify --reproduce`: rebuild a version and its parents from a certificate alone, and compare weights."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

from sa_mlops import datasets
from sa_mlops.core.fisher import Diagonal, combine
from sa_mlops.core.runtime import DeviceError, machine, prepare, resolve_device
from sa_mlops.datasets import pin
from sa_mlops.methods.interface import Inputs, named, needs_classifier, train_step
from sa_mlops.models.interface import CVAE
from sa_mlops.operate.reproduce import ReproduceError, compare
from sa_mlops.operate.verify import MODEL
from sa_mlops.registry import names, provenance, recorded, tracking, weights
from sa_mlops.registry.recorded import RecordedError
from sa_mlops.registry.stopping import stoppable
from sa_mlops.settings import BaseSettings, FisherSettings, fingerprint
from sa_mlops.stages import base, fisher
from sa_mlops.stages.context import Context
from sa_mlops.stages.progress import Progress, watching
from sa_mlops.stages.result import Result
from sa_mlops.stages.runs import Runs

SHOWN = 10
"""Tensors and packages that differ and are named."""


def rebuild(folder: Path, statement: Mapping[str, Any]) -> Result:
    """Rebuild the generators of a verified certificate, parents first, and compare each one's digest.

    Raises ReproduceError if data, code or device are not those of the certificate, or a step cannot be rebuilt from it.

    Parameters
    ----------
    folder : the certificate.
    statement : its statement, as `verify` returns it.
    """
    found = statement["predicate"]
    chain = [entry for entry in found["lineage"] if entry["uri"].startswith(f"models:/{names.GENERATORS}/")]
    if not chain or not all({"stage", "code", "settings"} <= entry.keys() for entry in chain):
        raise ReproduceError(
            "the certificate does not record how the parents were made; certify the version again"
        )
    uri = found["version"]["uri"]
    differences: list[str] = []
    with tempfile.TemporaryDirectory() as name, stoppable():
        place = Path(name)
        ctx = _context(found, place)
        lines = [*_elsewhere(found)]  # the machine is described once its device is prepared
        made: dict[str, CVAE] = {}
        diagonals: dict[str, Diagonal] = {}
        for entry in chain:
            model = made[entry["uri"]] = _step(ctx, entry, made, diagonals)
            weights.save_cvae(place, model)
            digest = hashlib.sha256((place / weights.WEIGHTS).read_bytes()).hexdigest()
            equal = digest == entry["weights"]
            lines.append(f"{entry['uri']}: rebuilt, {'equal' if equal else 'with another digest'}")
            differences += [] if equal else [entry["uri"]]
        if uri in differences:
            signed = load_file(folder / MODEL / weights.WEIGHTS)
            lines += [
                f"{tensor.tensor}: differs by up to {tensor.difference:.3g}"
                for tensor in compare(signed, made[uri].state_dict())
                if tensor.difference
            ]
    document = {"version": uri, "reproduced": not differences, "differences": differences, "notes": lines}
    return Result(document, "\n".join(lines), not differences)


def _context(found: Mapping[str, Any], place: Path) -> Context:
    """Data and device of the certificate, and a store in `place` that is not written to."""
    name, md5 = found["data"]["name"], found["data"]["md5"]
    if name not in datasets.known():
        raise ReproduceError(f"the data set {name[:40]!r} of the certificate is unknown here")
    kind = found["environment"]["machine"].partition(":")[0] or "cpu"
    try:
        device = resolve_device(kind)
    except DeviceError as error:
        raise ReproduceError(f"the version was made on {kind[:20]}, which is not here: {error}") from None
    prepare(device)
    data = datasets.load(name, device)
    if data.md5 != md5:
        raise ReproduceError(f"the certificate is of data {md5[:40]!r}; the data here is {data.md5!r}")
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    return Context(client, device, data, 0, False, Runs(client, data.name, data.md5))


def _step(
    ctx: Context, entry: Mapping[str, Any], made_before: Mapping[str, CVAE], diagonals: dict[str, Diagonal]
) -> CVAE:
    """One generator, from nothing or from the newest of those before it; `diagonals` is filled on the way."""
    uri, count, made = entry["uri"], ctx.dataset.spec.count, entry["settings"]
    own = ctx.reseeded(_seed(entry, made))
    text = json.dumps(made["values"])
    try:
        if entry["stage"] in ("base", "retrain"):
            recipe = recorded.read(BaseSettings, text, count)
            _same_code(entry, made, "base", recipe)
            with Progress(f"rebuilding {uri}", recipe.optimisation.steps) as progress:
                return base.train(own, recipe, progress).requires_grad_(False)
        step = recorded.read_step(text, count)
        _same_code(entry, made, "forget", step)
        if not made_before or needs_classifier(step):
            raise ReproduceError(f"{uri} needs a judge or a parent that the certificate does not hold")
        if getattr(step, "surrogate_md5", None) is not None:
            raise ReproduceError(f"{uri} was made with a folder of images that the certificate does not hold")
        used: Diagonal = {}
        if named(step.method).needs.fisher:
            used = _diagonal(ctx, entry, entry.get("fisher"), made_before, diagonals)
    except RecordedError as error:
        raise ReproduceError(f"{uri}: {error}; it was made by other code") from None
    before = list(made_before.values())[-1]
    inputs, watch = Inputs(fisher=used, data=ctx.dataset), watching(f"rebuilding {uri}")
    return train_step(before, step, inputs, own.generator, watch=watch).requires_grad_(False)


def _diagonal(
    ctx: Context,
    entry: Mapping[str, Any],
    sampled: Mapping[str, Any] | None,
    made: Mapping[str, CVAE],
    known: dict[str, Diagonal],
) -> Diagonal:
    """A Fisher diagonal for the penalty of a step: estimated anew, or the sum of estimated diagonals."""
    if sampled is None or not all(key in sampled for key in ("uri", "of", "settings")):
        raise ReproduceError(
            f"{entry['uri']}: the certificate does not record how its Fisher diagonal was made"
        )
    uri, of, settings, parts = sampled["uri"], sampled["of"], sampled["settings"], sampled.get("sum")
    if of not in made:
        raise ReproduceError(f"{entry['uri']}: {uri} is of {of[:80]!r}, which the certificate does not hold")
    if uri not in known:
        if parts:
            _same_code(entry, settings, "fim", {fisher.SUM: [part["uri"] for part in parts]})
            known[uri] = combine([_diagonal(ctx, entry, part, made, known) for part in parts])
        else:
            sampling = recorded.read(FisherSettings, json.dumps(settings["values"]), ctx.dataset.spec.count)
            _same_code(entry, settings, "fim", sampling)
            own = ctx.reseeded(_seed(entry, settings))
            with Progress(f"rebuilding {uri}", sampling.samples, unit="sample") as progress:
                known[uri] = fisher.estimate(own, made[of], sampling, progress)
    return known[uri]


def _seed(entry: Mapping[str, Any], made: Mapping[str, Any]) -> int:
    if not re.fullmatch(r"\d{1,10}", str(made["seed"])):
        raise ReproduceError(f"{entry['uri']}: the certificate records no seed")
    return int(made["seed"])


def _same_code(entry: Mapping[str, Any], made: Mapping[str, Any], stage: str, settings: object) -> None:
    """Refuse settings whose hash, which covers the revision of the stage's code, is another one here."""
    if fingerprint(stage, settings) != made["sha256"]:
        commit = entry["code"].removesuffix("-dirty")
        where = f": `git checkout {commit}` and verify there" if commit.isalnum() else ""
        raise ReproduceError(f"{entry['uri']} was made by other code{where}")


def _elsewhere(found: Mapping[str, Any]) -> Sequence[str]:
    """Differences here that may change the last digits: commit, machine, packages."""
    kind = found["environment"]["machine"].partition(":")[0] or "cpu"
    pairs = [("machine", found["environment"]["machine"], machine(torch.device(kind)))]
    try:
        pairs.insert(0, ("commit", found["code"]["revision"], tracking.git_commit(pin.project_root())))
    except pin.DataError:
        pairs.insert(0, ("commit", found["code"]["revision"], ""))
    then = dict(line.split("==", 1) for line in found["environment"]["packages"])
    now = provenance.packages()
    changed = [n for n in sorted({*then, *now}) if then.get(n) != now.get(n)]
    pairs += [(n, then.get(n, ""), now.get(n, "")) for n in changed[:SHOWN]]
    return [
        f"{what}: {before or 'none'} then, {here or 'none'} here"
        for what, before, here in pairs
        if before != here
    ]
