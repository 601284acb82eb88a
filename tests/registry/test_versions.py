"""Versions: which words name one, and which sources are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from stores import Store

from sa_mlops.errors import CommandError
from sa_mlops.registry import names, versions
from sa_mlops.registry.version import Version
from sa_mlops.registry.versions import VersionError

pytestmark = pytest.mark.integration

Register = Callable[..., Version]
ID = "m-" + "0123456789abcdef" * 2


@pytest.fixture
def client(empty_store: Store) -> MlflowClient:
    return MlflowClient()


@pytest.fixture
def register(client: MlflowClient, tmp_path: Path) -> Register:
    """Registers a logged model that holds one file, or none."""

    def make(name: str = names.GENERATORS, *, files: bool = True, **tags: str) -> Version:
        model = client.create_logged_model("0", name="thing")
        if files:
            (tmp_path / "weights.txt").write_text("1 2 3")
            client.log_model_artifact(model.model_id, str(tmp_path / "weights.txt"))
        run = client.create_run("0").info.run_id
        spelled = {f"sa.{key}": value for key, value in tags.items()}
        return versions.register(
            client, name, model_id=model.model_id, run_id=run, tags=spelled, description=""
        )

    return make


class TestSource:
    @pytest.mark.parametrize(
        "source",
        [
            "/etc",
            "file:///etc",
            "../../etc",
            f"models:/{ID}/../../../etc",
            f"models:/{ID}/../m-{'f' * 32}",
            f"models:/{ID} ",
            f"models:/{ID}\n",
            f"models:/{ID[:-1]}",
            f"models:/{ID.upper()}",
            "models:/sa-cvae/1",
            "runs:/0123456789abcdef0123456789abcdef/generator",
            "s3://bucket/key",
            "http://example.invalid/weights",
            "mlflow-artifacts:/x",
            "",
        ],
    )
    def test_anything_but_a_logged_model_of_the_store_is_not_read(
        self, client: MlflowClient, source: str
    ) -> None:
        client.create_registered_model(names.GENERATORS)
        entity = client.create_model_version(names.GENERATORS, "placeholder")
        entity._source = source
        version = versions.from_entity(entity)
        assert version.model_id is None
        with pytest.raises(VersionError, match="it is not read"):
            versions.files(version)

    def test_a_foreign_source_in_the_registry_itself_is_refused(
        self, client: MlflowClient, tmp_path: Path
    ) -> None:
        client.create_registered_model(names.GENERATORS)
        client.create_model_version(names.GENERATORS, str(tmp_path))
        with pytest.raises(VersionError, match="it is not read"):
            versions.files(versions.resolve(client, names.GENERATORS, "1"))

    def test_a_logged_model_is_read(self, register: Register) -> None:
        folder = versions.files(register())
        assert (folder / "weights.txt").read_text() == "1 2 3"

    def test_a_version_without_files_says_so(self, register: Register) -> None:
        with pytest.raises(VersionError, match="has lost its files"):
            versions.files(register(files=False))

    def test_a_version_whose_logged_model_is_unknown_says_so(self, client: MlflowClient) -> None:
        version = Version(name=names.GENERATORS, number=1, model_id=ID)
        with pytest.raises(VersionError, match="has lost its files"):
            versions.files(version)

    def test_a_store_that_does_not_answer_has_not_lost_them(
        self, register: Register, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = register()

        def locked(*_: object) -> None:
            raise MlflowException("database is locked")

        monkeypatch.setattr(MlflowClient, "get_logged_model", locked)
        monkeypatch.setattr(MlflowClient, "get_model_version", locked)
        with pytest.raises(CommandError, match="cannot be fetched") as caught:
            versions.files(version)
        assert not isinstance(caught.value, VersionError)
        with pytest.raises(MlflowException, match="locked"):
            versions.get(MlflowClient(), names.GENERATORS, version.number)


class TestResolve:
    @pytest.mark.parametrize(("word", "number"), [("1", 1), ("v2", 2), ("base", 1), ("latest", 2)])
    def test_numbers_and_aliases_name_a_version(
        self, client: MlflowClient, register: Register, word: str, number: int
    ) -> None:
        register()
        register()
        client.set_registered_model_alias(names.GENERATORS, "base", "1")
        assert versions.resolve(client, names.GENERATORS, word).number == number

    @pytest.mark.parametrize(
        "word",
        [
            *["3", "0", "-1", "01", "1.0", "nobody", "models:/sa-cvae/1", "..", "/", "a/b", "١"],
            "1" * 30,
            "x" * 200,
            "",
            "a b",
        ],
    )
    def test_other_words_name_none(self, client: MlflowClient, register: Register, word: str) -> None:
        register()
        with pytest.raises(VersionError) as caught:
            versions.resolve(client, names.GENERATORS, word)
        assert "\n" not in str(caught.value)

    def test_the_message_on_an_unknown_version_names_the_newest_number_and_every_alias(
        self, client: MlflowClient, register: Register
    ) -> None:
        register()
        register()
        client.set_registered_model_alias(names.GENERATORS, "base", "1")
        known = versions.describe_known(client, names.GENERATORS)
        assert known == "a version number of sa-cvae up to 2 or an alias (base, latest)"


class TestFind:
    def test_all_tags_must_match(self, client: MlflowClient, register: Register) -> None:
        register(stage="base", seed="0")
        wanted = register(stage="base", seed="1")
        found = versions.find(client, names.GENERATORS, {names.STAGE: "base", names.SEED: "1"})
        assert found is not None
        assert found.number == wanted.number
        assert versions.find(client, names.GENERATORS, {names.STAGE: "base", names.SEED: "2"}) is None

    def test_the_newest_wins(self, client: MlflowClient, register: Register) -> None:
        register(stage="base")
        newest = register(stage="base")
        found = versions.find(client, names.GENERATORS, {names.STAGE: "base"})
        assert found is not None
        assert found.number == newest.number

    def test_one_that_has_lost_its_files_is_passed_over(
        self, client: MlflowClient, register: Register
    ) -> None:
        whole = register(stage="base")
        register(files=False, stage="base")
        found = versions.find(client, names.GENERATORS, {names.STAGE: "base"})
        assert found is not None
        assert found.number == whole.number

    def test_an_empty_tag_is_a_value(self, client: MlflowClient, register: Register) -> None:
        register(stage="base", forgotten="")
        assert versions.find(client, names.GENERATORS, {names.STAGE: "base", names.FORGOTTEN: ""}) is not None
        assert versions.find(client, names.GENERATORS, {names.STAGE: "base", names.FORGOTTEN: "1"}) is None

    @pytest.mark.parametrize("forgotten", ["Men's coat", "a%b;c", 'say "no"', "back`tick"])
    def test_class_names_are_found_as_written(
        self, client: MlflowClient, register: Register, forgotten: str
    ) -> None:
        wanted = register(stage="forget", forgotten=forgotten)
        register(stage="forget", forgotten="another")
        found = versions.find(client, names.GENERATORS, {names.STAGE: "forget", names.FORGOTTEN: forgotten})
        assert found is not None
        assert found.number == wanted.number

    @pytest.mark.parametrize("stage", ["oracle", "retrain"])
    def test_a_retrained_version_is_found_under_its_older_stage_too(
        self, client: MlflowClient, register: Register, stage: str
    ) -> None:
        register(stage="base")
        wanted = register(stage=stage)
        found = versions.find(client, names.GENERATORS, {names.STAGE: "retrain"})
        assert found is not None
        assert (found.number, found.stage) == (wanted.number, "retrain")

    def test_pages_are_followed_to_the_end(
        self, client: MlflowClient, register: Register, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(5):
            register()
        monkeypatch.setattr(versions, "PAGE", 2)
        assert [v.number for v in versions.all_versions(client, names.GENERATORS)] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("tags", "title"),
    [
        ({"sa.stage": "base"}, "v3 base"),
        ({"sa.stage": "forget", "sa.forgotten": "1,0"}, "v3 forget 0,1"),
        ({"sa.stage": "forget", "sa.forgotten": "1", "sa.settings": '{"harden": null}'}, "v3 forget 1"),
        (
            {"sa.stage": "forget", "sa.forgotten": "1", "sa.settings": '{"harden": {"pool": 2}}'},
            "v3 forget 1 hardened",
        ),
        (
            {
                "sa.stage": "forget",
                "sa.forgotten": "1",
                "sa.settings": '{"harden": {"a": 1}, "distil": {"a": 1}}',
            },
            "v3 forget 1 hardened distilled",
        ),
        ({"sa.stage": "oracle", "sa.forgotten": "1"}, "v3 retrained without 1"),
        ({"sa.stage": "retrain", "sa.forgotten": "1"}, "v3 retrained without 1"),
        (
            {"sa.stage": "forget", "sa.classes": "trouser,coat", "sa.forgotten": "coat", "sa.method": "esd"},
            "v3 forget coat by esd",
        ),
        ({"sa.stage": "judge", "sa.role": "plain"}, "v3 judge plain"),
        ({"sa.stage": "fim", "sa.parent": "models:/sa-cvae/7"}, "v3 Fisher of v7"),
        ({}, "v3 unknown"),
    ],
)
def test_a_title_names_stage_and_classes(tags: dict[str, str], title: str) -> None:
    assert Version(name=names.GENERATORS, number=3, tags=tags).title == title


@pytest.mark.parametrize(
    ("tags", "forgotten"),
    [
        ({}, ()),
        ({"sa.forgotten": "2,0,1"}, ("0", "1", "2")),
        ({"sa.forgotten": "1,1"}, ("1",)),
        ({"sa.forgotten": "x,11,-1, 3 ,²"}, ("3",)),
        ({"sa.forgotten": "coat,dress,boat", "sa.classes": "dress,shirt,coat"}, ("dress", "coat")),
    ],
)
def test_forgotten_classes_are_those_of_the_data_set_in_its_order(
    tags: dict[str, str], forgotten: tuple[str, ...]
) -> None:
    version = Version(names.GENERATORS, 1, tags)
    assert version.forgotten == forgotten
    assert tuple(version.classes[i] for i in version.forgotten_indices) == forgotten


@pytest.mark.parametrize("settings", ["", "[]", "null", "{", "[" * 19_000, '{"harden": {"pool": 2}'])
def test_settings_that_cannot_be_read_are_empty(settings: str) -> None:
    version = Version(names.GENERATORS, 1, {names.SETTINGS: settings})
    assert (version.settings, version.hardened) == ({}, False)


def test_a_version_is_hardened_by_its_own_settings_alone() -> None:
    assert not Version(names.GENERATORS, 1, {names.SETTINGS: '{"note": {"harden": {"pool": 2}}}'}).hardened


@pytest.mark.parametrize(
    ("old", "present"),
    [
        ("digit.3.prob", "class.3.prob"),
        ("base.digit.3.accuracy", "base.class.3.accuracy"),
        ("step.2.digit.0.prob", "step.2.class.0.prob"),
        ("class.digit.prob", "class.digit.prob"),
        ("worst.digit", "worst.digit"),
        ("forget.prob", "forget.prob"),
    ],
)
def test_metrics_of_older_stores_have_present_names(old: str, present: str) -> None:
    assert names.current_metrics({old: 1.0}) == {present: 1.0}


def test_a_class_name_in_a_metric_is_written_with_the_characters_that_mlflow_allows() -> None:
    assert names.class_metric("T-shirt/top (1.5)", "prob", base=True) == "base.class.T-shirt_top _1_5_.prob"


@pytest.mark.parametrize(
    "uri",
    ["", "models:/sa-cvae/0", "models:/sa-cvae/01", "models:/sa-cvae/1/x", "models:/other/1", "models:/sa-cvae/latest",
     " models:/sa-cvae/1", "models:/sa-cvae/1\n", "models:/../1", "models:/sa-cvae/-1"],
)  # fmt: skip
def test_a_link_that_is_no_version_is_none(uri: str) -> None:
    assert names.parse_uri(uri) is None
