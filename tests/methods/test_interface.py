"""A method is one file: found, offered as options, recorded and run without another change."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from stores import ROOT
from torch import Tensor

from sa_mlops.core.runtime import make_generator
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.methods import interface
from sa_mlops.methods.interface import Inputs, StepSettings, train_step
from sa_mlops.models.interface import make_net

PRELUDE = f"""
import sys
import sa_mlops.methods
sa_mlops.methods.__path__.append({str(ROOT / "tests" / "toys" / "methods")!r})
"""


def python(code: str, status: int = 0) -> str:
    """What a fresh process prints that finds the toy method too."""
    command = [sys.executable, "-c", PRELUDE + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_its_name_and_options_are_in_the_help_of_forget() -> None:
    told = python("from sa_mlops.cli import main; sys.exit(main(['forget', '--help']))")
    words = " ".join(told.split()).replace("- ", "-")
    assert "mute, random-label, redaction" in words
    assert "--share FLOAT share of the way to the mean; a number from 0 to 1" in words


def test_its_options_are_refused_for_another_method() -> None:
    told = python("from sa_mlops.cli import main; sys.exit(main(['forget', '--share', '0.1']))", 2)
    assert told == "sa-mlops: --share: '0.1' is not allowed; give it only with --method mute\n"


def test_it_runs_and_its_settings_are_recorded_and_read_back() -> None:
    code = """
import json
import torch
from sa_mlops.config import ForgetConfig
from sa_mlops.core.runtime import make_generator
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.methods.interface import Inputs, train_step
from sa_mlops.models.interface import make_net
from sa_mlops.registry.recorded import read_step
from sa_mlops.settings import fingerprint, jsonable

settings = ForgetConfig(method="mute", classes=("3",), share=0.25).resolved((0,), None)
assert (settings.forget, settings.earlier, settings.length, settings.target) == ((3,), (0,), 1, "another class")
assert read_step(json.dumps(jsonable(settings)), 10) == settings
assert jsonable(settings)["method"] == "mute"
start = make_net("mlp", SPEC, 2).requires_grad_(False)
after = train_step(start, settings, Inputs(), lambda *key: make_generator(torch.device("cpu"), 0, *key))
before, now = (net.decoder[0].weight[:, 2:] for net in (start, after))
assert torch.allclose(now[:, 3], before[:, 3] + 0.25 * (before.mean(dim=1) - before[:, 3]), atol=1e-6)
print(fingerprint("forget", settings) != fingerprint("forget", ForgetConfig(classes=("3",)).resolved((0,), None)))
"""
    assert python(code) == "True\n"


def step(**changed: Any) -> StepSettings:
    return (
        interface.named("selective-amnesia")
        .config()
        .resolve(
            StepSettings(**{"forget": (1,), "earlier": (), "harden": None} | changed),
            interface.Upstream(recipe="fast", z_dim=2, net="mlp"),
        )
    )


def test_a_step_without_an_input_that_its_method_needs_is_refused() -> None:
    start = make_net("mlp", SPEC, 2)
    with pytest.raises(ValueError, match="selective-amnesia needs the input fisher"):
        train_step(start, step(), Inputs(), lambda *key: make_generator(torch.device("cpu"), 0, *key))


@pytest.mark.parametrize("name", interface.known())
def test_every_method_describes_itself(name: str) -> None:
    method = interface.named(name)
    assert method.name == name
    assert method.help
    assert method.target in ("grey", "noise", "another class", "as retrained")
    assert issubclass(method.recorded, StepSettings)


def test_methods_are_read_without_torch() -> None:
    code = "import sa_mlops.config, sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


def test_retraining_gives_the_generator_of_the_entry_point() -> None:
    from sa_mlops import keys
    from sa_mlops.config import BaseConfig, ForgetConfig
    from sa_mlops.core.training import train_generator
    from sa_mlops.datasets.spec import Dataset

    images = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 10
    data = Dataset(SPEC, "", images, labels, images, labels)

    def generator(*key: object) -> torch.Generator:
        return make_generator(torch.device("cpu"), 0, *key)

    options: dict[str, Any] = {"z_dim": 2, "steps": 3, "batch_size": 8}
    control = BaseConfig(**options).settings(without=(1,))
    wanted = train_generator(images, labels, SPEC, control, generator(*keys.base((1,))))
    settings = ForgetConfig(method="retrain", classes=("1",), **options).resolved((), None)
    made = train_step(make_net("mlp", SPEC, 2), settings, Inputs(data=data), generator)
    state: dict[str, Tensor] = wanted.state_dict()
    assert all(torch.equal(state[name], value) for name, value in made.state_dict().items())
