"""`tune`: a study of how to forget, from its first trial to the champion."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import mlflow
import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from sa_mlops.config import TuneConfig
from sa_mlops.core.metrics.objectives import forgetting_gap, retention
from sa_mlops.errors import Stopped
from sa_mlops.plots import tuning as plots
from sa_mlops.registry import names
from sa_mlops.registry.tracking import stoppable
from sa_mlops.registry.version import Version
from sa_mlops.settings import fingerprint
from sa_mlops.stages import fisher as fishers
from sa_mlops.stages import forget
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import Result, table
from sa_mlops.stages.runs import StageRun
from sa_mlops.tuning import choice, register
from sa_mlops.tuning import study as studies
from sa_mlops.tuning.front import hypervolume, knee
from sa_mlops.tuning.objective import STUDY, TRIAL, Bench
from sa_mlops.tuning.study import Outcome
from sa_mlops.tuning.workers import Crew, Job, quiet_stages

POLL = 1.0
"""Seconds between two looks at the study."""
SIGN = 30.0
"""Seconds between two signs of life of the leading command."""
SHOWN = 5
"""Trade-offs in the table that progress shows."""
TABLES = 6
"""About how many times progress shows that table."""
SETTINGS_FILE = "best_settings.json"


def run(config: TuneConfig) -> Result:
    """Search, draw, choose, promote; a study that is already led lends its workers and ends."""
    studies.quiet()
    ctx = Context.open(config)
    judges = Judges(ctx)
    starts = [forget.starting_point(ctx, config.from_version, (i,)) for i in config.ordered]
    with stoppable(), ctx.runs.entry("tune", config) as entry:
        entry.recorder.tags({names.STAGE: "tune", names.STEPS: str(config.trials)})
        # Commands that begin at the same moment on one study must start from the same versions.
        with studies.alone(config.storage or journal_beside_store(config.study or "tune")):
            start = starts[0] or base_for(ctx, config, judges)
            fisher = fishers.obtain(ctx, start, config.fisher_samples)
            judges.ready()
        bench = Bench(ctx, config, start, fisher, judges)
        search = searched(judges, config, start, fisher)
        name = config.study or "tune-" + hashlib.sha256(search.encode()).hexdigest()[:8]
        place = config.storage or journal_beside_store(name)
        study = studies.open_study(place, name, config, search)
        entry.recorder.tags({STUDY: name})
        say(f"study {name} in {place}")
        return Session(ctx, config, entry, bench, study, place, search).run()


def searched(judges: Judges, config: TuneConfig, start: Version, fisher: Version) -> str:
    """Everything that decides what a trial's values mean, as one line."""
    ways = (
        "trials",
        "sampler",
        "sampler_seed",
        "seed",
        "device",
        "fresh",
        "from_version",
        "final_seeds",
        "study",
        "storage",
        "workers",
    )
    values = {k: v for k, v in config.spelled().items() if k not in ways}
    # Also what no parameter says: a study must not go on under code that trains differently.
    settings = config.trial(config.ordered[0], 0, {}).resolved(start.forgotten_indices, None)
    upstream = {
        "base": start.uri,
        "fisher": fisher.uri,
        "judge": judges.pair[0].uri,
        "training": fingerprint("forget", settings),
    }
    return json.dumps(values | upstream, sort_keys=True)


def journal_beside_store(name: str) -> str:
    """The journal file of a study: in the folder of a local tracking store, else in the current one."""
    uri = mlflow.get_tracking_uri()
    match = re.match(r"(?:sqlite:///|file://)(.+)", uri)
    folder = Path(match[1]) if match else Path("mlflow.db")
    return str((folder if folder.is_dir() else folder.parent).absolute() / "studies" / f"{name}.journal")


