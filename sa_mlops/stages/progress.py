"""Progress of a loop: bars on a terminal, sparse plain lines elsewhere, and metrics to MLflow in batches."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

if TYPE_CHECKING:  # `data list` and `data add` print lines without torch, MLflow and matplotlib
    from torch import Tensor

    from sa_mlops.core.training import Report
    from sa_mlops.methods.interface import Watch
    from sa_mlops.plots.curves import Curve
    from sa_mlops.registry.tracking import Recorder

POINTS = 120
"""Approximate number of points of a curve that are kept."""
LINES = 10
"""Approximate number of lines that a loop prints without a terminal."""


def interactive() -> bool:
    """Whether to draw bars: on a terminal, except under CI."""
    return sys.stderr.isatty() and not os.environ.get("CI")


def say(text: str) -> None:
    """One line for people, on standard error."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


@contextmanager
def bar(title: str, total: int, unit: str) -> Iterator[Report]:
    """A bar on a terminal, nothing elsewhere; what it yields takes the number done so far."""
    with tqdm(
        total=total, desc=title, unit=unit, file=sys.stderr, disable=not interactive(), leave=False, dynamic_ncols=True
    ) as shown:  # fmt: skip

        def report(step: int, _: Mapping[str, Tensor]) -> None:
            shown.update(step - shown.n)

        yield report


class Progress:
    """A `Report` (see `core.training`) that shows the progress of a loop and keeps its terms.

    Terms stay on the device until a point is due, and are then read together. A term that is not finite stops the
    loop.

    Parameters
    ----------
    title : a few words for the bar.
    total : number of steps of the loop, or of samples if `unit` says so.
    recorder : receives points as `train/TERM`; None records nothing.
    before : steps of earlier loops of the same run.

    Attributes
    ----------
    outcome : a few words for the last line, which stands when the loop is done.
    """

    def __init__(
        self, title: str, total: int, recorder: Recorder | None = None, unit: str = "step", before: int = 0
    ) -> None:
        self.title = title
        self.total = total
        self.recorder = recorder
        self.before = before
        self.outcome = ""
        self.every = max(1, total // POINTS)
        self.points: dict[str, list[tuple[int, int, float]]] = {}
        self._pending: dict[str, list[tuple[int, int, float]]] = {}
        self._start = time.monotonic()
        self._sent = self._start
        self._end = 0.0
        self._next_line = max(1, total // LINES)
        self._last = 0
        # A disabled bar prints nothing; then lines are printed instead.
        self._bar = tqdm(
            total=total, desc=title, unit=unit, file=sys.stderr, disable=not interactive(), leave=False,
            dynamic_ncols=True, mininterval=0.2,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._send()
        self._end = time.monotonic()
        if kind is None:
            say(f"{self.title}: {self.outcome or 'done'} in {self.seconds:.1f} s")

    @property
    def seconds(self) -> float:
        """Duration of the loop so far, or in all."""
        return (self._end or time.monotonic()) - self._start

    def __call__(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Record a finished step."""
        due = step % self.every == 0 or step == self.total or step - self._last >= self.every
        if not due:
            return
        values = _read(terms)
        for name, value in values.items():
            if not math.isfinite(value):
                from sa_mlops.core.training import NotFiniteError

                raise NotFiniteError(step, name)
        now = int(time.time() * 1000)
        for name, value in values.items():
            point = (step, now, value)
            self.points.setdefault(name, []).append(point)
            self._pending.setdefault(f"train/{name}", []).append(point)
        done = self.before + step
        self._pending["progress/step"] = [(done, now, float(done))]
        self._bar.update(step - self._last)
        self._last = step
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        self._bar.set_postfix_str(shown, refresh=False)
        if self._bar.disable and step >= self._next_line:
            left = self.seconds / step * (self.total - step)
            say(f"{self.title}  {step}/{self.total}  {shown}  {left:.0f} s left")
            self._next_line = step + max(1, self.total // LINES)
        if time.monotonic() - self._sent > 1.0:
            self._send()

    def _send(self) -> None:
        if self.recorder is not None and self._pending:
            self.recorder.series(self._pending)
        self._pending = {}
        self._sent = time.monotonic()

    def curve(self, term: str, name: str) -> Curve:
        """The points of one term as a curve."""
        import numpy as np

        from sa_mlops.plots.curves import Curve

        steps, _, values = np.array(self.points.get(term, []), np.float32).reshape(-1, 3).T
        return Curve(name, steps, values)


def watching(title: str) -> Watch:
    """Shows the progress of every phase of a step, and records nothing."""
    return lambda phase, steps: Progress(f"{title}: {phase}", steps)


def _read(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """All terms in one transfer."""
    if not terms:
        return {}
    import torch

    stacked = torch.stack([t.detach().to(torch.float32) for t in terms.values()]).tolist()
    return dict(zip(terms, stacked, strict=True))
