"""`promote`: make a version the champion if its recorded metrics pass every gate."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sa_mlops.registry import gates, log, names, tracking, versions, weights
from sa_mlops.registry.version import Version, edited
from sa_mlops.registry.versions import VersionError
from sa_mlops.stages.result import Result


def promote(word: str, gate_file: Path | None) -> Result:
    """Check a version against the gates, and set the alias `champion` if all pass.

    Raises ParameterError if the version does not exist, or the file of limits cannot be read; VersionError,
    WeightsError if tags were edited, or its weights or its run are gone.
    """
    limits = gates.read_limits(gate_file)
    client = tracking.connect()
    version = versions.given(client, word)
    check(client, version, versions.net(version))
    verdicts = gates.judge_version(version, tracking.run_metrics(client, version.run_id), limits)
    passed = all(v.passed for v in verdicts)
    previous = log.alias_map(client, names.GENERATORS).get(names.CHAMPION_ALIAS)
    failed = [v.gate for v in verdicts if not v.passed]
    if failed:
        headline = f"{version.uri} is not promoted; it fails: {', '.join(failed)}"
    elif (champion := gates.promote(client, version, previous, verdicts)) == version.number:
        headline = f"{version.uri} is the champion" + (f" (was version {previous})" if previous else "")
    else:
        passed = False
        headline = f"{version.uri} passes, but another change made version {champion} the champion meanwhile"
    if any(math.isnan(v.found) for v in verdicts):
        headline += f"; measure the missing metrics with `sa-mlops evaluate {version.options}`"
    text = "\n".join([*(v.line() for v in verdicts), headline])
    document = {
        "version": version.uri,
        "promoted": passed,
        "previous": previous,
        "gates": [asdict(v) for v in verdicts],
    }
    return Result(document, text, passed)


def check(client: MlflowClient, version: Version, net: Path) -> None:
    """Raise VersionError or WeightsError for a version, its weights in the folder `net`, that no gate can judge."""
    for problem in edited(version):
        raise VersionError(f"{version.uri} is refused: {problem}")
    weights.load_cvae(net)
    try:
        client.get_run(version.run_id)
    except MlflowException as error:
        if not tracking.absent(error):
            raise
        advice = "make it again with --fresh"
        raise VersionError(f"{version.uri}: its run was deleted, and its metrics with it; {advice}") from None