class Session:
    """One command's part in a study.

    Parameters
    ----------
    entry : the command's run.
    place, search : see `study.open_study`.
    """

    def __init__(
        self,
        ctx: Context,
        config: TuneConfig,
        entry: StageRun,
        bench: Bench,
        study: optuna.Study,
        place: str,
        search: str,
    ) -> None:
        self.ctx, self.config, self.entry, self.bench, self.study = ctx, config, entry, bench, study
        self.helping = studies.take_lead(study, place, entry.run_id)
        experiment = ctx.client.get_run(entry.run_id).info.experiment_id
        self.job = Job(
            config, place, study.study_name, search, experiment,
            parent=self.helping.run if self.helping else entry.run_id,
            base=bench.base.number, fisher=bench.fisher.number, after=studies.enlist(study, place),
        )  # fmt: skip
        self.signed = time.monotonic()
        self.ended = 0
        self.progress = Progress(study, config, self.reference)

    @property
    def reference(self) -> tuple[float, float]:
        """The point below which hypervolume is measured, as losses.

        The untouched base forgets nothing and retains all it has: a trial must forget more, and may lose at most half
        of its retention.
        """
        before = self.bench.before
        pairs = [
            ([before[d]], [s for s in before if s.label not in self.bench.forgotten(d)])
            for d in self.config.ordered
        ]
        gap = float(np.mean([forgetting_gap(gone, 10) for gone, _ in pairs]))
        kept = float(np.mean([retention(rest) for _, rest in pairs]))
        return gap, -kept / 2

    def run(self) -> Result:
        """Search with this command's workers, then conclude if it leads."""
        if self.helping is not None:
            say(f"run {self.helping.run} leads this study; its trials are helped along")
        self._sign()
        crew = Crew(self.job, self.study, self._lost)
        try:
            with crew.at_work():
                while studies.counts(self.study)[0] < self.config.trials:
                    crew.tend()
                    self._end_lost()
                    self._look()
                    self._register(register.SETTLED, most=1)
                    time.sleep(POLL)
        except (Stopped, KeyboardInterrupt) as signal:
            self._end_lost()
            self._look()
            complete = studies.counts(self.study)[0]
            say(f"stopped ({signal}): {complete} finished trials are kept; the same command goes on")
            self._record(studies.outcome(self.study))
            raise
        self._end_lost()
        self._look()
        if self.helping is not None:
            return self._helped()
        return self._conclude()

    def _sign(self) -> None:
        """Give a sign of life, unless another command leads."""
        lead = studies.lead_of(self.study)
        if lead is not None and lead.run != self.entry.run_id and lead.alive:
            self.helping = lead
            return
        if self.helping is not None:
            self.helping = studies.take_lead(self.study, self.job.place, self.entry.run_id)
            if self.helping is not None:
                return
            say("the leading command is gone; this one leads now")
        if time.monotonic() - self.signed > SIGN:
            studies.sign_lead(self.study, self.entry.run_id)
            self.signed = time.monotonic()

    def _look(self) -> None:
        """Report what is new; whoever leads also keeps the registry at the front."""
        self._sign()
        if not self.progress.news():
            return
        if self.helping is None:
            self._sweep()
            found = studies.outcome(self.study)
            point = (len(found.trials), self.entry.now())
            self.entry.recorder.series(
                {
                    "tune.trials": [(*point, float(len(found.trials)))],
                    "tune.front": [(*point, float(found.front.sum()))],
                    "tune.hypervolume": [(*point, volume(found, self.reference))],
                }
            )

    def _sweep(self) -> None:
        gone = register.sweep(self.bench, self.study)
        if gone:
            say(f"dominated and taken from the registry: {', '.join(f'v{v.number}' for v in gone)}")

    def _register(self, settled: int, most: int) -> None:
        """Register at most so many trials of the front; only a lead does."""
        if self.helping is not None:
            return
        for trial in itertools.islice(register.due(self.study, settled), most):
            with quiet_stages():
                made = register.publish(self.bench, self.study, trial)
            say(
                f"trial {trial.number} is registered as {', '.join(f'v{n}' for n in made.versions)}; "
                + ("it passes every gate" if made.passed else "it does not pass every gate")
            )

    def _lost(self, trial: FrozenTrial) -> None:
        say(f"trial {trial.number} died with its worker; its values are queued again")

    def _end_lost(self) -> None:
        """Let the runs of failed trials end as KILLED, whose worker had no chance to say so, wherever it ran."""
        failed = {str(t.number) for t in self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))}
        if len(failed) == self.ended:
            return
        self.ended = len(failed)
        client = self.ctx.client
        text = f"tags.`{STUDY}` = '{self.study.study_name}' AND attributes.status = 'RUNNING'"
        for run in client.search_runs([self.job.experiment], text):
            if run.data.tags.get(TRIAL) not in failed:
                continue
            text = f"tags.`mlflow.parentRunId` = '{run.info.run_id}' AND attributes.status = 'RUNNING'"
            for child in client.search_runs([self.job.experiment], text):
                client.set_terminated(child.info.run_id, "KILLED")
            client.set_terminated(run.info.run_id, "KILLED")

    def _passed(self, trial: FrozenTrial) -> bool:
        made = register.published(self.study, trial)
        return made is not None and made.passed

    def _helped(self) -> Result:
        complete = studies.counts(self.study)[0]
        document = {"study": self.study.study_name, "trials": complete, "lead": self.job.parent}
        return Result(
            document, f"study {self.study.study_name}: {complete} trials; run {self.job.parent} concludes"
        )

    def _record(self, found: Outcome, chosen: int | None = None) -> None:
        """Table and pictures of what was found, on the command's run; only a lead's."""
        if self.helping is not None or not found.trials:
            return
        frame = trial_table(self.study, found)
        self.entry.client.log_table(self.entry.run_id, frame, "tables/trials.json")
        self.entry.client.log_text(self.entry.run_id, frame.to_csv(index=False), "tables/trials.csv")
        for name, draw in pictures(self.study, self.config, found, chosen).items():
            self.entry.figure(draw(), f"figures/{name}.png")

    def _conclude(self) -> Result:
        self._register(0, most=self.config.trials)
        self._sweep()
        found = studies.outcome(self.study)
        chosen = choose(found, [self._passed(t) for t in found.trials])
        self._record(found, chosen)
        lines = [trade_offs(self.study, found)]
        document: dict[str, Any] = {
            "study": self.study.study_name,
            "trials": len(found.trials),
            "hypervolume": volume(found, self.reference),
            "hypervolume_reference": [self.reference[0], -self.reference[1]],
            "front": [describe(self.study, t) for t in found.best],
            "importance": importances(self.study, self.config, found),
        }
        if chosen is None:
            lines.append("no trial keeps the constraint; nothing is chosen")
            return Result(document, "\n\n".join(lines), passed=False)
        values = found.trials[chosen].params
        document |= {
            "knee": describe(self.study, found.trials[chosen]),
            "settings": best_settings(self.config, values),
        }
        document["settings_file"] = self._log_settings(document["settings"])
        lines.append(f"chosen: trial {found.trials[chosen].number}, {spell(values)}")
        if self.config.final_seeds:
            final = choice.final(self.bench, self.entry, values)
            document["final"] = final.document
            lines.append(final.text)
        lines.append(f"sa-mlops forget --settings {document['settings_file']}")
        return Result(document, "\n\n".join(lines))

    def _log_settings(self, settings: dict[str, Any]) -> str:
        """Where the file with the chosen settings lies."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / SETTINGS_FILE
            path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
            self.entry.client.log_artifact(self.entry.run_id, str(path))
        root = self.ctx.client.get_run(self.entry.run_id).info.artifact_uri
        local = Path(url2pathname(urlparse(root).path)) / SETTINGS_FILE
        if local.is_file():
            return str(local)
        return str(mlflow.artifacts.download_artifacts(f"runs:/{self.entry.run_id}/{SETTINGS_FILE}"))


def choose(found: Outcome, passed: Sequence[bool]) -> int | None:
    """Row of the knee of the front's trials whose versions pass every gate, else of the whole front; None if empty."""
    front = np.flatnonzero(found.front)
    if not len(front):
        return None
    passing = front[np.asarray(passed)[front]]
    rows = passing if len(passing) else front
    return int(rows[knee(found.losses[rows])])


