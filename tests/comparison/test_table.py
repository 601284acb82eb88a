"""The table of a comparison, from rows."""

from __future__ import annotations

import pytest

from sa_mlops.comparison import rows
from sa_mlops.comparison.estimate import STEP, Pace
from sa_mlops.comparison.rows import Row
from sa_mlops.config import CompareConfig
from sa_mlops.plots.spans import Span


def row(method: str, seed: int = 0, **metrics: float) -> Row:
    named = {key.replace("__", "."): value for key, value in metrics.items()}
    return Row(method, "disc", seed, f"sa-mlops forget --method {method}").measured(
        "models:/sa-cvae/2", named
    )


def test_only_attacks_that_were_made_are_columns_after_the_measures() -> None:
    plain = row("esd", forget__prob=0.1)
    probed = row("ssd", forget__prob=0.1, level__A0__success=0.25, level__A4__direct__success=0.5)
    assert list(rows.measured([plain])) == list(rows.MEASURES)
    shown = rows.measured([plain, probed])
    assert list(shown.items())[len(rows.MEASURES) :] == [("level.A0.success", "A0")]
    assert probed.values(shown)["level.A0.success"] == 0.25


def test_a_change_is_against_the_base_at_the_same_latents_and_the_base_has_none() -> None:
    made = row("esd", retain__fid=18.5, base__retain__fid=18.0)
    assert made.measure("change.retain.fid") == 0.5
    assert rows.spell("change.retain.fid", row("base", retain__fid=18.0).measure("change.retain.fid")) == "-"


def test_the_control_has_the_attacks_recorded_beside_a_probed_version_of_its_class_and_seed() -> None:
    probed = row("esd", level__A1__success=0.9, retrained__level__A1__success=0.2)
    control, other_seed = row("retrain", forget__prob=0.1), row("retrain", seed=1)
    found = rows.with_control([control, other_seed, probed])
    assert found[0].metrics == {"forget.prob": 0.1, "level.A1.success": 0.2}
    assert found[1:] == [other_seed, probed]


def test_a_span_is_over_the_means_of_seeds_and_its_range_is_written_where_it_shows() -> None:
    four = [row("esd", seed, forget__prob=p) for seed, p in ((0, 0.1), (0, 0.3), (1, 0.4), (1, 0.6))]
    found = rows.span(four, "forget.prob")
    assert [round(x, 6) for x in (found.mean, found.low, found.high)] == [0.35, 0.2, 0.5]
    assert rows.ranged("forget.prob", found) == "0.3500 (0.2000 to 0.5000)"
    assert rows.ranged("forget.prob", Span(0.35, 0.35, 0.350001)) == "0.3500"


def test_the_time_of_a_row_is_a_measurement_and_its_phases_in_steps_of_the_base() -> None:
    pace = Pace(step=0.02, measurement=10.0, upstream=0.0)
    for word in ("retrain", "esd", "esd+distil", "esd+harden"):
        settings = CompareConfig().row(word, 1, 0, {}).resolved((), None)
        steps = settings.length * (1 if word == "retrain" else STEP["forget"])
        steps += sum(STEP[name] * phase.optimisation.steps for name, phase in settings.phases.items())
        assert pace.row(settings) == pytest.approx(10 + 0.02 * steps)
