"""Work of each mode: `full` makes RESULTS.md, `quick` checks that everything runs, `smoke` does less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["full", "quick", "smoke"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Work per measurement.

    Attributes
    ----------
    dataset : images of the measurements in this process; subprocesses of the quick mode use `digits`.
    repeats : of each measurement, contenders in turn; `long_repeats` of those that take minutes.
    fisher_samples, loop_samples, vmap_samples : samples of ours, of the batch-1 loop and of vmap.
    base_steps, forget_steps : of ours; None is the whole fast recipe.
    reference_steps : timed steps of the reference loops, from which their whole length is extrapolated.
    paper : also train the paper recipe to its end, for its scores.
    checkpoint : steps between scores of ours while it trains, 0 for none.
    tracked_base_steps : of the base loop with and without tracking.
    whole_repeats : of `forget` by reuse; 0 leaves out the commands in stores of their own.
    images : drawn at once when sampling is timed.
    starts : starts of the command.
    versions : registered versions of the stores that `lineage` and `audit` are timed on; `read` of the one that is read
        in turn by both ways.
    growth_steps, growth_samples, growth_classes : sizes in the figure of growth.
    memory_steps, memory_samples : work of the processes whose peak memory is read.
    """

    mode: Mode
    dataset: str
    repeats: int
    long_repeats: int
    fisher_samples: int
    loop_samples: int
    vmap_samples: int
    base_steps: int | None
    forget_steps: int | None
    reference_steps: int
    paper: bool
    checkpoint: int
    tracked_base_steps: int
    whole_repeats: int
    images: int
    starts: int
    versions: tuple[int, ...]
    read: int
    growth_steps: tuple[int, ...]
    growth_samples: tuple[int, ...]
    growth_classes: tuple[int, ...]
    memory_steps: int
    memory_samples: int


BUDGETS: dict[Mode, Budget] = {
    "full": Budget(
        mode="full", dataset="mnist", repeats=5, long_repeats=3,
        fisher_samples=50_000, loop_samples=1_000, vmap_samples=500,
        base_steps=None, forget_steps=None, reference_steps=300, paper=True, checkpoint=100,
        tracked_base_steps=2_000, whole_repeats=3, images=10_000, starts=11,
        versions=(10, 1_000, 10_000), read=3_000,
        growth_steps=(250, 500, 1_000, 2_000, 4_000), growth_samples=(5_000, 10_000, 20_000, 50_000, 100_000),
        growth_classes=(1, 2, 3, 5, 8), memory_steps=300, memory_samples=50_000,
    ),
    "quick": Budget(
        mode="quick", dataset="mnist", repeats=3, long_repeats=2,
        fisher_samples=4_000, loop_samples=100, vmap_samples=50,
        base_steps=60, forget_steps=40, reference_steps=30, paper=False, checkpoint=0,
        tracked_base_steps=120, whole_repeats=1, images=2_000, starts=3,
        versions=(10, 200), read=300,
        growth_steps=(20, 80), growth_samples=(1_000, 4_000), growth_classes=(1, 2),
        memory_steps=20, memory_samples=1_000,
    ),
    "smoke": Budget(
        mode="smoke", dataset="digits", repeats=1, long_repeats=1,
        fisher_samples=50, loop_samples=3, vmap_samples=3,
        base_steps=4, forget_steps=3, reference_steps=2, paper=False, checkpoint=0,
        tracked_base_steps=4, whole_repeats=0, images=20, starts=1,
        versions=(5,), read=5,
        growth_steps=(), growth_samples=(50,), growth_classes=(),
        memory_steps=2, memory_samples=100,
    ),
}  # fmt: skip
