"""What the registry and the runs say, read in worker threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sa_mlops.registry.lineage import Entry, Lineage

RUNS = 200
"""Newest runs that the list shows."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of the list.

    Attributes
    ----------
    progress : share of its steps done, [0, 1]; None if unknown.
    """

    run_id: str
    name: str
    stage: str
    status: str
    started: int
    ended: int | None
    parent: str
    error: str
    progress: float | None
    params: dict[str, str]
    metrics: dict[str, float]


class Store:
    """One tracking store. Every method blocks and belongs into a worker thread."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: Any = None

    @property
    def client(self) -> Any:
        """MLflow's client, connected on first use."""
        if self._client is None:
            from sa_mlops.registry import tracking

            self._client = tracking.connect()
        return self._client

    def lineage(self) -> Lineage:
        """All registered versions with their results."""
        from sa_mlops.registry import lineage

        return lineage.read(self.client)

    def runs(self) -> list[RunRow]:
        """The newest runs of all experiments, newest first."""
        client = self.client
        experiments = [e.experiment_id for e in client.search_experiments()]
        found = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=RUNS)
        return [_row(run) for run in found]

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """A metric's points (step, value)."""
        return [(m.step, m.value) for m in self.client.get_metric_history(run_id, metric)]

    def samples(self, entry: Entry, seed: int, rows: int) -> Any:
        """Images (rows, 10, 28, 28) float32 of a generator; torch is imported here."""
        import torch

        from sa_mlops.registry import versions, weights
        from sa_mlops.stages.context import grid

        torch.set_num_threads(1)
        model = weights.load_cvae(versions.files(entry.version) / "artifacts")
        return grid(model, rows, seed, torch.device("cpu"))


def _row(run: Any) -> RunRow:
    data = run.data
    tags = data.tags
    steps = tags.get("sa.steps", "")
    share = None
    if run.info.status != "RUNNING":
        share = 1.0 if run.info.status == "FINISHED" else None
    elif steps.isdigit() and int(steps) > 0:
        points = [int(v) for k, v in data.metrics.items() if k == "progress.step"]
        share = min(1.0, points[0] / int(steps)) if points else 0.0
    return RunRow(
        run_id=run.info.run_id,
        name=tags.get("mlflow.runName", "") or run.info.run_id,
        stage=tags.get("sa.stage", ""),
        status=run.info.status,
        started=run.info.start_time or 0,
        ended=run.info.end_time,
        parent=tags.get("mlflow.parentRunId", ""),
        error=tags.get("sa.error", ""),
        progress=share,
        params=dict(data.params),
        metrics=dict(data.metrics),
    )