def best_settings(config: TuneConfig, values: dict[str, Any]) -> dict[str, Any]:
    """What `forget --settings` reads: the chosen values, and what the study held fixed."""
    step = config.trial(config.ordered[0], config.seed, values)
    fixed = ("recipe", "z_dim", "fisher_samples", "harden", "steps")
    return {name: getattr(step, name) for name in fixed} | values


def volume(found: Outcome, reference: tuple[float, float]) -> float:
    """Hypervolume of the front over gap and retention."""
    return hypervolume(found.losses[found.front][:, :2], reference)


def importances(study: optuna.Study, config: TuneConfig, found: Outcome) -> dict[str, dict[str, float]]:
    """Objective -> parameter -> share of its variation among the better trials; empty without enough trials."""
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


def describe(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    """A trial as JSON."""
    metrics = {
        k: v
        for k, v in trial.user_attrs.items()
        if k.startswith(("objective.", "forget.", "retain.", "time."))
    }
    made = register.published(study, trial)
    return {
        "trial": trial.number,
        "values": trial.params,
        "metrics": metrics,
        "versions": list(made.versions) if made else [],
        "passes_gates": made.passed if made else None,
        "run_id": trial.user_attrs.get(studies.RUN),
    }


def trial_table(study: optuna.Study, found: Outcome) -> pd.DataFrame:
    """All finished trials, a row each."""
    rows = [
        {
            "trial": t.number,
            **t.params,
            **describe(study, t)["metrics"],
            "feasible": bool(feasible),
            "front": bool(front),
            "passes_gates": describe(study, t)["passes_gates"],
            "run_id": t.user_attrs.get(studies.RUN),
        }
        for t, feasible, front in zip(found.trials, found.feasible, found.front, strict=True)
    ]
    return pd.DataFrame(rows)


def spell(values: dict[str, Any]) -> str:
    """Values for people."""
    return ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())


