"""Claims follow the recorded levels, and no more than they carry."""

from __future__ import annotations

import pytest

from sa_mlops.registry import claims
from sa_mlops.registry.claims import ROWS, claim, level_table, metric, spans

Levels = dict[str, float]


def spread(keys: list[str], rate: float, half: float) -> Levels:
    """Metrics of one rate with its interval, under several keys."""
    return {key + end: rate + d for key in keys for end, d in (("", 0.0), (".low", -half), (".high", half))}


def measured(
    rate: float, rows: tuple[str, ...] = tuple(ROWS), subject: str = "", half: float = 0.04
) -> Levels:
    """Metrics of one generator with the same rate at each row."""
    return spread([metric(row, subject) for row in rows], rate, half)


def excess(rate: float, rows: tuple[str, ...] = tuple(ROWS), half: float = 0.05) -> Levels:
    return spread([metric(row, measure="excess") for row in rows], rate, half)


AS_RETRAINED = (
    measured(0.02) | excess(0.0) | measured(0.02, subject="retrained")
    | measured(0.9, subject="switch") | measured(0.9, subject="lock")
)  # fmt: skip
"""At no level above the control, where both fakes are."""


def test_without_levels_nothing_is_claimed() -> None:
    assert claim({"forget.prob": 0.1, "attack.union.success": 0.0}) == ""


def test_both_claims_and_their_levels_are_named() -> None:
    found = AS_RETRAINED | measured(0.82, ("A4",)) | excess(0.3, ("A4",))
    assert claim(found) == (
        "suppressed against A0 to A3, A5, A6, not against A4 at 0.82; not removed: A4 at 0.82 (retrained 0.02)"
    )


def test_removed_needs_every_level() -> None:
    assert claim(AS_RETRAINED).partition("; ")[2].startswith("removed: ")
    for row in ROWS:
        for key in (metric(row), metric(row, "retrained"), metric(row, measure="excess")):
            assert "removed" not in claim({k: v for k, v in AS_RETRAINED.items() if k != key})


@pytest.mark.parametrize("fake", claims.FAKES)
def test_a_comparison_that_a_fake_passes_shows_no_removal(fake: str) -> None:
    fooled = claim(AS_RETRAINED | measured(0.02, subject=fake))
    assert "removed" not in fooled
    assert fake in fooled


def test_few_attempts_show_neither_suppression_nor_removal() -> None:
    found = claim(AS_RETRAINED | measured(0.0, half=0.16) | excess(0.0, half=0.2))
    assert found.startswith("not suppressed: A0 at 0.00")
    assert "too few attempts" in found
    assert "removed" not in found


def test_missing_measurements_are_named() -> None:
    some = {k: v for k, v in AS_RETRAINED.items() if ".A3" not in k and ".A6" not in k}
    assert "(A3, A6 not measured)" in claim(some)


def test_levels_are_rows_and_generators_columns() -> None:
    header, *rows = level_table(
        [("v2", AS_RETRAINED, ""), ("switch", AS_RETRAINED, "switch"), ("v9", {}, "")]
    )
    assert header == ("attacker", "v2", "switch")
    assert len(rows) == len(ROWS)
    assert rows[0] == ("A0 asks for the label", "0.02 [-0.02, 0.06]", "0.90 [0.86, 0.94]")
    assert level_table([("v9", {}, "")]) == ()


def test_neighbouring_levels_are_joined() -> None:
    assert spans(["A6", "A0", "A1", "A2", "A4"]) == "A0 to A2, A4, A6"
