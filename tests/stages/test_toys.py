"""A data set, two nets and a method of one file each, from the command line to registered versions."""

from __future__ import annotations

import json
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from stores import Store, isolate, with_toys

from sa_mlops.registry import names, versions
from sa_mlops.registry.version import Version

pytestmark = pytest.mark.integration

TINY, CONV = "--dataset,shapes,--net,tiny,--z-dim,2", "--dataset,shapes,--z-dim,2"
FORGET = f"forget,{TINY},--from-version,1,--method,mute,--share,0.9,--classes,check mark,--json"
COMPARE = f"compare,{TINY},--from-version,1,--classes,disc,--seeds,0,--methods,retrain,--steps,5,--json"
CONTROL = f"forget,{TINY},--from-version,1,--classes,disc,--method,retrain,--seed,0,--json"
COMMANDS = (
    f"base,{TINY},--steps,300",
    FORGET,
    COMPARE,
    CONTROL,
    f"base,{CONV},--steps,60",
    f"forget,{CONV},--from-version,4,--classes,disc,--steps,20,--fisher-samples,100",
    f"retrain,{CONV},--steps,20,--classes,disc",
    "reproduce,5,--json",
    "latent,--dataset,shapes,--version,5,--subset,200,--z2,false,--updates,false,--json",
    f"probe,{CONV},--version,5,--probes,latent_walk,--attempts,10,--relearn,false,--no-train,--json",
    f"sequential,{CONV},--from-version,4,--classes,bar,--steps,5,--fisher-samples,50,--json",
    "sample,5,--classes,0,--json",
)


@pytest.fixture(scope="module")
def done(blank_store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    """The store, and what each command printed as JSON. They run in one process, which knows the toys."""
    folder = tmp_path_factory.mktemp("toys")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        store = blank_store.copy(folder)
        text = with_toys(*COMMANDS)
    decoder, documents = json.JSONDecoder(), []
    while (start := text.find("{")) >= 0:
        document, end = decoder.raw_decode(text[start:])
        documents.append(document)
        text = text[start + end :]
    return store, dict(zip((c for c in COMMANDS if c.endswith("--json")), documents, strict=True))


@pytest.fixture
def said(done: tuple[Store, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Command -> the document that it printed."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", done[0].uri)
    return done[1]


def generator(number: int) -> Version:
    return versions.get(MlflowClient(), names.GENERATORS, number)


def test_forget_takes_a_data_set_a_net_and_a_method_of_one_file_each(said: dict[str, Any]) -> None:
    document = said[FORGET]
    assert document["forgotten"] == ["Check mark"]
    assert {"class.disc.prob", "base.class.Check mark.accuracy", "forget.prob"} <= document["metrics"].keys()
    metrics = document["metrics"]
    assert metrics["class.Check mark.accuracy"] < metrics["base.class.Check mark.accuracy"]
    base, made = generator(1), generator(2)
    assert made.parent == base.number
    assert made.classes == ("bar", "disc", "Check mark")
    assert (made.method, made.net, base.net) == ("mute", "tiny", "tiny")
    assert made.tags[names.TARGET] == "another class"
    assert names.FIM not in made.tags, "a method without a penalty needs no Fisher diagonal"
    assert made.settings["share"] == 0.9


def test_the_control_of_a_comparison_keeps_the_steps_of_its_recipe_and_its_command_finds_it(
    said: dict[str, Any],
) -> None:
    (base, control), again = said[COMPARE]["rows"], said[CONTROL]
    assert (base["method"], control["method"]) == ("base", "retrain")
    assert (control["needs_data"], control["target"]) == (True, "as retrained")
    assert control["forget.prob"] < 0.5 < base["forget.prob"]
    assert set(control["command"].split()[1:]) == set(CONTROL.split(",")) - {"--json"}
    assert again["version"] == control["version"]
    assert again["metrics"]["forget.prob"] == control["forget.prob"]
    assert json.loads(again["tags"]["sa.settings"])["optimisation"]["steps"] == 400


def test_every_stage_takes_the_convolutional_net_which_colour_images_get(said: dict[str, Any]) -> None:
    made = [generator(number) for number in (4, 5, 6, 7)]
    assert [v.stage for v in made] == ["base", "forget", "retrain", "forget"]
    assert {v.net for v in made} == {"conv"}
    assert said["reproduce,5,--json"]["max_abs_difference"] == 0.0
    drawn = mlflow.pyfunc.load_model(made[1].uri).predict(pd.DataFrame({"label": ["disc", 0]}))
    assert drawn.shape == (2, 8, 12, 3)