def trade_offs(study: optuna.Study, found: Outcome, most: int | None = None) -> str:
    """The front as a table; of a long one `most` trials, spread from its one end to the other."""
    best = found.best
    if not best:
        return "no trial keeps the constraint yet"
    if most is not None and len(best) > most:
        best = [best[round(i * (len(best) - 1) / (most - 1))] for i in range(most)]
    rows = [
        [
            f"trial {t.number}",
            *(
                f"{t.user_attrs.get(key, np.nan):.4f}"
                for key in (
                    "objective.gap",
                    "objective.retention",
                    "forget.prob",
                    "retain.class_drop_max",
                    "time.forget",
                )
            ),
            {None: "", True: "pass", False: "fail"}[describe(study, t)["passes_gates"]],
            spell(t.params),
        ]
        for t in best
    ]
    header = ["front", "gap", "retention", "p", "worst drop", "seconds", "gates", "values"]
    return table(header, rows)


class Progress:
    """Lines about a study while it runs.

    Parameters
    ----------
    reference : see `Session.reference`.
    """

    def __init__(self, study: optuna.Study, config: TuneConfig, reference: tuple[float, float]) -> None:
        self.study, self.config, self.reference = study, config, reference
        self.started = time.monotonic()
        self.seen = {t.number for t in studies.outcome(study).trials}
        self.before = len(self.seen)
        self.shown = self.before

    def news(self) -> bool:
        """Say what has finished since the last call; whether anything has."""
        found = studies.outcome(self.study)
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
            say(f"{trade_offs(self.study, found, SHOWN)}\nhypervolume {volume(found, self.reference):.4f}")
        return True


def pictures(
    study: optuna.Study, config: TuneConfig, found: Outcome, chosen: int | None
) -> dict[str, Callable[[], Any]]:
    """Name -> what draws it."""
    gap, kept = found.losses[:, 0], -found.losses[:, 1]
    searched = config.searched
    values = {name: np.array([t.params[name] for t in found.trials]) for name in searched}
    objectives = {"forgetting gap": gap, "retention": kept}
    references = [
        plots.Reference(name, float(gap[i]), float(kept[i]))
        for name, wanted in (
            ("default", studies.default_values(config)),
            ("paper", studies.paper_values(config)),
        )
        for i in [next((i for i, t in enumerate(found.trials) if t.params == wanted), None)]
        if i is not None
    ]
    out: dict[str, Callable[[], Any]] = {
        "pareto": lambda: plots.pareto_front(
            gap, kept, found.front, feasible=found.feasible, knee=chosen, references=references
        ),
        "slices": lambda: plots.slices(values, objectives, on_front=found.front, feasible=found.feasible),
    }
    shares = importances(study, config, found)
    if shares:
        out["importance"] = lambda: plots.importance(shares)
    numeric = {k: v for k, v in values.items() if k not in studies.WORDS and len(np.unique(v)) > 3}
    if len(numeric) >= 2:
        out["contour_gap"] = lambda: plots.contours(numeric, gap, name="forgetting gap", on_front=found.front)
        out["contour_retention"] = lambda: plots.contours(
            numeric, kept, name="retention", on_front=found.front
        )
    return out
