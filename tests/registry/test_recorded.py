"""Settings recorded in a tag are read back exactly, or refused in one line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_mlops.config import ForgetConfig
from sa_mlops.methods.selective_amnesia import ForgetSettings
from sa_mlops.registry.recorded import RecordedError, read
from sa_mlops.settings import BASE_OPTIMISATION, BaseSettings, FisherSettings, jsonable

BASE = BaseSettings(z_dim=8, labels=tuple(range(10)), optimisation=BASE_OPTIMISATION["fast"])


def spelled(**changes: object) -> str:
    return json.dumps(jsonable(BASE) | changes)


def step(**options: object) -> ForgetSettings:
    return ForgetConfig(**options).resolved((), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings", [BASE, step(), step(harden=True), step(recipe="paper"), step(classes=("1", "7"))]
)
def test_settings_read_back(settings: BaseSettings | ForgetSettings) -> None:
    assert read(type(settings), json.dumps(jsonable(settings)), 10) == settings


def test_fisher_settings_read_back() -> None:
    settings = FisherSettings(samples=100, labels=(0, 9))
    assert read(FisherSettings, json.dumps(jsonable(settings)), 10) == settings


def test_a_whole_number_is_a_float_too() -> None:
    text = spelled(optimisation=jsonable(BASE)["optimisation"] | {"lr": 1})
    assert isinstance(read(BaseSettings, text, 10).optimisation.lr, float)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        spelled(extra=1),
        spelled(z_dim=True),
        spelled(z_dim="8"),
        spelled(z_dim=8.0),
        spelled(z_dim=0),
        spelled(z_dim=10**18),
        '{"z_dim": ' + "9" * 5_000 + "}",
        spelled(labels=[0, 0]),
        spelled(labels=[10]),
        spelled(labels="0,1"),
        spelled(labels=[True]),
        spelled(optimisation=None),
        spelled(optimisation={"steps": 1}),
        spelled(optimisation=jsonable(BASE)["optimisation"] | {"lr": float("nan")}),
        spelled(optimisation=jsonable(BASE)["optimisation"] | {"lr": float("inf")}),
        spelled(optimisation=jsonable(BASE)["optimisation"] | {"schedule": "never"}),
        spelled(optimisation=jsonable(BASE)["optimisation"] | {"steps": 10**9}),
        '{"z_dim": 8, "z_dim": 9}',
        spelled(note="x" * 50_000),
    ],
)
def test_anything_else_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(RecordedError) as caught:
        read(BaseSettings, text, 10)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(jsonable(step(harden=True)))), JSON)
def test_any_value_in_any_field_is_read_or_refused(field: str, value: object) -> None:
    text = json.dumps(jsonable(step(harden=True)) | {field: value})
    try:
        settings = read(ForgetSettings, text, 10)
    except RecordedError:
        return
    assert jsonable(settings)[field] == value


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(RecordedError):
        read(BaseSettings, text, 10)
