"""From an entry point and its options to the commands of a job."""

from __future__ import annotations

from typing import Any

import pytest

from sa_mlops.cluster.plan import Plan, option_words, plan
from sa_mlops.config import ENTRY_POINTS, SubmitConfig
from sa_mlops.parameters import ParameterError


def planned(entry: str, sweep: str = "", **values: Any) -> Plan:
    return plan(ENTRY_POINTS[entry], values, SubmitConfig(sweep=sweep))


def words(found: Plan) -> list[str]:
    return [" ".join(step.words) for step in found.steps]


def test_a_command_names_only_values_that_differ_from_the_defaults() -> None:
    found = planned("forget", dataset="digits", classes=("2", "7"), steps=None)
    assert words(found) == ["forget --dataset=digits --classes=2,7"]
    assert found.upstream is None


def test_a_sweep_is_a_command_a_value() -> None:
    found = planned("forget", "digit=0,1,2", dataset="digits")
    assert [step.name for step in found.steps] == ["classes=0", "classes=1", "classes=2"]
    assert words(found) == [
        "forget --dataset=digits --classes=0", "forget --dataset=digits", "forget --dataset=digits --classes=2"
    ]  # fmt: skip


def test_upstream_versions_that_a_sweep_shares_are_made_first() -> None:
    found = planned("forget", "digit=0,1", dataset="digits", seed=3, steps=20, z_dim=4)
    assert found.upstream is not None
    assert set(found.upstream.words) == {"base", "--dataset=digits", "--seed=3", "--z-dim=4"}
    assert found.ordered[0] is found.upstream


def test_a_comparison_is_a_task_a_method_on_one_base_and_fisher_diagonal() -> None:
    found = planned("compare", "methods=esd,selective-amnesia+harden", dataset="digits", trials=10)
    assert words(found) == [
        f"compare --dataset=digits --methods={name} --trials=10"
        for name in ("esd", "selective-amnesia+harden")
    ]
    assert found.upstream is not None
    assert found.upstream.words == ("fim", "--dataset=digits")


@pytest.mark.parametrize(
    ("entry", "sweep", "values"),
    [
        ("forget", "seed=0,1", {}),
        ("forget", "z_dim=2,8", {}),
        ("forget", "digit=0,1", {"from_version": "1"}),
        ("forget", "digit=0,1", {"fresh": True}),
        ("judge", "seed=0,1", {}),
    ],
)
def test_nothing_is_made_first_where_nothing_is_shared(
    entry: str, sweep: str, values: dict[str, Any]
) -> None:
    assert planned(entry, sweep, **values).upstream is None


def test_workers_of_a_study_are_the_same_command_each() -> None:
    found = planned("tune", dataset="digits", workers=3, from_version="1")
    assert len(found.steps) == 3
    assert set(words(found)) == {"tune --dataset=digits --from-version=1"}
    assert found.upstream is not None
    assert set(found.upstream.words) == {"fim", "--dataset=digits", "--from-version=1"}


def test_a_sweep_of_studies_keeps_their_workers() -> None:
    found = planned("tune", "sampler=tpe,random", workers=2)
    assert words(found) == ["tune --workers=2", "tune --sampler=random --workers=2"]


@pytest.mark.parametrize(
    ("entry", "sweep", "values", "named"),
    [
        ("forget", "digit", {}, "--sweep"),
        ("forget", "digit=", {}, "--sweep"),
        ("forget", "nothing=1,2", {}, "--sweep"),
        ("forget", "seeds=1,2", {}, "--sweep"),
        ("forget", "digit=1,1", {}, "--sweep"),
        ("forget", "classes=1,10", {}, "--classes"),
        ("forget", "device=cpu,gpu", {}, "--device"),
        ("forget", "", {"classes": ("10",)}, "--classes"),
        ("tune", "", {"workers": 2, "fresh": True}, "--fresh"),
    ],
)
def test_a_mistake_is_named(entry: str, sweep: str, values: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=f"^{named}: "):
        planned(entry, sweep, **values)


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_no_option_of_an_entry_point_is_taken_for_the_schedulers(entry: str) -> None:
    found = option_words(ENTRY_POINTS[entry])
    assert not set(found.values()) & SubmitConfig.parameters().keys()
    assert len(set(found.values())) == len(ENTRY_POINTS[entry].config.parameters())
