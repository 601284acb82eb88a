"""A generator as an MLflow pyfunc: labels in, images out. MLflow stores and runs this file as the model's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

from sa_mlops.core.runtime import make_generator
from sa_mlops.models.mlp import CVAE
from sa_mlops.registry.weights import load_cvae


class Generator(PythonModel):
    """Mean images (n, 28, 28) float32 in [0, 1] of the labels in column `label`, one latent each from `seed`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights beside this file."""
        self.model = load_cvae(Path(context.artifacts["weights"]).parent)

    def predict(  # type: ignore[override]  # MLflow takes it without the context, which is not needed
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """Draw one image a row.

        Raises
        ------
        ValueError : if a label is not from 0 to 9.
        """
        labels = torch.from_numpy(model_input["label"].to_numpy(dtype="int64", copy=True))
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
            raise ValueError("label must be from 0 to 9")
        return draw(self.model, labels, int((params or {}).get("seed", 0))).numpy()


def draw(model: CVAE, labels: torch.Tensor, seed: int) -> torch.Tensor:
    """Images (n, 28, 28) of labels (n,) with latents from `seed`; row i has the same latent whatever the other rows."""
    device = labels.device
    # PyTorch draws normals in blocks of sixteen, and a part of a block in another way.
    rows = -(-len(labels) // 16) * 16
    generator = make_generator(torch.device("cpu"), seed, "sample")
    z = torch.randn(rows, model.z_dim, generator=generator)[: len(labels)]
    with torch.inference_mode():
        return model.sample(z.to(device), labels).view(-1, 28, 28)


if __name__ != "sa_mlops.registry.generator":
    # Run by MLflow as model code, not imported by us.
    mlflow.models.set_model(Generator())
