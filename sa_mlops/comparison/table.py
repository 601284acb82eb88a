"""The table of a comparison and its figures, logged on its run: the rows, and a summary of each method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pandas as pd

from sa_mlops.comparison.rows import ATTACKS, BASE, Row, measured, ranged, span, spell
from sa_mlops.plots.comparison import Point, attacks_compared, methods_compared
from sa_mlops.plots.spans import Span
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun


def finish(entry: StageRun, rows: Sequence[Row], methods: Sequence[str], classes: int) -> Result:
    """Log the table and the figures on the run; the result with the summary.

    Parameters
    ----------
    methods : in the order of the summary, after the base.
    classes : number of classes of the data set.
    """
    groups = {name: found for name in (BASE, *methods) if (found := [r for r in rows if r.method == name])}
    ordered = [row for found in groups.values() for row in found]
    shown = measured(ordered)
    summary = {name: {key: span(found, key) for key in shown} for name, found in groups.items()}
    frame = pd.DataFrame([row.values(shown) for row in ordered])
    entry.table("comparison", frame)
    entry.client.log_text(entry.run_id, markdown(groups, summary, shown), "tables/comparison.md")
    _draw(entry, summary, classes)
    for name, spans in summary.items():
        word = name.replace("+", ".")
        entry.recorder.metrics({f"compare.{word}.{key}": s.mean for key, s in spans.items()})
    document = {
        "rows": [row.values(shown) for row in ordered],
        "summary": {name: {key: asdict(s) for key, s in spans.items()} for name, spans in summary.items()},
    }
    means = {name: {k: spell(k, s.mean) for k, s in spans.items()} for name, spans in summary.items()}
    return Result(document, table(*_summary(groups, means, shown)))


def _draw(entry: StageRun, summary: Mapping[str, Mapping[str, Span]], classes: int) -> None:
    points = [
        Point(name, s["forget.prob"], s["change.retain.accuracy"], s["change.retain.fid"], s["seconds"])
        for name, s in summary.items()
        if not math.isnan(s["forget.prob"].mean)
    ]
    if points:
        entry.figure(methods_compared(points, chance=1 / classes), "figures/comparison.png")
    attacked = {
        name: {
            words: s[key] for key, (words, _) in ATTACKS.items() if key in s and not math.isnan(s[key].mean)
        }
        for name, s in summary.items()
    }
    if any(attacked.values()):
        entry.figure(attacks_compared(attacked), "figures/attacks.png")


def _summary(
    groups: Mapping[str, Sequence[Row]], cells: Mapping[str, Mapping[str, str]], shown: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    header = ["method", *shown.values(), "real data", "target"]
    lines = [
        [
            name,
            *cells[name].values(),
            "yes" if found[0].needs_data else "no",
            found[0].target or "-",
        ]
        for name, found in groups.items()
    ]
    return header, lines


def markdown(
    groups: Mapping[str, Sequence[Row]], summary: Mapping[str, Mapping[str, Span]], shown: Mapping[str, str]
) -> str:
    """The summary with ranges over the seeds, then every row with its command.

    Parameters
    ----------
    groups, summary : method -> its rows, and its measures.
    shown : measure -> heading.
    """
    cells = {name: {k: ranged(k, s) for k, s in spans.items()} for name, spans in summary.items()}
    every = [
        [r.method, r.name, str(r.seed), *(spell(key, r.measure(key)) for key in shown), f"`{r.command}`"]
        for rows in groups.values()
        for r in rows
    ]
    columns = ["method", "class", "seed", *shown.values(), "command"]
    return f"{_pipes(*_summary(groups, cells, shown))}\n\nEvery row:\n\n{_pipes(columns, every)}\n"


def _pipes(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = [list(header), ["---"] * len(header), *map(list, lines)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)
