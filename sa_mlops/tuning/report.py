"""Reports of a study: progress lines, tables and figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pandas as pd
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial

from sa_mlops.config import TuneConfig
from sa_mlops.plots import tuning as plots
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import table
from sa_mlops.stages.runs import StageRun
from sa_mlops.tuning.front import hypervolume
from sa_mlops.tuning.register import published
from sa_mlops.tuning.space import recipe_values
from sa_mlops.tuning.study import RUN, Finished, finished

SHOWN = 5
"""Trials of the front in the table among the progress lines."""
TABLES = 6
"""Approximate number of such tables in a study."""
COLUMNS = {
    "gap": "objective.gap",
    "retention": "objective.retention",
    "p": "forget.prob",
    "worst drop": "retain.class_drop_max",
    "seconds": "time.forget",
}
"""Heading -> metric of the table of the front."""


class StudyLog:
    """Reports the finished trials of a study, on standard error and on the command's run.

    Parameters
    ----------
    reference : the point below which hypervolume is measured, as losses.
    """

    def __init__(
        self, study: optuna.Study, config: TuneConfig, reference: tuple[float, float], run: StageRun
    ) -> None:
        self.study, self.config, self.reference, self.run = study, config, reference, run
        self.started = time.monotonic()
        self.seen = {t.number for t in finished(study).trials}
        self.before = len(self.seen)
        self.shown = self.before

    def volume(self, found: Finished) -> float:
        """Hypervolume of the front over gap and retention."""
        return hypervolume(found.losses[found.front][:, :2], self.reference)

    def news(self) -> bool:
        """Print a line for each trial that has finished since the last call; whether there was any."""
        found = finished(self.study)
        new = [i for i, t in enumerate(found.trials) if t.number not in self.seen]
        if not new:
            return False
        self.seen |= {found.trials[i].number for i in new}
        done = len(found.trials)
        left = (time.monotonic() - self.started) / (done - self.before) * max(0, self.config.trials - done)
        for i in new:
            trial = found.trials[i]
            mark = "front" if found.front[i] else "" if found.feasible[i] else "breaks the constraint"
            say(
                f"{done}/{self.config.trials}  trial {trial.number}: gap {found.losses[i, 0]:.4f}  "
                f"retention {-found.losses[i, 1]:.4f}  ({spell(trial.params)})  {mark}".rstrip()
                + f"  {left / 60:.1f} min left"
            )
        if done - self.shown >= max(1, self.config.trials // TABLES) or done >= self.config.trials:
            self.shown = done
            say(f"{front_table(self.study, found, SHOWN)}\nhypervolume {self.volume(found):.4f}")
        return True

    def series(self) -> None:
        """Log a point of the study's curves on the run."""
        found = finished(self.study)
        values = {
            "trials": float(len(found.trials)),
            "front": float(found.front.sum()),
            "hypervolume": self.volume(found),
        }
        step, now = len(found.trials), self.run.now()
        self.run.recorder.series({f"tune.{name}": [(step, now, value)] for name, value in values.items()})

    def record(self, chosen: int | None = None) -> None:
        """Log the table of trials and the figures on the run."""
        found = finished(self.study)
        if not found.trials:
            return
        frame = trial_table(self.study, found)
        self.run.table("trials", frame)
        for name, draw in figures(self.study, self.config, found, chosen).items():
            self.run.figure(draw(), f"figures/{name}.png")


def describe(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    """A trial as JSON."""
    shown = ("objective.", "forget.", "retain.", "time.")
    made = published(study, trial)
    return {
        "trial": trial.number,
        "values": trial.params,
        "metrics": {k: v for k, v in trial.user_attrs.items() if k.startswith(shown)},
        "versions": list(made.versions) if made else [],
        "passes_gates": made.passed if made else None,
        "run_id": trial.user_attrs.get(RUN),
    }


def trial_table(study: optuna.Study, found: Finished) -> pd.DataFrame:
    """All finished trials, a row each."""
    rows = []
    for trial, feasible, front in zip(found.trials, found.feasible, found.front, strict=True):
        d = describe(study, trial)
        rows.append(
            {
                "trial": d["trial"],
                **d["values"],
                **d["metrics"],
                "feasible": bool(feasible),
                "front": bool(front),
            }
            | {key: d[key] for key in ("passes_gates", "run_id")}
        )
    return pd.DataFrame(rows)


def spell(values: dict[str, Any]) -> str:
    """Values as text."""
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())


def front_table(study: optuna.Study, found: Finished, most: int | None = None) -> str:
    """The front as a table; at most `most` trials, evenly spaced along it."""
    best = found.best
    if not best:
        return "no trial satisfies the constraint yet"
    if most is not None and len(best) > most:
        best = [best[round(i * (len(best) - 1) / (most - 1))] for i in range(most)]
    gates = {None: "", True: "pass", False: "fail"}
    rows = [
        [
            f"trial {t.number}",
            *(f"{t.user_attrs.get(key, np.nan):.4f}" for key in COLUMNS.values()),
            gates[describe(study, t)["passes_gates"]],
            spell(t.params),
        ]
        for t in best
    ]
    return table(["front", *COLUMNS, "gates", "values"], rows)


def importances(study: optuna.Study, config: TuneConfig, found: Finished) -> dict[str, dict[str, float]]:
    """Objective -> parameter -> share of the explained variance (fANOVA); empty with fewer than four trials."""
    out = {}
    for i, objective in enumerate(("gap", "retention")):
        if len(found.trials) < 4 or len(config.searched) < 2 or np.ptp(found.losses[:, i]) == 0:
            continue
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        out[objective] = optuna.importance.get_param_importances(
            study, evaluator=evaluator, params=list(config.searched), target=_picker(i)
        )
    return out


def _picker(i: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(trial.values[i])


def figures(
    study: optuna.Study, config: TuneConfig, found: Finished, chosen: int | None
) -> dict[str, Callable[[], Figure]]:
    """Name -> function that draws the figure."""
    gap, retained = found.losses[:, 0], -found.losses[:, 1]
    values = {name: np.array([t.params[name] for t in found.trials]) for name in config.searched}
    objectives = {"forgetting gap": gap, "retention": retained}
    references = [
        plots.Reference(name, float(gap[i]), float(retained[i]))
        for name, recipe in (("default", config.recipe), ("paper", "paper"))
        for i, trial in enumerate(found.trials)
        if trial.params == recipe_values(config, recipe)
    ]
    shares = importances(study, config, found)
    numeric = {k: v for k, v in values.items() if v.dtype.kind in "if" and len(np.unique(v)) > 3}
    out: dict[str, Callable[[], Figure]] = {
        "pareto": lambda: plots.pareto_front(
            gap, retained, found.front, feasible=found.feasible, knee=chosen, references=references
        ),
        "slices": lambda: plots.slices(values, objectives, on_front=found.front, feasible=found.feasible),
    }
    if shares:
        out["importance"] = lambda: plots.importance(shares)
    if len(numeric) >= 2:
        out["contour_gap"] = lambda: plots.contours(numeric, gap, name="forgetting gap", on_front=found.front)
        out["contour_retention"] = lambda: plots.contours(
            numeric, retained, name="retention", on_front=found.front
        )
    return out
