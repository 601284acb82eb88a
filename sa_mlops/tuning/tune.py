"""`tune`: a study of hyperparameters of forgetting, from its first trial to the champion."""

from __future__ import annotations

import hashlib
import itertools
import json
import shlex
import time
from typing import Any

import optuna

from sa_mlops.config import TuneConfig
from sa_mlops.errors import Stopped
from sa_mlops.methods.interface import named
from sa_mlops.registry import names
from sa_mlops.registry.version import Version
from sa_mlops.settings import fingerprint
from sa_mlops.stages import fisher as fishers
from sa_mlops.stages import forget
from sa_mlops.stages.base import base_for
from sa_mlops.stages.context import Context
from sa_mlops.stages.measure import Judges
from sa_mlops.stages.progress import say
from sa_mlops.stages.result import Result
from sa_mlops.stages.runs import StageRun
from sa_mlops.tuning import choice, register
from sa_mlops.tuning.leader import Lead, Leadership, enlist
from sa_mlops.tuning.objective import STUDY, TrialRunner
from sa_mlops.tuning.report import StudyLog, describe, front_table, importances, spell
from sa_mlops.tuning.storage import alone, beside_store
from sa_mlops.tuning.study import counts, finished, open_study, quiet
from sa_mlops.tuning.workers import Assignment, Crew, quiet_stages

POLL = 1.0
"""Seconds between two looks at the study."""
FREE = ("trials", "sampler", "sampler_seed", "seed", "device", "fresh", "from_version", "final_seeds", "study",
        "storage", "workers")  # fmt: skip
"""Parameters that may change within a study."""


def run(config: TuneConfig) -> Result:
    """Search, draw, choose and promote; a command that finds another one leading its study only runs trials."""
    ctx = Context.open(config)
    judges = Judges(ctx)
    starts = [forget.starting_point(ctx, config.from_version, (c,)) for c in config.ordered]
    with ctx.runs.entry("tune", config) as entry:
        runner, log, lead = search(ctx, config, judges, starts[0], entry)
        if lead is None:
            return _conclude(runner, log.study, log, entry)
        name = log.study.study_name
        document = {"study": name, "trials": counts(log.study)[0], "lead": lead.run}
        return Result(document, f"study {name}: {document['trials']} trials; run {lead.run} concludes")


def nested(ctx: Context, config: TuneConfig, judges: Judges, start: Version | None) -> dict[str, Any] | None:
    """The values at the knee of a study in a run below the open one, without versions; None if its front is empty."""
    with ctx.runs.entry("tune", config, nested=True) as entry:
        _, log, _ = search(ctx, config, judges, start, entry, register_front=False)
        found = finished(log.study)
        chosen = choice.choose(found, [False] * len(found.trials))
        log.record(chosen)
        return None if chosen is None else dict(found.trials[chosen].params)


def search(
    ctx: Context,
    config: TuneConfig,
    judges: Judges,
    start: Version | None,
    entry: StageRun,
    *,
    register_front: bool = True,
) -> tuple[TrialRunner, StudyLog, Lead | None]:
    """Run the trials of a study to the last; also the command that leads it, None if this one does.

    Parameters
    ----------
    start : the generator of every trial; None for the base.
    register_front : register the versions of trials that stay on the front.
    """
    quiet()
    entry.recorder.tags({names.STAGE: "tune", names.STEPS: str(config.trials)})
    # Commands that begin a study at the same moment must start from the same versions.
    with alone(config.storage or beside_store(config.study or "tune")):
        start = start or base_for(ctx, config, judges)
        needs = named(config.method).needs
        fisher = fishers.obtain(ctx, start, config.fisher_samples) if needs.fisher else None
        judges.ready()
    runner = TrialRunner(ctx, config, start, fisher, judges)
    space = searched(judges, config, start, fisher)
    name = config.study or "tune-" + hashlib.sha256(space.encode()).hexdigest()[:8]
    place = config.storage or beside_store(name)
    study = open_study(place, name, config, space)
    entry.recorder.tags({STUDY: name})
    say(f"study {name} in {place}")
    leadership = Leadership(study, place, entry.run_id)
    if leadership.other is not None:
        say(f"run {leadership.other.run} leads this study; this command runs trials for it")
    job = Assignment(
        config, place, name, space, ctx.client.get_run(entry.run_id).info.experiment_id,
        parent=leadership.other.run if leadership.other else entry.run_id,
        base=start.number, fisher=fisher.number if fisher else None, after=enlist(study, place),
    )  # fmt: skip
    log = StudyLog(study, config, runner.reference, entry)
    _search(runner, Crew(job, study), leadership, log, register_front)
    return runner, log, leadership.other


