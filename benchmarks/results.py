"""Results and their tables."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.clock import Times

FORMAT = 1
PACKAGES = ("torch", "torchvision", "mlflow", "numpy", "optuna", "textual")


@dataclass(frozen=True, slots=True)
class Target:
    """A limit that a figure is to keep."""

    sense: Literal["at least", "at most"]
    limit: float

    def met(self, value: float) -> bool:
        """Whether `value` keeps it."""
        return value >= self.limit if self.sense == "at least" else value <= self.limit


def at_least(limit: float) -> Target:
    """A lower limit."""
    return Target("at least", limit)


def at_most(limit: float) -> Target:
    """An upper limit."""
    return Target("at most", limit)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes
    ----------
    what : in words.
    value : None if this mode does not measure it, or it could not be measured (`note` says why).
    unit : `×` for ratios.
    repeats : the values behind a median.
    note : how it was come by, where that is not plain.
    """

    what: str
    value: float | None
    unit: str
    target: Target | None = None
    repeats: tuple[float, ...] = ()
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is nothing to say."""
        return None if self.target is None or self.value is None else self.target.met(self.value)

    def document(self) -> dict[str, Any]:
        """JSON types only."""
        return {**asdict(self), "met": self.met}


def timed(what: str, times: Times, unit: str = "s", target: Target | None = None, note: str = "") -> Row:
    """The median of repeats as a row."""
    return Row(what, times.median, unit, target, times.seconds, note)


@dataclass(frozen=True, slots=True)
class Section:
    """One side by side. Ratios come first in `rows`."""

    key: str
    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    series: Sequence[Series] = ()

    def document(self) -> dict[str, Any]:
        """JSON types only."""
        return {
            "key": self.key, "title": self.title, "rows": [r.document() for r in self.rows],
            "notes": list(self.notes), "series": [s.document() for s in self.series],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Series:
    """Cost against size: seconds and peak MiB of one kind of work.

    Attributes
    ----------
    what : the work.
    size : what grows, and its unit.
    explained : why time or memory may grow faster than the size; empty if it may not.
    """

    what: str
    size: str
    sizes: Sequence[float]
    seconds: Sequence[float]
    peak_mib: Sequence[float]
    explained: str = ""

    @property
    def exponent(self) -> float | None:
        """Time grows as size to this power between the last two sizes."""
        return _slope(self.sizes, self.seconds)

    @property
    def memory_exponent(self) -> float | None:
        """Memory grows as size to this power between the last two sizes."""
        return _slope(self.sizes, self.peak_mib)

    def document(self) -> dict[str, Any]:
        """JSON types only."""
        return {**asdict(self), "exponent": self.exponent, "memory_exponent": self.memory_exponent}


def _slope(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    import math

    if len(sizes) < 2:
        return None
    return math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])


@dataclass(frozen=True, slots=True)
class Machine:
    """Hardware and versions, without the machine's name."""

    processor: str
    cores: int
    memory_gib: float
    threads: int
    device: str
    system: str
    python: str
    versions: dict[str, str] = field(default_factory=dict)


def this_machine(device: torch.device) -> Machine:
    """The machine that runs this."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return Machine(
        processor=_processor(),
        cores=usable,
        memory_gib=round(pages / 2**30, 1),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={p: importlib.metadata.version(p) for p in PACKAGES},
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def document(
    mode: str, machine: Machine, sections: Sequence[Section], seconds: float, load: float
) -> dict[str, Any]:
    """Everything as JSON types."""
    return {
        "format": FORMAT,
        "mode": mode,
        "machine": asdict(machine),
        "seconds": seconds,
        "load_before": load,
        "sections": [s.document() for s in sections],
    }


def text_of(value: float | None, unit: str) -> str:
    """A figure for people: three or four digits that matter."""
    if value is None:
        return "–"
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"
    return f"{digits} {unit}".strip() if unit != "×" else f"{digits}×"


def verdict(row: Row) -> str:
    """The target and whether it is met."""
    if row.target is None:
        return ""
    limit = f"{row.target.sense} {text_of(row.target.limit, row.unit)}"
    return limit + {True: ": **met**", False: ": **missed**", None: ": not measured"}[row.met]


def markdown(result: dict[str, Any], sections: Sequence[Section], figure: str | None) -> str:
    """RESULTS.md."""
    m = result["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in m["versions"].items())
    made = (
        f"Written by `python -m benchmarks` ({result['mode']} mode, {result['seconds'] / 60:.1f} minutes). Each "
        "section is one run in which the sides took turns; a figure is the median of its repeats, whose range is "
        "beside it. Ratios come first."
    )
    machine = (
        f"Machine: {m['processor']}, {m['cores']} cores, {m['memory_gib']} GiB, PyTorch on {m['threads']} threads, "
        f"device {m['device']}; {m['system']}, Python {m['python']}, {versions}. "
        f"Load of the machine before the run: {result['load_before']:.1f}."
    )
    lines = ["# Benchmarks", "", made, "", machine]
    for section in sections:
        lines += ["", f"## {section.key}. {section.title}", ""]
        if section.rows:
            lines += ["| figure | value | range | target | |", "|---|---|---|---|---|"]
        for row in section.rows:
            span = ""
            if len(row.repeats) > 1:
                low, high = min(row.repeats), max(row.repeats)
                span = f"{text_of(low, '')} to {text_of(high, '')} ({len(row.repeats)})"
            lines.append(
                f"| {row.what} | {text_of(row.value, row.unit)} | {span} | {verdict(row)} | {row.note} |"
            )
        lines += [f"\n{note}" for note in section.notes]
        if section.series:
            lines += _growth_table(section.series)
            if figure is not None:
                lines += ["", f"![time and memory against size]({figure})"]
    return "\n".join(lines) + "\n"


def _growth_table(series: Sequence[Series]) -> list[str]:
    lines = [
        "",
        "| work | size | time | peak memory | time grows as size to the power |",
        "|---|---|---|---|---|",
    ]
    for s in series:
        for i, (size, seconds, mib) in enumerate(zip(s.sizes, s.seconds, s.peak_mib, strict=True)):
            last = i == len(s.sizes) - 1
            power = f"{s.exponent:.2f}" if last and s.exponent is not None else ""
            note = f" {s.explained}" if last and s.explained else ""
            cells = [s.what, text_of(size, s.size), text_of(seconds, "s"), text_of(mib, "MiB"), power + note]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def write(result: dict[str, Any], sections: Sequence[Section], folder: Path, figure: str | None) -> None:
    """`results.json` and `RESULTS.md` into `folder`."""
    (folder / "results.json").write_text(
        json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / "RESULTS.md").write_text(markdown(result, sections, figure), encoding="utf-8")
