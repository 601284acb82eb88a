"""A generator as an MLflow model: the same images in process, loaded, loaded elsewhere and served."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from numpy.typing import NDArray
from stores import Start, Store

from sa_mlops.registry import names, versions, weights
from sa_mlops.registry.generator import draw

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("shared_store")]

LABELS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 0]
FRAME = pd.DataFrame({"label": np.array(LABELS, dtype="int64")})
ELSEWHERE = """
import sys, mlflow, numpy, pandas
model = mlflow.pyfunc.load_model("models:/sa-cvae/2")
frame = pandas.DataFrame({"label": numpy.array(%r, dtype="int64")})
numpy.save("images.npy", model.predict(frame, params={"seed": 7}))
print(sys.modules["sa_mlops"].__file__)
"""


@pytest.fixture
def expected() -> NDArray[np.float32]:
    """What the net of version 2 draws in this process with seed 7."""
    folder = versions.files(versions.get(MlflowClient(), names.GENERATORS, 2)) / "artifacts"
    return draw(weights.load_cvae(folder), torch.tensor(LABELS), 7)[:, 0].numpy()


def test_the_loaded_model_draws_the_images_of_the_net(expected: NDArray[np.float32]) -> None:
    images = mlflow.pyfunc.load_model("models:/sa-cvae/2").predict(FRAME, params={"seed": 7})
    assert (images.shape, images.dtype) == ((12, 28, 28), np.float32)
    assert 0 <= images.min() <= images.max() <= 1
    np.testing.assert_array_equal(images, expected)


def test_it_brings_all_its_code_along(
    expected: NDArray[np.float32], start: Start, tmp_path: Path, shared_store: Store
) -> None:
    process = start("-c", ELSEWHERE % (LABELS,), PYTHONPATH="")
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert Path(out.strip()).is_relative_to(shared_store.folder)
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy", allow_pickle=False), expected)


def test_the_latent_of_a_row_does_not_depend_on_the_other_labels() -> None:
    model = mlflow.pyfunc.load_model("models:/sa-cvae/1")
    alone = model.predict(FRAME[:1])
    np.testing.assert_allclose(model.predict(FRAME)[:1], alone, atol=1e-6)


def test_seeds_differ_and_the_default_is_zero() -> None:
    model = mlflow.pyfunc.load_model("models:/sa-cvae/1")
    np.testing.assert_array_equal(model.predict(FRAME), model.predict(FRAME, params={"seed": 0}))
    assert not np.array_equal(model.predict(FRAME), model.predict(FRAME, params={"seed": 1}))


def test_labels_may_be_names_as_well_as_numbers(expected: NDArray[np.float32]) -> None:
    named = pd.DataFrame({"label": [str(label) for label in LABELS]})
    images = mlflow.pyfunc.load_model("models:/sa-cvae/2").predict(named, params={"seed": 7})
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("label", [10, -1, "one", 1.5])
def test_a_label_that_is_no_class_is_refused(label: object) -> None:
    model = mlflow.pyfunc.load_model("models:/sa-cvae/1")
    with pytest.raises(ValueError, match=f"'{label}' is no class of digits"):
        model.predict(pd.DataFrame({"label": [label]}))


def test_input_of_another_schema_is_refused() -> None:
    model = mlflow.pyfunc.load_model("models:/sa-cvae/1")
    with pytest.raises(MlflowException, match=r"[Ss]chema"):
        model.predict(pd.DataFrame({"digit": [1]}))


def test_no_row_gives_no_image() -> None:
    images = mlflow.pyfunc.load_model("models:/sa-cvae/1").predict(FRAME[:0])
    assert images.shape == (0, 28, 28)


@pytest.mark.parametrize("name", names.MODELS)
def test_nothing_in_a_version_is_a_pickle(name: str) -> None:
    folder = versions.files(versions.get(MlflowClient(), name, 1))
    files = [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert "weights.safetensors" in {p.name for p in files}
    kinds = {p.suffix for p in files if p.parts[len(folder.parts)] != "code"}
    assert kinds <= {".safetensors", ".json", ".py", ".yaml", ".txt", ""}
    signs = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")
    pickled = [p.name for p in files if p.read_bytes()[:2] in signs]
    assert pickled == []


def test_its_signature_names_input_and_output() -> None:
    folder = versions.files(versions.get(MlflowClient(), names.GENERATORS, 2))
    described = yaml.safe_load((folder / "MLmodel").read_text())
    assert json.loads(described["signature"]["inputs"]) == [
        {"type": "any", "name": "label", "required": True}
    ]
    (output,) = json.loads(described["signature"]["outputs"])
    assert output["tensor-spec"] == {"dtype": "float32", "shape": [-1, 28, 28]}
    assert (folder / described["saved_input_example_info"]["artifact_path"]).is_file()


@pytest.mark.e2e
def test_a_served_version_returns_the_same_images_over_http(
    expected: NDArray[np.float32], start: Start
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    words = ("models", "serve", "-m", "models:/sa-cvae/2", "--env-manager", "local", "--port", str(port))
    server = start("-m", "mlflow", *words, PYTHONPATH="")
    wait_for(f"{address}/ping", server)
    body = {"dataframe_split": {"columns": ["label"], "data": [[d] for d in LABELS]}, "params": {"seed": 7}}
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        images = np.array(json.load(answer)["predictions"], dtype=np.float32)
    np.testing.assert_array_equal(images, expected)


def wait_for(address: str, server: subprocess.Popen[str], seconds: float = 240) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            try:
                server.wait(timeout=0.3)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(
                f"the server ended with status {server.returncode}: {server.stderr and server.stderr.read()}"
            )
    pytest.fail(f"no answer from {address} in {seconds} s")