def searched(judges: Judges, config: TuneConfig, start: Version, fisher: Version | None) -> str:
    """Everything that decides the meaning of a trial's values, as one line."""
    values = {k: v for k, v in config.spelled().items() if k not in FREE} | {
        "space": ",".join(config.searched)
    }
    # The fingerprint covers the code's revision: a study does not continue under code that trains differently.
    settings = config.trial(config.ordered[0], 0, {}).resolved(start.forgotten_indices, None, net=start.net)
    upstream = {
        "base": start.uri,
        "fisher": fisher.uri if fisher else "",
        "judge": judges.pair[0].uri,
        "training": fingerprint("forget", settings),
    }
    return json.dumps(values | upstream, sort_keys=True)


def _search(
    runner: TrialRunner, crew: Crew, leadership: Leadership, log: StudyLog, register_front: bool
) -> None:
    """Run trials until the study is complete. The leader keeps the registry in step with the front."""
    study, wanted = log.study, log.config.trials

    def look() -> None:
        register.end_failed(runner.ctx.client, crew.job.experiment, study)
        leads = leadership.refresh()
        if log.news() and leads:
            _sweep(runner, study)
            log.series()

    try:
        with crew.at_work():
            while counts(study)[0] < wanted:
                crew.tend()
                look()
                if leadership.other is None and register_front:
                    _register(runner, study, register.SETTLED, most=1)
                time.sleep(POLL)
    except (Stopped, KeyboardInterrupt) as signal:
        look()
        say(f"stopped ({signal}): {counts(study)[0]} finished trials are kept; the same command resumes")
        if leadership.other is None:
            log.record()
        raise
    look()


def _sweep(runner: TrialRunner, study: optuna.Study) -> None:
    deleted = register.sweep(runner, study)
    if deleted:
        say(f"dominated and deleted from the registry: {', '.join(f'v{v.number}' for v in deleted)}")


def _register(runner: TrialRunner, study: optuna.Study, settled: int, most: int) -> None:
    for trial in itertools.islice(register.due(study, settled), most):
        with quiet_stages():
            made = register.publish(runner, study, trial)
        versions = ", ".join(f"v{n}" for n in made.versions)
        verdict = "passes every gate" if made.passed else "does not pass every gate"
        say(f"trial {trial.number} is registered as {versions}; it {verdict}")


def _conclude(runner: TrialRunner, study: optuna.Study, log: StudyLog, entry: StageRun) -> Result:
    _register(runner, study, 0, most=log.config.trials)
    _sweep(runner, study)
    found = finished(study)
    made = [register.published(study, t) for t in found.trials]
    chosen = choice.choose(found, [m is not None and m.passed for m in made])
    log.record(chosen)
    lines = [front_table(study, found)]
    document: dict[str, Any] = {
        "study": study.study_name,
        "trials": len(found.trials),
        "hypervolume": log.volume(found),
        "hypervolume_reference": [log.reference[0], -log.reference[1]],
        "front": [describe(study, t) for t in found.best],
        "importance": importances(study, log.config, found),
    }
    if chosen is None:
        lines.append("no trial satisfies the constraint; nothing is chosen")
        return Result(document, "\n\n".join(lines), passed=False)
    trial = found.trials[chosen]
    settings = choice.best_settings(log.config, trial.params)
    file = choice.log_settings(entry, settings)
    document |= {"knee": describe(study, trial), "settings": settings, "settings_file": file}
    lines.append(f"chosen: trial {trial.number}, {spell(trial.params)}")
    if log.config.final_seeds:
        final = choice.final(runner, entry, trial.params)
        document["final"] = final.document
        lines.append(final.text)
    lines.append(f"sa-mlops forget --dataset {log.config.dataset} --settings {shlex.quote(file)}")
    return Result(document, "\n\n".join(lines))
