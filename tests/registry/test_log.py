"""The log of a registered model: what it holds, and which tampering it shows."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from mlflow.tracking import MlflowClient
from stores import Store

from sa_mlops import cli
from sa_mlops.registry import log, names

pytestmark = pytest.mark.integration
OLD = f"{log.EVENT}0000000000001-00000000"


@pytest.fixture
def client(empty_store: Store) -> MlflowClient:
    """Two changes by older code, four entries after them: the middle two were written at once."""
    client = MlflowClient()
    client.create_registered_model(names.GENERATORS)
    for _ in range(3):
        client.create_model_version(names.GENERATORS, "nowhere")
    for number, alias in enumerate(("base", "champion"), 1):
        event = {"alias": alias, "from": None, "to": number, "at": number, "order": number}
        client.set_registered_model_tag(names.GENERATORS, f"{OLD[:-1]}{number}", json.dumps(event))
        client.set_registered_model_alias(names.GENERATORS, alias, str(number))
    log.record_alias(client, names.GENERATORS, "base", 3, 1)
    before = log.read(client, names.GENERATORS)
    fork = [log._write(client, names.GENERATORS, kind=k, at=2, after=log.heads(before)) for k in "pq"]
    joined = log.append(client, names.GENERATORS, "approval", reason="asked")
    assert set(joined.after) == {e.hash for e in fork}
    log.record_alias(client, names.GENERATORS, "champion", 1, 2, "promotion")
    return client


def found(client: MlflowClient) -> list[str]:
    return list(log.problems(log.records(client, names.GENERATORS), log.alias_map(client, names.GENERATORS)))


def key(client: MlflowClient, kind: str) -> str:
    entry = next(e for e in log.read(client, names.GENERATORS) if e.kind == kind)
    return f"{log.PREFIX}{entry.at:013d}-{entry.hash}"


def alter(client: MlflowClient, kind: str) -> None:
    tag = key(client, kind)
    text = client.get_registered_model(names.GENERATORS).tags[tag]
    client.set_registered_model_tag(names.GENERATORS, tag, text.replace("a", "A", 1))


def redate(client: MlflowClient, kind: str) -> None:
    tag = key(client, kind)
    text = client.get_registered_model(names.GENERATORS).tags[tag]
    client.delete_registered_model_tag(names.GENERATORS, tag)
    client.set_registered_model_tag(names.GENERATORS, f"{log.PREFIX}2{tag[len(log.PREFIX) + 1 :]}", text)


def test_changes_of_older_code_come_first(client: MlflowClient) -> None:
    events = log.alias_history(client, names.GENERATORS)
    assert [(e.alias, e.number) for e in events] == [
        *(("base", 1), ("champion", 2)),
        *(("base", 3), ("champion", 1)),
    ]


def test_forks_join_and_an_unbroken_log_has_no_problem(client: MlflowClient) -> None:
    assert [e.kind for e in log.read(client, names.GENERATORS)][:2] == ["start", "alias"]
    assert len(log.heads(log.read(client, names.GENERATORS))) == 1
    assert found(client) == []


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        *((lambda c, k=k: alter(c, k), "altered") for k in ("start", "alias", "approval", "promotion")),
        *((lambda c, k=k: redate(c, k), "forged") for k in ("start", "alias", "approval", "promotion")),
        *(
            (lambda c, k=k: c.delete_registered_model_tag(names.GENERATORS, key(c, k)), "missing")
            for k in ("start", "alias", "p", "approval")
        ),
        (lambda c: c.delete_registered_model_tag(names.GENERATORS, key(c, "promotion")), "alias champion"),
        (lambda c: c.delete_registered_model_tag(names.GENERATORS, f"{OLD[:-1]}1"), "records of older code"),
        (lambda c: c.set_registered_model_tag(names.GENERATORS, f"{OLD}9", "{}"), "records of older code"),
        (lambda c: c.set_registered_model_alias(names.GENERATORS, "champion", "2"), "alias champion"),
        (lambda c: c.delete_registered_model_alias(names.GENERATORS, "base"), "alias base points at nothing"),
        (lambda c: log._write(c, names.GENERATORS, kind="q", at=3, after=[]), "second log"),
        (lambda c: c.set_registered_model_tag(names.GENERATORS, f"{log.PREFIX}1", "{}"), "no name"),
    ],
)
def test_tampering_is_named(client: MlflowClient, tamper: Callable[[MlflowClient], None], named: str) -> None:
    tamper(client)
    problems = found(client)
    assert named in " ".join(problems)
    assert all("\n" not in line for line in problems)


def test_the_command_lists_entries_and_names_the_first_broken_link(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["log"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert 'approval  reason="asked"' in lines[4]
    noted = log.heads(log.read(client, names.GENERATORS))[0]
    assert cli.main(["log", "--verify", "--head", noted]) == 0
    assert noted in capsys.readouterr().out
    client.set_registered_model_alias(names.GENERATORS, "champion", "2")
    client.delete_registered_model_tag(names.GENERATORS, key(client, "promotion"))
    assert cli.main(["log", "--verify", "--json"]) == 0
    capsys.readouterr()
    assert cli.main(["log", "--verify", "--head", noted[:12], "--json"]) == 1
    assert noted[:12] in json.loads(capsys.readouterr().out)["problem"]
    assert cli.main(["log", "--verify", "--head", "x"]) == 2
