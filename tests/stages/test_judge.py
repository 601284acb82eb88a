"""`judge`: the calibrated judge adapts to data on which its check fails."""

from __future__ import annotations

import pytest
from stores import Store

from sa_mlops.config import JudgeConfig
from sa_mlops.core import judging, training
from sa_mlops.registry.tracking import run_metrics
from sa_mlops.stages import judge
from sa_mlops.stages.context import Context

pytestmark = pytest.mark.integration


def test_a_calibrated_judge_that_fails_its_check_is_trained_again_with_more_effort(
    empty_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "MIN_JUDGE_STEPS", 1)
    monkeypatch.setattr(judging, "MIN_ENTROPY", 2.0)  # no judge passes
    config = JudgeConfig(dataset="digits")
    ctx = Context.open(config)
    with ctx.runs.entry("judges", config):
        version = judge.obtain(ctx, "calibrated")
    assert "trained again with 2 times the effort" in capsys.readouterr().err
    assert run_metrics(ctx.client, version.run_id)["judge.effort"] == judge.EFFORTS[-1]
