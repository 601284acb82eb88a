"""Text where there is little room: names stay distinct, numbers stand below each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scenes import Scene
from screen import SMALL, application, opened, press, registry, runs, text

from sa_mlops.registry import names
from sa_mlops.registry.version import Version
from tui.services.filters import HELP, RUN_HELP
from tui.services.records import Run, Snapshot
from tui.widgets import facts
from tui.widgets.chart import Series, chart

ALIKE = ("attack.alternating_bounded.excess.high", "attack.alternating_bounded.excess.low")


def test_long_names_of_metrics_are_whole_beside_their_values() -> None:
    shown = facts.pairs(dict.fromkeys(ALIKE, "0.1234")).plain
    assert all(f"{name} " in shown for name in ALIKE)


@pytest.mark.parametrize("count", [2, 3])
def test_long_names_of_metrics_are_whole_in_a_comparison(count: int) -> None:
    versions = [Version(names.GENERATORS, n, {}, run_id=f"r{n}") for n in range(1, count + 1)]
    runs = {v.run_id: Run(run_id=v.run_id, metrics=dict.fromkeys(ALIKE, 0.25)) for v in versions}
    found = Snapshot(versions={(v.name, v.number): v for v in versions}, runs=runs)
    lines = facts.compared(found, versions, 80).plain.split("\n")
    for name in ALIKE:
        [line] = [line for line in lines if line.startswith(name)]
        assert line.count("0.2500") == count
        assert len(line) <= 80


@pytest.mark.parametrize("count", [1, 3, 6])
def test_every_curve_has_its_value_in_the_legend(count: int) -> None:
    curves = [Series(f"gradient-ascent, class {i}, seed 1", [(0, 1.0), (1, 10.0 + i)]) for i in range(count)]
    legend = chart(curves, 58, 12).plain.rstrip("\n").split("\n")[-1]
    assert len(legend.rstrip()) <= 58
    for i, letter in enumerate("abcdef"[:count]):
        assert re.search(rf"\b{letter} .*?\b{10 + i}\b", legend), legend


async def test_the_first_metric_of_every_version_stands_in_one_column(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path)
    async with opened(app, (112, 30)):
        edge = registry(app).lineage.region.right
        lines = [line[:edge] for line in text(app).split("\n") if re.search(r"v[234] ", line[:edge])]
    found = [re.search(r"p \d\.\d+", line) for line in lines]
    assert len({match.start() for match in found if match}) == 1
    assert len(found) == 3
    assert all(found)


async def test_the_detail_of_a_run_names_it_and_the_way_back(scene: Scene, tmp_path: Path) -> None:
    app = application(scene.uri, tmp_path, start="runs")
    async with opened(app, SMALL) as pilot:
        await press(pilot, "home")
        name = runs(app).runs.rows[0].run.label
        await press(pilot, "enter")
        assert f"─ {name} ─" in text(app)
        assert "esc back" in text(app)
        await press(pilot, "escape")
        assert "esc back" not in text(app)


def test_the_hints_of_filters_fit_into_a_small_terminal() -> None:
    assert max(len(HELP), len(RUN_HELP)) <= SMALL[0] - 6
