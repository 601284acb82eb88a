"""Reads the table that a comparison has logged."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sa_mlops.comparison.rows import ATTACKS, MEASURES, SECONDS, Row, measured

ARTIFACT = "tables/comparison.json"
FIGURE = "figures/comparison.png"


@dataclass(frozen=True, slots=True)
class Table:
    """A logged table.

    Attributes
    ----------
    measures : measure -> heading, in the order of the table; without those that no row has.
    rows : one each method, class and seed.
    """

    measures: dict[str, str]
    rows: Sequence[Row]


def read(text: str) -> Table:
    """The table in the text of `ARTIFACT`. Raises ValueError if it is no such table."""
    try:
        found = json.loads(text)
        records = [dict(zip(found["columns"], line, strict=True)) for line in found["data"]]
        rows = [_row(record) for record in records]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("no table of a comparison") from error
    known = {
        key: words
        for key, words in measured(rows).items()
        if not all(math.isnan(r.measure(key)) for r in rows)
    }
    return Table(known, rows)


def _row(record: dict[str, Any]) -> Row:
    values = {key: record[key] for key in MEASURES | ATTACKS if isinstance(record.get(key), int | float)}
    # The table holds the sum of the seconds.
    metrics = {SECONDS[0] if key == "seconds" else key: float(value) for key, value in values.items()}
    return Row(
        str(record["method"]),
        str(record["class"]),
        int(record["seed"]),
        str(record.get("command") or ""),
        target=str(record.get("target") or ""),
        needs_data=bool(record.get("needs_data")),
        version=str(record.get("version") or ""),
        metrics={key: value for key, value in metrics.items() if not math.isnan(value)},
    )
