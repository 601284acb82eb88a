"""Values that a parameter accepts, their spelling, and the message for a value that is not allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sa_mlops.parameters import (
    AUTO,
    Kind,
    Parameter,
    ParameterError,
    Parameters,
    Value,
    choice,
    class_names,
    flag,
    number,
    numbers,
    param,
    text,
    whole,
)

PATIENT = settings(deadline=None)
"""A busy machine is no failure."""

WHOLE = Parameter(help="", kind="int", low=0, high=9, default=1)
SHARE = Parameter(help="", kind="float", above=0, high=1, default=0.5)
OPEN = Parameter(help="", kind="float", low=0, default=None)
FLAG = Parameter(help="", kind="bool", default=False)
WORD = Parameter(help="", kind="choice", choices=("noise", "grey"), default="noise")
CLASSES = Parameter(help="", kind="classes", default=("1",))
SEEDS = Parameter(help="", kind="numbers", low=0, high=2**31 - 1, default=(0,))
TEXT = Parameter(help="", kind="text", default="latest")
MAYBE_TEXT = Parameter(help="", kind="text", default=None)
EVERY = {
    "int": WHOLE,
    "float": SHARE,
    "open float": OPEN,
    "bool": FLAG,
    "choice": WORD,
    "classes": CLASSES,
    "numbers": SEEDS,
    "text": TEXT,
    "text or auto": MAYBE_TEXT,
}


def values(parameter: Parameter) -> st.SearchStrategy[Value]:
    """Anything of the parameter's kind, allowed or not."""
    kinds: dict[Kind, st.SearchStrategy[Any]] = {
        "int": st.integers(-2, 11),
        "float": st.floats(0, 1) | st.floats(),
        "bool": st.booleans(),
        "choice": st.sampled_from(["noise", "grey", "other"]),
        "classes": st.lists(st.sampled_from(["3", "a coat", "é", "a", "b,c"]), unique=True).map(tuple),
        "numbers": st.lists(st.integers(0, 2**31), max_size=12, unique=True).map(tuple),
        "text": st.text()
        | st.from_regex(r"[a-z0-9._-]{1,12}", fullmatch=True)
        | st.sampled_from([AUTO, "", " padded "]),
    }
    return kinds[parameter.kind] | (st.none() if parameter.default is None else st.nothing())


@pytest.mark.parametrize("name", EVERY)
@PATIENT
@given(data=st.data())
def test_allowed_values_read_back_from_their_spelling(name: str, data: st.DataObject) -> None:
    parameter = EVERY[name]
    value = data.draw(values(parameter))
    try:
        parameter.check("x", value)
    except ParameterError:
        assume(False)
    assert parameter.parse("x", parameter.spell(value)) == value


@pytest.mark.parametrize("name", EVERY)
@PATIENT
@given(
    text=st.text()
    | st.sampled_from(["1e999", "nan", "-inf", "9" * 5000, "1,,2", ",", "0x10", "\x00", "[red]"])
)
def test_hostile_text_is_read_or_refused_in_one_line(name: str, text: str) -> None:
    try:
        EVERY[name].parse("some_name", text)
    except ParameterError as error:
        message = str(error)
        assert message.startswith("--some-name: ")
        assert len(message.splitlines()) == 1
        assert message.isprintable()
        assert len(message) < 300


@pytest.mark.parametrize("name", EVERY)
@PATIENT
@given(text=st.text())
def test_every_value_that_is_read_is_allowed(name: str, text: str) -> None:
    try:
        value = EVERY[name].parse("x", text)
    except ParameterError:
        return
    assert EVERY[name].check("x", value) == value


