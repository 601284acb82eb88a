"""Two promotions at once: one wins, and the history shows both."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from stores import Store

from sa_mlops.registry import gates, log, names, versions

pytestmark = pytest.mark.integration


def champion(client: MlflowClient) -> int:
    return log.alias_map(client, names.GENERATORS)[names.CHAMPION_ALIAS]


def history(client: MlflowClient) -> list[int]:
    return [e.number for e in log.alias_history(client, names.GENERATORS) if e.alias == names.CHAMPION_ALIAS]


def promote(client: MlflowClient, number: int) -> int | None:
    return gates.promote(client, versions.get(client, names.GENERATORS, number), None)


class Overtaken(MlflowClient):
    """A client that another promotion overtakes just before it sets the alias."""

    rival: int | None = None

    def set_registered_model_alias(self, *arguments: Any, **named: Any) -> None:
        rival, self.rival = self.rival, None
        if rival is not None:
            promote(MlflowClient(), rival)
        super().set_registered_model_alias(*arguments, **named)


def test_a_promotion_that_was_overtaken_does_not_undo_the_later_one(own_store: Store) -> None:
    slow = Overtaken()
    slow.rival = 3
    assert promote(slow, 2) == 3
    assert history(slow) == [2, 3]
    assert champion(slow) == 3


def test_promotions_at_once_leave_the_alias_where_the_history_ends(own_store: Store) -> None:
    client = MlflowClient()
    for _ in range(3):
        gate = threading.Barrier(2)

        def race(number: int, gate: threading.Barrier = gate) -> None:
            gate.wait()
            promote(MlflowClient(), number)

        racers = [threading.Thread(target=race, args=(number,)) for number in (2, 3)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert champion(client) == history(client)[-1]
    assert sorted(history(client)) == [2, 2, 2, 3, 3, 3]
