"""The fingerprint: equal for equal settings, different where anything that decides a result differs; the recipes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sa_mlops import settings as s
from sa_mlops.config import BaseConfig, ForgetConfig
from sa_mlops.methods.hardening import recipe
from sa_mlops.methods.selective_amnesia import EWC_LAMBDA, ForgetSettings
from sa_mlops.methods.selective_amnesia import OPTIMISATION as FORGET_OPTIMISATION
from sa_mlops.stages.make import flat

OPTIMISATION = s.Optimisation(steps=300, lr=3e-3, batch_size=256, schedule="one_cycle")
FORGET = ForgetSettings(
    forget=(1,),
    earlier=(0,),
    optimisation=OPTIMISATION,
    ewc_lambda=10.0,
    replay_ratio=1.0,
    decoder_terms=True,
    surrogate="noise",
    surrogate_md5=None,
    update="standard",
    reteach=0.25,
    harden=recipe(10),
)
EXAMPLES: dict[str, Any] = {
    "judge": s.JUDGES["calibrated"],
    "base": s.BaseSettings(z_dim=8, labels=tuple(range(10)), optimisation=OPTIMISATION),
    "fim": s.FisherSettings(samples=50_000, labels=(0, 2)),
    "forget": FORGET,
}


def another(value: Any) -> Any:
    """A value that differs from `value`."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case tuple():
            return (*value, 9)
        case None:
            return "x"
    raise TypeError(value)


def variants(settings: Any) -> Iterator[tuple[str, Any]]:
    """Name of a field, and the settings with that field alone changed; nested settings field by field."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            for name, inner in variants(value):
                yield f"{field.name}.{name}", dataclasses.replace(settings, **{field.name: inner})
        else:
            yield field.name, dataclasses.replace(settings, **{field.name: another(value)})


CHANGED = [(stage, name, changed) for stage, x in EXAMPLES.items() for name, changed in variants(x)]


class TestFingerprint:
    def test_it_changes_with_each_field_and_no_two_changes_share_one(self) -> None:
        settings = [*EXAMPLES.items(), *((stage, changed) for stage, _, changed in CHANGED)]
        settings.append(("forget", dataclasses.replace(FORGET, harden=None)))
        prints = [s.fingerprint(stage, value) for stage, value in settings]
        assert len(set(prints)) == len(prints)

    @pytest.mark.parametrize("stage", EXAMPLES)
    def test_it_changes_with_the_code_s_revision(self, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
        before = s.fingerprint(stage, EXAMPLES[stage])
        monkeypatch.setitem(s.REVISION, stage, s.REVISION[stage] + 1)
        assert s.fingerprint(stage, EXAMPLES[stage]) != before

    def test_it_changes_with_the_stage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(s.REVISION, "fim", s.REVISION["base"])
        assert s.fingerprint("base", EXAMPLES["base"]) != s.fingerprint("fim", EXAMPLES["base"])

    @pytest.mark.parametrize(
        ("stage", "settings", "then"),
        [
            ("base", BaseConfig().settings(), "e196a532591a"),
            ("forget", ForgetConfig().resolved((), None), "9b3eca6ff4cf"),
            ("forget", ForgetConfig(classes=("7", "3"), harden=True).resolved((0,), None), "0573d8cab477"),
        ],
    )
    def test_versions_made_before_methods_and_nets_had_names_are_still_reused(
        self, stage: str, settings: Any, then: str
    ) -> None:
        assert s.fingerprint(stage, settings) == then

    @pytest.mark.parametrize("stage", EXAMPLES)
    def test_settings_are_plain_json(self, stage: str) -> None:
        plain = s.jsonable(EXAMPLES[stage])
        assert json.loads(json.dumps(plain)) == plain


class TestRetained:
    def test_neither_forgotten_nor_earlier_classes_are_retained(self) -> None:
        settings = dataclasses.replace(FORGET, forget=(3, 8), earlier=(0, 5))
        assert settings.retained(10) == (1, 2, 4, 6, 7, 9)


class TestRecipes:
    @pytest.mark.parametrize("table", [FORGET_OPTIMISATION, EWC_LAMBDA])
    def test_every_recipe_is_in_every_table(self, table: dict[str, Any]) -> None:
        assert tuple(table) == s.RECIPES

    def test_no_two_judges_learn_from_one_seed(self) -> None:
        offsets = [judge.seed_offset for judge in s.JUDGES.values()]
        assert len(set(offsets)) == len(offsets)

    @pytest.mark.parametrize("role", ["attacker_calibrated", "attacker_plain", "trainer"])
    def test_no_attack_uses_the_architecture_of_the_deciding_judge(self, role: str) -> None:
        assert s.JUDGES[role].architecture != s.JUDGES["calibrated"].architecture

    @pytest.mark.parametrize("role", ["attacker_calibrated", "attacker_plain"])
    def test_hardening_never_trains_against_the_architecture_that_attacks(self, role: str) -> None:
        assert s.JUDGES[role].architecture != s.JUDGES["trainer"].architecture

    def test_the_paper_s_numbers_are_the_paper_s(self) -> None:
        assert FORGET_OPTIMISATION["paper"] == s.Optimisation(
            steps=10_000, lr=1e-4, batch_size=256, schedule="constant"
        )
        assert s.BASE_OPTIMISATION["paper"] == s.Optimisation(
            steps=100_000, lr=1e-4, batch_size=256, schedule="constant"
        )
        assert EWC_LAMBDA["paper"] == 100.0


def test_a_phase_is_recorded_by_its_fields_and_one_left_out_not_at_all() -> None:
    hardened = flat(s.jsonable(ForgetConfig(harden=True).resolved((), None)))
    assert hardened["harden.steps"] > 0
    assert hardened["steps"] != hardened["harden.steps"]
    plain = flat(s.jsonable(ForgetConfig().resolved((), None)))
    assert not [key for key, value in plain.items() if "harden" in key or value is None or value == {}]