class TestRanges:
    @pytest.mark.parametrize("text", ["0", "9", " 4 "])
    def test_bounds_are_inclusive(self, text: str) -> None:
        assert WHOLE.parse("digit", text) == int(text)

    @pytest.mark.parametrize("text", ["-1", "10", "1.0", "", "one", "true", "99999999999999999999", "1e3"])
    def test_a_whole_number_out_of_range_is_refused(self, text: str) -> None:
        with pytest.raises(ParameterError):
            WHOLE.parse("digit", text)

    @pytest.mark.parametrize("text", ["0", "-0.1", "1.0001", "nan", "inf", "-inf", "1e999", "half"])
    def test_a_number_out_of_range_is_refused(self, text: str) -> None:
        with pytest.raises(ParameterError):
            SHARE.parse("share", text)

    @pytest.mark.parametrize("text", ["1,2147483648", "1,1", "1,,2", "1;2", "-1", "1,", "a", ""])
    def test_a_list_of_numbers_with_a_bad_item_is_refused(self, text: str) -> None:
        with pytest.raises(ParameterError):
            SEEDS.parse("seeds", text)

    @pytest.mark.parametrize("text", ["coat,coat", "1,,2", "1,", "", "a\x00b"])
    def test_a_list_of_classes_with_a_bad_item_is_refused(self, text: str) -> None:
        with pytest.raises(ParameterError):
            CLASSES.parse("classes", text)

    def test_a_list_keeps_its_order(self) -> None:
        assert SEEDS.parse("seeds", "3, 1,2") == (3, 1, 2)
        assert CLASSES.parse("classes", "trouser, coat,1") == ("trouser", "coat", "1")

    @pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("TRUE", True)])
    def test_a_flag_is_read_in_any_case(self, text: str, value: bool) -> None:
        assert FLAG.parse("fresh", text) is value

    @pytest.mark.parametrize("text", ["1", "yes", "", "t", "none"])
    def test_a_flag_has_no_other_words(self, text: str) -> None:
        with pytest.raises(ParameterError):
            FLAG.parse("fresh", text)

    def test_a_word_that_is_no_choice_is_refused(self) -> None:
        with pytest.raises(ParameterError):
            WORD.parse("surrogate", "Noise")

    @pytest.mark.parametrize("text", ["", "a\nb", "a\x00b", "\x1b[31m"])
    def test_text_that_cannot_be_printed_is_refused(self, text: str) -> None:
        with pytest.raises(ParameterError):
            TEXT.parse("version", text)


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("parameter", "value"),
        [
            (WHOLE, True),
            (WHOLE, 1.0),
            (WHOLE, "1"),
            (WHOLE, None),
            (WHOLE, 10**400),
            (OPEN, 10**400),
            (SHARE, True),
            (FLAG, 1),
            (CLASSES, ["1"]),
            (CLASSES, (1,)),
            (CLASSES, "1"),
            (CLASSES, ("a,b",)),
            (SEEDS, (True,)),
            (SEEDS, (1.0,)),
            (TEXT, 1),
            (WORD, None),
        ],
    )
    def test_a_value_of_another_type_is_refused(self, parameter: Parameter, value: object) -> None:
        with pytest.raises(ParameterError):
            parameter.check("x", value)


class TestMessages:
    def message(self, parameter: Parameter, text: str) -> str:
        with pytest.raises(ParameterError) as caught:
            parameter.parse("batch_size", text)
        return str(caught.value)

    @pytest.mark.parametrize(
        ("parameter", "text", "allowed"),
        [
            (WHOLE, "11", "a whole number from 0 to 9"),
            (SHARE, "2", "a number above 0 and at most 1"),
            (OPEN, "-1", "a number of 0 or more, or auto"),
            (FLAG, "2", "true or false"),
            (WORD, "blue", "one of noise, grey"),
            (CLASSES, "1,1", "different classes of the data set, separated by commas"),
            (SEEDS, "x", "different whole numbers from 0 to 2147483647 separated by commas"),
            (MAYBE_TEXT, "", "text, or auto"),
        ],
    )
    def test_the_message_names_the_allowed_values(
        self, parameter: Parameter, text: str, allowed: str
    ) -> None:
        assert self.message(parameter, text) == f"--batch-size: {text!r} is not allowed; give {allowed}"

    def test_a_long_value_is_cut(self) -> None:
        assert "x..." in self.message(WHOLE, "x" * 10_000)

    def test_control_characters_are_escaped(self) -> None:
        assert r"\x1b[31m\n" in self.message(WHOLE, "\x1b[31m\nred")


@dataclass(frozen=True, kw_only=True)
class Config(Parameters):
    """Two parameters."""

    digit: int = param(WHOLE)
    weight: float | None = param(OPEN)


@pytest.mark.parametrize(
    ("field", "parameter"),
    [
        (whole("w", 1, 0, 9), Parameter(help="w", kind="int", low=0, high=9, default=1)),
        (
            number("n", None, low=0, group="where"),
            Parameter(help="n", kind="float", low=0, default=None, group="where"),
        ),
        (flag("f"), Parameter(help="f", kind="bool", default=False)),
        (choice("c", ("a", "b"), "b"), Parameter(help="c", kind="choice", choices=("a", "b"), default="b")),
        (text("t", ""), Parameter(help="t", kind="text", default="")),
        (
            numbers("s", (0,), 0, 5),
            Parameter(help="s", kind="numbers", low=0, high=5, default=(0,), group="what"),
        ),
        (class_names("k", ("1",)), Parameter(help="k", kind="classes", default=("1",), group="what")),
    ],
    ids=lambda value: value.kind if isinstance(value, Parameter) else "",
)
def test_a_short_constructor_gives_a_field_with_its_parameter(field: Any, parameter: Parameter) -> None:
    assert (field.default, field.metadata["parameter"]) == (parameter.default, parameter)


class TestConfig:
    def test_a_value_that_is_not_allowed_cannot_be_made(self) -> None:
        with pytest.raises(ParameterError, match=r"--digit: '11' is not allowed"):
            Config(digit=11)

    def test_a_whole_number_given_for_a_number_becomes_one(self) -> None:
        assert repr(Config(weight=2).weight) == "2.0"

    def test_it_knows_which_values_were_given(self) -> None:
        assert Config(digit=1).given == {"digit"}
        assert Config().given == frozenset()

    def test_it_reads_values_written_as_text(self) -> None:
        assert Config.read({"weight": "auto", "digit": "4"}) == Config(digit=4)

    def test_its_spelling_reads_back(self) -> None:
        config = Config(digit=3, weight=1e-7)
        assert Config.read(config.spelled()) == config
