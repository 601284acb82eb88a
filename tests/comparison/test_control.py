"""The retrained control as a row of a comparison, on a data set and a net of one file each."""

from __future__ import annotations

import json

import pytest
from stores import Store, with_toys

pytestmark = pytest.mark.integration

TOYS = "--dataset,shapes,--net,tiny,--z-dim,2"
COMMANDS = (
    f"base,{TOYS},--steps,300",
    f"compare,{TOYS},--from-version,1,--classes,disc,--seeds,0,--methods,retrain,--steps,5,--json",
    f"forget,{TOYS},--from-version,1,--classes,disc,--method,retrain,--seed,0,--json",
)


def test_the_control_keeps_the_steps_of_its_recipe_and_its_command_finds_it(empty_store: Store) -> None:
    said = with_toys(*COMMANDS)
    decoder, text = json.JSONDecoder(), said[said.index("{") :]
    table, end = decoder.raw_decode(text)
    again, _ = decoder.raw_decode(text[end:].lstrip())
    base, control = table["rows"]
    assert (base["method"], control["method"]) == ("base", "retrain")
    assert (control["needs_data"], control["target"]) == (True, "as retrained")
    assert control["forget.prob"] < 0.5 < base["forget.prob"]
    assert set(control["command"].split()[1:]) == set(COMMANDS[2].split(",")) - {"--json"}
    assert again["version"] == control["version"]
    assert again["metrics"]["forget.prob"] == control["forget.prob"]
    assert json.loads(again["tags"]["sa.settings"])["optimisation"]["steps"] == 400
