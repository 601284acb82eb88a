"""The tree of versions, also where tags were edited by hand."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable

import pytest
from mlflow.tracking import MlflowClient
from stores import Store

from sa_mlops import cli, environment
from sa_mlops.operate.tree import Entry, entries, tree_lines
from sa_mlops.registry import inventory, lineage, log, names, versions
from sa_mlops.registry.version import Version

pytestmark = pytest.mark.integration

Generator = Callable[..., int]
TAGS = {
    *(
        "sa.stage",
        "sa.parent",
        "sa.fim",
        "sa.judge",
        "sa.forgotten",
        "sa.dataset",
        "sa.data_md5",
        "sa.config",
    ),
    *("sa.seed", "sa.git_commit"),
}


@pytest.fixture
def client(empty_store: Store) -> MlflowClient:
    return MlflowClient()


@pytest.fixture
def generator(client: MlflowClient) -> Generator:
    """Registers a version with tags alone; its number."""
    for name in names.MODELS:
        client.create_registered_model(name)

    def make(parent: int | str | None = None, name: str = names.GENERATORS, **tags: str) -> int:
        tags = {f"sa.{key}": value for key, value in tags.items()}
        if parent is not None:
            tags[names.PARENT] = f"models:/sa-cvae/{parent}"
        return int(client.create_model_version(name, "nowhere", tags=tags).version)

    return make


def lines() -> list[str]:
    return list(tree_lines(entries(inventory.read(environment.store(), metrics=None))))


def tree() -> list[str]:
    return [re.sub(r"v(\d+).*", r"\1", line) for line in lines()]


def test_children_stand_under_their_parent(client: MlflowClient, generator: Generator) -> None:
    generator()
    generator(parent=1)
    generator(parent=2)
    generator(parent=1)
    generator()
    assert tree() == ["1", "├─ 2", "│  └─ 3", "└─ 4", "5"]


def test_a_version_whose_parent_is_gone_is_a_root(client: MlflowClient, generator: Generator) -> None:
    generator()
    generator(parent=1)
    client.delete_model_version(names.GENERATORS, "1")
    assert tree() == ["2"]


@pytest.mark.parametrize("parent", ["x", "-1", "1; drop", "99999999999999"])
def test_a_parent_that_is_no_version_is_no_parent(
    client: MlflowClient, generator: Generator, parent: str
) -> None:
    generator()
    generator(parent=parent)
    assert tree() == ["1", "2"]


def test_parents_edited_into_a_ring_are_all_shown_once(client: MlflowClient, generator: Generator) -> None:
    for parent in (3, 1, 2):
        generator(parent=parent)
    assert sorted(re.findall(r"\d+", " ".join(tree()))) == ["1", "2", "3"]


def test_a_version_that_is_its_own_parent_is_shown_once(client: MlflowClient, generator: Generator) -> None:
    generator(parent=1)
    assert tree() == ["1"]


def test_a_chain_goes_from_the_root_to_the_version(client: MlflowClient, generator: Generator) -> None:
    generator()
    generator(parent=1)
    generator(parent=1)
    generator(parent=3)
    chain = lineage.chain(client, versions.get(client, names.GENERATORS, 4))
    assert [v.number for v in chain] == [1, 3, 4]


@pytest.mark.parametrize(("parents", "expected"), [((3, 1, 2), [1, 2, 3]), ((9, 1, 2), [1, 2, 3])])
def test_a_chain_that_never_ends_or_breaks_off_is_cut(
    client: MlflowClient, generator: Generator, parents: tuple[int, ...], expected: list[int]
) -> None:
    for parent in parents:
        generator(parent=parent)
    chain = lineage.chain(client, versions.get(client, names.GENERATORS, 3))
    assert [v.number for v in chain] == expected


def test_tags_that_would_break_a_line_do_not(client: MlflowClient, generator: Generator) -> None:
    generator(stage="judge\nforged line", role="a\nb", seed="0\r\n1\x1b[31m", name=names.JUDGES)
    (line,) = lines()
    assert line.isprintable()


def test_aliases_are_shown_where_they_point(client: MlflowClient, generator: Generator) -> None:
    generator(stage="base")
    generator(stage="base")
    client.set_registered_model_alias(names.GENERATORS, "base", "1")
    client.set_registered_model_alias(names.GENERATORS, "champion", "1")
    assert "@base @champion" in lines()[0]


def test_a_chain_may_be_longer_than_the_stack_is_deep() -> None:
    count = 2 * sys.getrecursionlimit()
    chain = [
        Version(names.GENERATORS, n, {names.PARENT: f"models:/sa-cvae/{n - 1}"}) for n in range(1, count + 1)
    ]
    assert len(list(tree_lines([Entry(v, {}) for v in chain]))) == count


def test_an_alias_with_control_characters_is_cleaned(
    client: MlflowClient, generator: Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    generator()
    event = json.dumps({"alias": "x\x1b[31m", "from": None, "to": 1, "at": 1})
    client.set_registered_model_tag(names.GENERATORS, f"{log.EVENT}1", event)
    assert cli.main(["lineage"]) == 0
    assert "@x?[31m: nothing -> v1" in capsys.readouterr().out


class TestCommand:
    @pytest.fixture
    def document(
        self, shared_store: Store, capsys: pytest.CaptureFixture[str]
    ) -> dict[str, dict[str, object]]:
        """URI -> what `lineage --json` says of it."""
        assert cli.main(["lineage", "--json"]) == 0
        return {v["uri"]: v for v in json.loads(capsys.readouterr().out)["versions"]}

    def test_it_has_every_version_once(self, document: dict[str, dict[str, object]]) -> None:
        assert document.keys() == {
            *(f"models:/sa-cvae/{n}" for n in (1, 2, 3)),
            *(f"models:/sa-judge/{n}" for n in (1, 2)),
            "models:/sa-fim/1",
        }

    def test_base_forget_fim_and_judge_are_linked(self, document: dict[str, dict[str, object]]) -> None:
        forgotten = document["models:/sa-cvae/2"]
        tags = forgotten["tags"]
        assert isinstance(tags, dict)
        assert tags.keys() >= TAGS
        assert forgotten["parent"] == tags["sa.parent"] == "models:/sa-cvae/1"
        assert tags["sa.fim"] == "models:/sa-fim/1"
        assert tags["sa.judge"] == "models:/sa-judge/1"
        assert document["models:/sa-fim/1"]["parent"] == "models:/sa-cvae/1"

    def test_only_forgotten_classes_are_listed_as_forgotten(
        self, document: dict[str, dict[str, object]]
    ) -> None:
        gone = {uri: v["forgotten"] for uri, v in document.items() if uri.startswith("models:/sa-cvae/")}
        assert gone == {"models:/sa-cvae/1": [], "models:/sa-cvae/2": ["1"], "models:/sa-cvae/3": ["1"]}

    def test_metrics_are_results_not_curves(self, document: dict[str, dict[str, object]]) -> None:
        metrics = document["models:/sa-cvae/2"]["metrics"]
        assert isinstance(metrics, dict)
        assert "forget.prob" in metrics
        assert not [name for name in metrics if name.startswith(("train/", "system/"))]

    def test_the_text_is_one_line_a_version_and_one_a_change_of_an_alias(
        self, shared_store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["lineage"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines] == [
            "v1 base @base",
            "└─ v2 forget 1",
            "v3 retrained without 1",
            "sa-fim v1 Fisher of v1",
            "sa-judge v1 judge calibrated",
            "sa-judge v2 judge plain",
            "@base: nothing -> v1",
        ]


@pytest.mark.parametrize(("recorded", "last"), [("0", "0"), ("", "3"), ("7", "3"), ("x", "3")])
def test_the_class_forgotten_last_is_recorded_or_new_since_the_parent(
    client: MlflowClient, generator: Generator, recorded: str, last: str
) -> None:
    generator(stage="forget", forgotten="5")
    number = generator(parent=1, stage="forget", forgotten="0,3,5", forgotten_last=recorded)
    assert lineage.forgotten_last(client, versions.get(client, names.GENERATORS, number)) == last


def test_without_a_parent_the_class_forgotten_last_is_the_last_in_order(
    client: MlflowClient, generator: Generator
) -> None:
    number = generator(stage="retrain", forgotten="2,7")
    assert lineage.forgotten_last(client, versions.get(client, names.GENERATORS, number)) == "7"
    assert lineage.forgotten_last(client, versions.get(client, names.GENERATORS, generator())) is None
