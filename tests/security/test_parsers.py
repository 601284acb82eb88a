"""Whatever stands in a tag, a file or on the command line: read, or refused as documented; nothing else happens."""

from __future__ import annotations

import json
import resource
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sa_mlops.config import ForgetConfig
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.models.mlp import MLP
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import names, versions, weights
from sa_mlops.registry.gates import read_limits
from sa_mlops.registry.version import Version
from sa_mlops.registry.versions import VersionError
from sa_mlops.registry.weights import WeightsError

# Half as many as the profile asks for: these write files.
ONE_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=settings().max_examples // 2
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
HOSTILE = (
    "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "s3://bucket/key", "models:/sa-cvae/1/../2", "runs:/x/y",
    "models:/sa-cvae/1\n", "1' OR '1'='1", "1; DROP TABLE runs", "٣", "1\x00", "0", "-1", "9" * 400, "\x1b[31m", "",
)  # fmt: skip


def one_line(error: Exception) -> None:
    assert "\n" not in str(error)


class NoClient:
    """A store that must not be asked."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the store was asked: {name}")


@given(st.text())
@example("models:/sa-cvae/1\n")
def test_a_link_is_a_version_of_ours_or_nothing(text: str) -> None:
    target = names.parse_uri(text)
    assert target is None or names.version_uri(*target) == text


@given(st.text() | st.lists(st.integers(-20, 20)).map(lambda v: ",".join(map(str, v))))
@example("٣,²,1")
@example("9" * 10_000)
def test_forgotten_classes_of_a_tag_are_classes_each_once_in_order(text: str) -> None:
    version = Version(names.GENERATORS, 1, {names.FORGOTTEN: text})
    assert version.forgotten_indices == tuple(sorted(set(version.forgotten_indices)))
    assert set(version.forgotten) <= set(version.classes)


@pytest.mark.parametrize("word", HOSTILE)
def test_a_hostile_version_is_refused_before_the_store_is_asked(word: str) -> None:
    with pytest.raises(VersionError) as caught:
        versions.resolve(NoClient(), names.GENERATORS, word)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 200


@given(st.text().filter(lambda t: not t.isascii() or not t.replace("-", "").replace("_", "").isalnum()))
def test_a_version_that_is_no_word_is_refused_before_the_store_is_asked(word: str) -> None:
    with pytest.raises(VersionError):
        versions.resolve(NoClient(), names.GENERATORS, word)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "source",
    [
        "/etc", "file:///etc", "../m-" + "0" * 32, "models:/m-" + "0" * 31, "models:/m-" + "0" * 32 + "/../x",
        "models:/m-" + "0" * 32 + "\n", "models:/sa-cvae/1", "s3://bucket/m-" + "0" * 32, "runs:/0/artifacts",
    ],
)  # fmt: skip
def test_a_source_that_is_no_logged_model_is_not_read(source: str) -> None:
    assert names.MODEL_SOURCE.fullmatch(source) is None


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    weights.save_cvae(tmp_path, MLP(SPEC, 2))
    return tmp_path


@ONE_FOLDER
@given(st.binary(max_size=400) | JSON.map(lambda v: json.dumps(v).encode()))
def test_a_config_is_read_or_refused(saved: Path, content: bytes) -> None:
    (saved / weights.CONFIG).write_bytes(content)
    for load in (weights.load_cvae, weights.load_judge):
        with pytest.raises(WeightsError):
            load(saved)


@ONE_FOLDER
@given(JSON)
def test_any_latent_size_is_the_files_or_refused(saved: Path, z_dim: object) -> None:
    (saved / weights.CONFIG).write_text(json.dumps({"kind": "cvae", "z_dim": z_dim}))
    try:
        model = weights.load_cvae(saved)
    except WeightsError:
        return
    assert model.z_dim == z_dim == 2


@pytest.fixture
def little_memory() -> Iterator[None]:
    """At most 2 GB more than now: a header that is believed would need far more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2_000_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


SHAPE = st.lists(st.integers(-(2**63), 2**64), max_size=4)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F64", "I64", "BOOL", "X", ""]),
        "shape": SHAPE,
        "data_offsets": st.lists(st.integers(-10, 2**64), max_size=3),
    }
)


@ONE_FOLDER
@given(
    st.dictionaries(
        st.sampled_from([*MLP(SPEC, 2).state_dict(), "__metadata__", "x"]), ENTRY | JSON, max_size=4
    )
)
def test_a_lying_header_is_refused_and_allocates_nothing(
    saved: Path, little_memory: None, header: object
) -> None:
    text = json.dumps(header).encode()
    (saved / weights.WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 64)
    tracemalloc.start()
    with pytest.raises(WeightsError) as caught:
        weights.load_cvae(saved)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000
    assert "\n" not in str(caught.value)


@ONE_FOLDER
@given(st.integers(0, 2**64 - 1), st.binary(max_size=200))
def test_a_header_of_any_length_is_refused(
    saved: Path, little_memory: None, length: int, rest: bytes
) -> None:
    (saved / weights.WEIGHTS).write_bytes(struct.pack("<Q", length) + rest)
    with pytest.raises(WeightsError):
        weights.load_cvae(saved)


@ONE_FOLDER
@given(st.data())
def test_a_flipped_byte_of_the_header_is_refused_or_changes_values_alone(
    saved: Path, data: st.DataObject
) -> None:
    weights.save_cvae(saved, MLP(SPEC, 2))
    path = saved / weights.WEIGHTS
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    at = data.draw(st.integers(0, 8 + length - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        model = weights.load_cvae(saved)
    except WeightsError:
        return
    assert all(t.dtype == torch.float32 for t in model.state_dict().values())


@ONE_FOLDER
@given(st.binary(max_size=300) | JSON.map(lambda v: json.dumps(v).encode()))
@example(b"[" * 200_000)
@example(b'{"forget_prob": ' + b"9" * 6_000 + b"}")
@example(b'{"forget_prob": 1' + b"0" * 400 + b"}")
@example(b'{"forget_prob": NaN}')
def test_gates_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gates.json"
    path.write_bytes(content)
    try:
        assert isinstance(read_limits(path), dict)
    except ParameterError as error:
        one_line(error)


@ONE_FOLDER
@given(st.binary(max_size=300) | JSON.map(lambda v: json.dumps(v).encode()))
@example(b"[" * 200_000)
@example(b'{"steps": ' + b"9" * 6_000 + b"}")
@example(b'{"lr": NaN}')
@example(b'{"settings": "other.json"}')
@example(b'{"ewc_lambda": 1' + b"0" * 400 + b"}")
def test_a_settings_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    try:
        assert isinstance(ForgetConfig(settings=str(path)), ForgetConfig)
    except ParameterError as error:
        one_line(error)


@ONE_FOLDER
@given(st.sampled_from(sorted(k for k, p in ForgetConfig.parameters().items() if p.group == "how")), JSON)
def test_any_value_in_a_settings_file_is_taken_or_refused(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({name: value}))
    try:
        ForgetConfig(settings=str(path))
    except ParameterError as error:
        one_line(error)
