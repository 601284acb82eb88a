"""What `audit` finds: versions that hold a class, by training or by descent."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from stores import Store, child_environment

from sa_mlops import cli
from sa_mlops.operate.audit import METRICS, TAGS, Origin, search, tainted
from sa_mlops.registry import inventory, names

PASSES = {"forget.prob_worst": 0.3, "screen.prob": 0.3}
FAILS = {"forget.prob_worst": 0.9, "screen.prob": 0.3}
Q = {"classes": "p,q,r", "dataset": "letters"}


def free(number: int, origins: dict[int, Origin]) -> bool:
    """Brute force: whether every generator up to a root from scratch is without the class."""
    for _ in range(len(origins)):
        if number not in origins or not origins[number].without:
            return False
        parent = origins[number].parent
        if parent is None:
            return origins[number].scratch
        number = parent
    return False


@pytest.mark.parametrize("seed", range(100))
def test_descent_is_that_of_brute_force(seed: int) -> None:
    draw = random.Random(seed)
    count = draw.randint(1, 40)
    origins = {
        n: Origin(
            draw.choice([None, draw.randint(1, max(1, n - 1)), draw.randint(1, count + 2)]),
            draw.random() < 0.8,
            draw.random() < 0.8,
        )
        for n in range(1, count + 1)
    }
    assert tainted(origins) == {n for n in origins if not free(n, origins)}


@pytest.fixture
def runs(empty_store: Store) -> dict[str, str]:
    """A hand-made lineage; word -> id of its run."""
    client = MlflowClient()
    for name in names.MODELS:
        client.create_registered_model(name)
    made = {"entry": client.create_run("0").info.run_id}

    def make(
        word: str, name: str = names.GENERATORS, metrics: dict[str, float] | None = None, **tags: str
    ) -> None:
        parent = {"mlflow.parentRunId": made["entry"]} if word == "passes" else {}
        made[word] = client.create_run("0", tags=parent).info.run_id
        for key, value in (metrics or {}).items():
            client.log_metric(made[word], key, value)
        recorded = {f"sa.{key}": value for key, value in {**Q, **tags}.items()}
        client.create_model_version(name, "nowhere", run_id=made[word], tags=recorded)

    first, control = "models:/sa-cvae/1", "models:/sa-cvae/5"
    make("base", stage="base")
    make("passes", stage="forget", parent=first, forgotten="q", metrics=PASSES)
    make("fails", stage="forget", parent=first, forgotten="q", metrics=FAILS)
    make("unmeasured", stage="forget", parent="models:/sa-cvae/2", forgotten="q,r")
    make("control", stage="retrain", forgotten="q", metrics=PASSES)
    make("below control", stage="forget", parent=control, forgotten="q,r")
    make("another", stage="forget", parent=first, forgotten="p", metrics=PASSES)
    make("other data", stage="base", classes="a,b", dataset="signs")
    make("orphan", stage="forget", parent="models:/sa-cvae/99", forgotten="q", metrics=PASSES)
    make("older", stage="base", dataset="")
    make("fisher", names.FISHERS, stage="fim", parent=first)
    make("fisher of control", names.FISHERS, stage="fim", parent=control, forgotten="q")
    make("fisher of none", names.FISHERS, stage="fim", parent="models:/sa-cvae/99", forgotten="q")
    make("judge", names.JUDGES, stage="judge")
    for word, version in (("evaluation", first), ("evaluation of control", control)):
        made[word] = client.create_run("0", tags={"sa.version": version}).info.run_id
    client.set_registered_model_alias(names.GENERATORS, "champion", "2")
    return made


def test_versions_that_hold_the_class_are_listed(
    runs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["audit", "--classes", "q", "--dataset", "letters", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {g["version"]: g["classes"]["q"] for g in found["generators"]} == {
        1: "knows it", 2: "suppressed", 3: "fails the gates", 4: "unknown", 7: "knows it", 9: "suppressed",
        10: "knows it",
    }  # fmt: skip
    assert [g["uri"] for g in found["generators"] if g["aliases"] == ["champion"]] == ["models:/sa-cvae/2"]
    assert [f["uri"] for f in found["fishers"]] == ["models:/sa-fim/1", "models:/sa-fim/3"]
    assert [j["uri"] for j in found["judges"]] == ["models:/sa-judge/1"]
    shown = ("base", "passes", "fails", "unmeasured", "another", "orphan", "older", "evaluation", "entry")
    assert found["runs"] == sorted(runs[word] for word in shown)


def test_the_tables_and_mlflow_tell_the_same(runs: dict[str, str], empty_store: Store) -> None:
    client = MlflowClient()
    client.delete_run(runs["evaluation"])
    client.delete_model_version(names.GENERATORS, "3")
    client.log_metric(runs["unmeasured"], "screen.prob", math.nan)
    direct = inventory.read(empty_store.uri, TAGS, METRICS)
    asked = inventory.ask(TAGS, METRICS)
    assert direct.versions == asked.versions
    assert len(direct.versions) == len(runs) - 4
    for classes in (["q"], ["p", "r"]):
        assert search(direct, classes, "letters") == search(asked, classes, "letters")


def test_a_sqlite_store_is_read_without_mlflow_and_none_is_made(
    runs: dict[str, str], empty_store: Store, tmp_path: Path
) -> None:
    program = (
        "import sys; from sa_mlops.cli import main; main(['audit', '--classes', 'q']); main(['lineage']);"
        "main(['log']); print('mlflow' in sys.modules)"
    )
    for uri, found in (
        (empty_store.uri, ["v2 forget q  ", "├─ v2 forget q @champion", "no entry"]),
        (f"sqlite:///{tmp_path}/none.db", ["No version", "makes a base", "no entry"]),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True, text=True, check=True, timeout=120, env=child_environment(MLFLOW_TRACKING_URI=uri),
        )  # fmt: skip
        assert all(words in done.stdout for words in found), done.stdout
        assert done.stdout.splitlines()[-1] == "False"
    assert not (tmp_path / "none.db").exists()


def test_each_class_has_its_own_verdict(runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "--classes", "q,r"]) == 0
    rows = {words[0]: words[3:] for line in capsys.readouterr().out.splitlines() if (words := line.split())}
    assert rows["v2"] == ["suppressed", "knows", "it", "@champion"]
    assert rows["v5"] == ["q", "-", "knows", "it"]
    assert rows["v6"] == ["-", "unknown"]


@pytest.mark.parametrize(
    ("words", "known"), [(["z"], "a, b, p, q, r"), (["q", "--dataset", "x"], "letters, signs")]
)
def test_a_class_that_no_version_records_is_refused(
    runs: dict[str, str], capsys: pytest.CaptureFixture[str], words: list[str], known: str
) -> None:
    assert cli.main(["audit", "--classes", *words]) == 2
    assert known in capsys.readouterr().err
