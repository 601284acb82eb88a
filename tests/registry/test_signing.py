"""Signed weights: with a trusted key, what is unsigned or altered is refused in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from stores import Store

from sa_mlops import cli
from sa_mlops.errors import CommandError
from sa_mlops.operate.keys import keygen
from sa_mlops.registry import names, publish, signing, versions, weights
from tui.services.store import Store as Reader

pytestmark = pytest.mark.integration
OWN = names.version_uri(names.GENERATORS, 2)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pair of keys, the public one trusted."""
    folder = tmp_path / "keys"
    folder.mkdir()
    keygen(folder)
    monkeypatch.setenv(signing.TRUSTED, str(folder / "public.pem"))
    return folder


@pytest.fixture
def net(whole_store: Store) -> Path:
    """Files of the generator that forgot, as a net's folder."""
    return versions.files(versions.get(MlflowClient(), names.GENERATORS, 2)) / "artifacts"


def test_a_private_key_is_its_owners_alone_and_never_replaced(tmp_path: Path) -> None:
    assert cli.main(["keygen", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "private.pem").stat().st_mode & 0o777 == 0o600
    assert cli.main(["keygen", "--out", str(tmp_path)]) == 2


def test_without_its_public_half_no_private_key_is_left(tmp_path: Path) -> None:
    (tmp_path / "public.pem").symlink_to("missing/public.pem")
    assert cli.main(["keygen", "--out", str(tmp_path)]) == 1
    assert not (tmp_path / "private.pem").exists()


def test_trust_is_kept_shown_and_removed(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(signing.TRUSTED)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    assert signing.trusted() is None
    assert cli.main(["trust", str(keys / "private.pem")]) == 1
    assert cli.main(["trust", str(keys / "public.pem")]) == 0
    assert cli.main(["trust", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["trusted"] == str(signing.trusted())
    assert cli.main(["trust", "--remove"]) == 0
    assert signing.trusted() is None


def test_the_command_of_model_signing_accepts_a_signed_folder(net: Path, keys: Path) -> None:
    signing.sign(net, keys / "private.pem", OWN)
    command = [*(sys.executable, "-m", "model_signing", "verify", "key", str(net)),
               *("--signature", str(net / signing.SIGNATURE), "--public_key", str(keys / "public.pem"))]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_signed_weights_load_and_serve(net: Path, keys: Path) -> None:
    signing.sign(net, keys / "private.pem", OWN)
    assert weights.load_cvae(net).z_dim == 8
    pyfunc = mlflow.pyfunc.load_model(f"models:/{names.GENERATORS}/2")
    assert pyfunc.predict(pd.DataFrame({"label": ["0"]})).shape == (1, 28, 28)


@pytest.mark.parametrize(
    "damage", ["unsigned", "weights", "config", "added", "removed", "other key", "no key", "unnamed"]
)
def test_altered_or_unsigned_weights_are_refused(
    net: Path, keys: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    signing.sign(net, keys / "private.pem", OWN)
    match damage:
        case "unsigned":
            (net / signing.SIGNATURE).unlink()
        case "weights":
            content = bytearray((net / weights.WEIGHTS).read_bytes())
            content[-1] ^= 1
            (net / weights.WEIGHTS).write_bytes(content)
        case "config":
            (net / weights.CONFIG).write_text((net / weights.CONFIG).read_text() + " ")
        case "added":
            (net / "more.txt").write_text("more")
        case "removed":
            (net / weights.CONFIG).unlink()
        case "other key":
            (tmp_path / "other").mkdir()
            keygen(tmp_path / "other")
            signing.sign(net, tmp_path / "other" / "private.pem", OWN)
        case "unnamed":
            signing.sign(net, keys / "private.pem", "")
        case "no key":
            monkeypatch.setenv(signing.TRUSTED, str(tmp_path / "absent.pem"))
    for command in (["sample", "2", "--rows", "1"], ["promote", "2"]):
        assert cli.main(command) == 1
        out, err = capsys.readouterr()
        assert not out
        assert err.count("\n") == 1
        assert "because a key is trusted" in err or "absent.pem" in err
    with pytest.raises(Exception, match=r"trusted|absent\.pem"):
        mlflow.pyfunc.load_model(f"models:/{names.GENERATORS}/2")


def test_a_withdrawn_version_is_named_as_withdrawn_and_not_as_altered(
    net: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signing.sign(net, keys / "private.pem", OWN)
    client = MlflowClient()
    version = versions.get(client, names.GENERATORS, 2)
    publish.withdraw(client, version, "request 7")
    with pytest.raises(Exception, match="withdrawn: request 7"):
        mlflow.pyfunc.load_model(OWN)
    for tagged in (False, True):  # the tag comes last: an erasure can be interrupted before it
        if tagged:
            client.set_model_version_tag(names.GENERATORS, "2", names.WITHDRAWN, "request 7")
            with pytest.raises(CommandError, match="withdrawn: request 7"):
                Reader(mlflow.get_tracking_uri()).files(versions.get(client, names.GENERATORS, 2))
        for command in (["sample", "2"], ["promote", "2"]):
            assert cli.main(command) == 1
            out, err = capsys.readouterr()
            assert (out, err.count("\n")) == ("", 1)
            assert "was withdrawn: request 7" in err
    for command in (["evaluate", "--version", "2"], ["probe", "--version", "2"]):
        assert cli.main([*command, "--dataset", "digits"]) == 1
        assert "was withdrawn: request 7" in capsys.readouterr().err


def test_signed_weights_are_those_of_one_version(
    net: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied onto another number, they are refused, by every command and by the terminal UI."""
    signing.sign(net, keys / "private.pem", OWN)
    other = versions.get(MlflowClient(), names.GENERATORS, 3)
    shutil.copytree(net, versions.files(other) / "artifacts", dirs_exist_ok=True)
    assert cli.main(["sample", "2", "--rows", "1"]) == 0
    capsys.readouterr()
    for command in (["sample", "3", "--rows", "1"], ["promote", "3"]):
        assert cli.main(command) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "the weights of models:/sa-cvae/3 are signed for models:/sa-cvae/2" in err
    with pytest.raises(Exception, match="are signed for"):
        mlflow.pyfunc.load_model(f"models:/{names.GENERATORS}/3")
    with pytest.raises(signing.SigningError, match="signed for"):
        Reader(mlflow.get_tracking_uri()).files(other)


def test_without_the_packages_the_command_that_installs_them_is_named(
    net: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signing.sign(net, keys / "private.pem", OWN)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    assert cli.main(["sample", "2"]) == 1
    assert "pip install 'sa-mlops[sign]'" in capsys.readouterr().err


def test_an_envelope_has_one_spelling_and_one_key(keys: Path, tmp_path: Path) -> None:
    sealed = signing.seal(b"{}", keys / "private.pem")
    assert signing.unseal(sealed, keys / "public.pem") == b"{}"
    for altered in (sealed[:-1], sealed + b" ", sealed.replace(b"e30=", b"e31="), b"", b"[]", b"{}"):
        with pytest.raises(signing.SigningError):
            signing.unseal(altered, keys / "public.pem")
    shutil.rmtree(keys)
    keys.mkdir()
    keygen(keys)
    with pytest.raises(signing.SigningError, match="another key"):
        signing.unseal(sealed, keys / "public.pem")
