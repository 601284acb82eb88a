"""(l) Reading a whole registry: the tables of a sqlite file beside MLflow's client."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Bench, store_here, store_uri
from benchmarks.clock import Contender, alternate, ratio
from benchmarks.results import Row, Section, at_least, timed
from benchmarks.stores import populate

LEAST = 10
NOTE = (
    "What `audit` asks for: every version with its tags and aliases, and of every run three tags and two metrics. Both "
    "sides read the same store in one process and find the same. The store holds one version written by MLflow and "
    "copies of its rows, each with a run and its metrics."
)


def run(bench: Bench) -> Section:
    """Read one store in turn by both ways."""
    from sa_mlops.operate.audit import METRICS, TAGS
    from sa_mlops.registry import inventory

    count = bench.budget.read
    with store_here() as folder:
        populate(folder, count)
        tables = partial(inventory.read, store_uri(folder), TAGS, METRICS)
        client = partial(inventory.ask, TAGS, METRICS)
        same = tables().versions == client().versions
        times = alternate(
            {"tables": Contender(tables), "client": Contender(client)},
            bench.budget.repeats,
            bench.device,
            warm_up=False,
        )
    where = f"{count:,} versions"
    rows = [
        timed(
            f"MLflow's client / the tables, {where}",
            ratio(times["client"], times["tables"]),
            "×",
            at_least(LEAST),
        ),
        timed(f"the tables, {where}", times["tables"]),
        timed(f"MLflow's client, {where}", times["client"]),
        Row("both find the same", float(same), "", None, note="1 is yes"),
    ]
    return Section("l", "Reading the registry", rows, [NOTE])
