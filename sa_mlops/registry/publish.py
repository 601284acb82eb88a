"""Publication of nets as registered versions. Registration comes last, so that a failure leaves no version."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType

from sa_mlops.datasets.spec import DataSpec
from sa_mlops.errors import in_one_line
from sa_mlops.models.interface import CVAE
from sa_mlops.registry import names, versions, weights
from sa_mlops.registry.tracking import Recorder
from sa_mlops.registry.version import Version

PACKAGE = Path(__file__).resolve().parent.parent
REQUIREMENTS = ("mlflow", "torch", "safetensors", "numpy", "pandas", "filelock")


def signature(spec: DataSpec) -> ModelSignature:
    """Class names or numbers in, images (n, H, W) or, for colour, (n, H, W, C) out."""
    channels, h, w = spec.shape
    shape = (-1, h, w) if channels == 1 else (-1, h, w, channels)
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), "label")]),  # type: ignore[no-untyped-call]
        outputs=Schema([TensorSpec(np.dtype("float32"), shape)]),
        params=ParamSchema([ParamSpec("seed", "long", 0)]),
    )


def publish_generator(
    client: MlflowClient,
    recorder: Recorder,
    model: CVAE,
    *,
    tags: Mapping[str, str],
    description: str,
    metrics: Mapping[str, float],
    params: Mapping[str, str],
) -> Version:
    """Log a generator with its metrics as a pyfunc model of the active run, and register it as a `sa-cvae` version."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights.save_cvae(folder, model)
        info = mlflow.pyfunc.log_model(
            name="generator",
            python_model=str(PACKAGE / "registry" / "generator.py"),
            artifacts={
                key: str(folder / file)
                for key, file in (("weights", weights.WEIGHTS), ("config", weights.CONFIG))
            },
            code_paths=[str(PACKAGE)],
            signature=signature(model.spec),
            input_example=pd.DataFrame({"label": list(model.spec.classes)}),
            pip_requirements=[f"{package}=={installed(package)}" for package in REQUIREMENTS],
            params=dict(params),
            model_type="cvae",
        )
    recorder.metrics(metrics, model_id=info.model_id)
    return versions.register(
        client,
        names.GENERATORS,
        model_id=info.model_id,
        run_id=recorder.run_id,
        tags=tags,
        description=description,
    )


def put(client: MlflowClient, version: Version, file: Path) -> None:
    """Put a file beside a version's weights, in place of one of that name.

    Raises VersionError if the version has no files in this store, or they may not be written.
    """
    kept = versions.files(version) / versions.place(version) / file.name
    try:
        if kept.is_symlink():
            kept.unlink()  # MLflow would write into the file that it points to
        client.log_model_artifact(str(version.model_id), str(file), versions.place(version) or None)
    except (MlflowException, OSError) as error:
        raise versions.VersionError(
            f"{version.uri}: {file.name} cannot be stored ({in_one_line(error)})"
        ) from None


def withdraw(client: MlflowClient, version: Version, reason: str) -> None:
    """Let every loader refuse a version's weights: its config is replaced by the reason, and kept inside.

    Raises VersionError if its files are lost or may not be written.
    """
    folder = versions.files(version) / versions.place(version)
    if weights.withdrawal(folder) is not None:
        return
    config = None
    with suppress(weights.WeightsError):  # a damaged one is replaced as well
        config = weights.read_config(folder)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / weights.CONFIG
        content = {"kind": weights.WITHDRAWN, "reason": reason, "config": config}
        file.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        put(client, version, file)


def publish_files(
    client: MlflowClient,
    recorder: Recorder,
    name: str,
    write: Callable[[Path], None],
    *,
    tags: Mapping[str, str],
    description: str,
    metrics: Mapping[str, float],
    params: Mapping[str, str],
) -> Version:
    """Log the files that `write` puts into a folder as a model of the run, and register it as a version of `name`."""
    kind = name.removeprefix("sa-")
    experiment = client.get_run(recorder.run_id).info.experiment_id
    model = client.create_logged_model(
        experiment, name=kind, source_run_id=recorder.run_id, model_type=kind, params=dict(params)
    )
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    recorder.made(model.model_id)
    recorder.metrics(metrics, model_id=model.model_id)
    return versions.register(
        client, name, model_id=model.model_id, run_id=recorder.run_id, tags=tags, description=description
    )
