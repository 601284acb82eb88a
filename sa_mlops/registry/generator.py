"""A generator as an MLflow pyfunc: classes in, images out. MLflow stores and runs this file as the model's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
import yaml
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

from sa_mlops.core.runtime import make_generator
from sa_mlops.models.interface import CVAE
from sa_mlops.registry import signing
from sa_mlops.registry.weights import load_cvae

META = "registered_model_meta"
"""File in a model's folder into which MLflow writes the version that it fetches."""


class Generator(PythonModel):
    """Mean images float32 in [0, 1] of the classes in column `label`, one latent each from `seed`.

    Images are (n, H, W) for one channel and (n, H, W, C) for colour.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights beside this file.

        Raises SigningError if a key is trusted, and the weights are unsigned, altered or signed for another version.
        """
        folder = Path(context.artifacts["weights"]).parent
        if uri := loaded_as(folder.parent):
            signing.require_own(folder, uri)
        self.model = load_cvae(folder)

    def predict(  # type: ignore[override]  # MLflow takes it without the context, which is not needed
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """Draw one image a row.

        Raises ValueError, naming a label that is neither the name nor the number of a class.
        """
        indices = self.model.spec.indices(map(str, model_input["label"]))
        labels = torch.tensor(indices, dtype=torch.int64)
        images = draw(self.model, labels, int((params or {}).get("seed", 0)))
        return (images.squeeze(1) if self.model.shape[0] == 1 else images.permute(0, 2, 3, 1)).numpy()


def loaded_as(folder: Path) -> str:
    """URI of the version that MLflow has fetched a model's folder for; empty if it was not asked for a version."""
    try:
        told = yaml.safe_load((folder / META).read_text())
        name, number = told["model_name"], told["model_version"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return ""
    return f"models:/{name}/{number}" if name and number else ""


def draw(model: CVAE, labels: torch.Tensor, seed: int) -> torch.Tensor:
    """Images (n, C, H, W) of labels (n,); the latent of row i depends on `seed` and i alone."""
    device = labels.device
    # PyTorch draws normals in blocks of sixteen, and an incomplete block by another algorithm.
    rows = -(-len(labels) // 16) * 16
    generator = make_generator(torch.device("cpu"), seed, "sample")
    z = torch.randn(rows, model.z_dim, generator=generator)[: len(labels)]
    with torch.inference_mode():
        return model.sample(z.to(device), labels)


if __name__ != "sa_mlops.registry.generator":
    # MLflow runs this file as model code.
    mlflow.models.set_model(Generator())
