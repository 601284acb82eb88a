"""(i) How time and memory grow with steps, Fisher samples, classes and registered versions."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bench import Bench, say
from benchmarks.results import Section, Series
from benchmarks.sections import startup
from benchmarks.sections.memory import measured

KINDS = (
    ("base", "training of a base", "steps"),
    ("forget", "forgetting", "steps"),
    ("fisher", "Fisher diagonal", "samples"),
    ("sequential", "forgetting in sequence (short steps)", "classes"),
)


def run(bench: Bench) -> Section:
    """Every size in a process of its own."""
    budget = bench.budget
    sizes = {
        "base": budget.growth_steps,
        "forget": tuple(max(1, s // 10) for s in budget.growth_steps),
        "fisher": budget.growth_samples,
        "sequential": budget.growth_classes,
    }
    series = []
    for kind, words, unit in KINDS:
        peaks, seconds = [], []
        for size in sizes[kind]:
            say(f"growth: {words}, {size:,} {unit}")
            peak, _, took = measured(bench, kind, size)
            peaks.append(peak)
            seconds.append(took)
        if peaks:
            series.append(Series(words, unit, sizes[kind], seconds, peaks))
    if budget.mode != "smoke":
        found = []
        for count in budget.versions:
            say(f"growth: lineage of {count:,} versions")
            found.append(startup.lineage(count))
        series.append(
            Series("`lineage`, start-up included", "versions", budget.versions,
                   [c.seconds for c in found], [c.peak_mib for c in found])
        )  # fmt: skip
    return Section(
        "i",
        "Cost growth",
        [],
        ["The power is read off the last two sizes; 1 is linear, and less is a fixed cost still to be seen."],
        series,
    )


def draw(section: Section, path: Path) -> None:
    """Time and memory against size, a column a kind of work, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = len(section.series)
    figure, axes = plt.subplots(
        2, columns, figsize=(3.2 * columns, 5.6), squeeze=False, sharex="col", layout="constrained"
    )
    for column, s in enumerate(section.series):
        for row, (costs, label) in enumerate(((s.seconds, "seconds"), (s.peak_mib, "peak MiB"))):
            ax = axes[row][column]
            ax.plot(s.sizes, costs, "o-", color="#1f5fa8")
            ax.set_xscale("log")
            ax.grid(alpha=0.3)
            ax.spines[["top", "right"]].set_visible(False)
            if row == 0:
                ax.set_yscale("log")
                scale = [s.seconds[-1] * size / s.sizes[-1] for size in s.sizes]
                ax.plot(s.sizes, scale, ":", color="grey", label="proportional to size")
                ax.set_title(s.what.replace("`", ""), fontsize=10)
                ax.legend(frameon=False, fontsize=8)
            else:
                ax.set_ylim(bottom=0)
                ax.set_xlabel(s.size)
            if column == 0:
                ax.set_ylabel(label)
    figure.savefig(path, dpi=130)
    plt.close(figure)
