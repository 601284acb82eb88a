"""A data set, a net and a method of one file each, from the command line to a registered version."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from stores import Store, with_toys

from sa_mlops.registry import names, versions

pytestmark = pytest.mark.integration

TOYS = "--dataset,shapes,--net,tiny,--z-dim,2"
BASE = f"base,{TOYS},--steps,300"
FORGET = f"forget,{TOYS},--from-version,1,--method,mute,--share,0.9,--classes,check mark,--json"


def test_forget_takes_a_data_set_a_net_and_a_method_of_one_file_each(
    empty_store: Store, tmp_path: Path
) -> None:
    said = with_toys(BASE, FORGET)
    document = json.loads(said[said.index("{") :])
    assert document["forgotten"] == ["Check mark"]
    assert {"class.disc.prob", "base.class.Check mark.accuracy", "forget.prob"} <= document["metrics"].keys()
    metrics = document["metrics"]
    assert metrics["class.Check mark.accuracy"] < metrics["base.class.Check mark.accuracy"]
    base, made = (versions.get(MlflowClient(), names.GENERATORS, n) for n in (1, 2))
    assert made.parent == base.number
    assert made.classes == ("bar", "disc", "Check mark")
    assert (made.method, made.net, base.net) == ("mute", "tiny", "tiny")
    assert made.tags[names.TARGET] == "another class"
    assert names.FIM not in made.tags, "a method without a penalty needs no Fisher diagonal"
    assert made.settings["share"] == 0.9


CONV = "--dataset,shapes,--z-dim,2"
COMMANDS = (
    f"base,{CONV},--steps,60",
    f"forget,{CONV},--from-version,1,--classes,disc,--steps,20,--fisher-samples,100",
    f"retrain,{CONV},--steps,20,--classes,disc",
    "reproduce,2,--json",
    "latent,--dataset,shapes,--version,2,--subset,200,--z2,false,--updates,false,--json",
    f"probe,{CONV},--version,2,--probes,latent_walk,--attempts,10,--relearn,false,--no-train,--json",
    f"sequential,{CONV},--from-version,1,--classes,bar,--steps,5,--fisher-samples,50,--json",
    "sample,2,--classes,0,--json",
)


def test_every_stage_takes_the_convolutional_net_which_colour_images_get(
    empty_store: Store, tmp_path: Path
) -> None:
    said = with_toys(*COMMANDS)
    made = [versions.get(MlflowClient(), names.GENERATORS, n) for n in (1, 2, 3, 4)]
    assert [v.stage for v in made] == ["base", "forget", "retrain", "forget"]
    assert {v.net for v in made} == {"conv"}
    assert '"max_abs_difference": 0.0' in said
    drawn = mlflow.pyfunc.load_model(made[1].uri).predict(pd.DataFrame({"label": ["disc", 0]}))
    assert drawn.shape == (2, 8, 12, 3)
