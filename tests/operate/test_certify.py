"""Certificates: what they hold, that others can read them, and that no tampering with them stays unnoticed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from mlflow.tracking import MlflowClient
from stores import Store, isolate

from sa_mlops import cli
from sa_mlops.errors import CommandError
from sa_mlops.operate.keys import keygen
from sa_mlops.operate.verify import MODEL, STATEMENT, read, verify
from sa_mlops.registry import inventory, log, names, provenance, signing, versions

pytestmark = pytest.mark.integration
VERSION = names.version_uri(names.GENERATORS, 2)
TAMPERINGS = int(os.environ.get("SA_TAMPERINGS", "24"))
"""Seeded tamperings that are tried; `SA_TAMPERINGS=200` tries 200."""
WIDE = {
    "retain_accuracy_drop": 0.5,
    "retain_class_drop": 0.5,
    "retain_fid_rise": 10.0,
    "retain_recall_share": 0.5,
}
"""Limits that the small shared lineage keeps."""


@pytest.fixture(scope="module")
def certified(digits_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, keys, another pair of keys, and the certificate of generator 2."""
    folder = tmp_path_factory.mktemp("certified")
    digits_store.whole_copy(folder)
    for name in ("keys", "others"):
        (folder / name).mkdir()
        keygen(folder / name)
    (folder / "wide.json").write_text(json.dumps(WIDE))
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        limits = ["--gates", "wide.json", "--key", "keys/private.pem", "--out", "certificate"]
        assert cli.main(["certify", "2", *limits]) == 0
        assert cli.main(["promote", "2", "--gates", "wide.json"]) == 0
    return folder


@pytest.fixture
def copy(certified: Path, tmp_path: Path) -> Path:
    """The same, to be altered."""
    shutil.copytree(certified / "certificate", tmp_path / "certificate")
    shutil.copytree(certified / "keys", tmp_path / "keys")
    return tmp_path


def predicate(certified: Path) -> dict[str, Any]:
    found: dict[str, Any] = read(certified / "certificate", certified / "keys" / "public.pem")["predicate"]
    return found


def test_a_statement_has_the_measurements_and_the_limits_of_the_claim(certified: Path) -> None:
    found = predicate(certified)
    assert found["version"]["forgotten"] == ["1"]
    assert set(found["passedTests"]) == {g["gate"] for g in found["gates"]}
    assert found["criteria"]["limits"]["retain_fid_rise"] == WIDE["retain_fid_rise"]
    assert found["criteria"]["lockedBeforeTheRun"] is False  # these limits are not the default ones
    assert found["levels"]["A1"]["tried"] is False
    assert any("removal" in line for line in found["notClaimed"])
    assert all(entry["weights"] for entry in found["lineage"])
    packages = dict(line.split("==") for line in found["environment"]["packages"])
    assert packages == provenance.packages()  # those of the run, which this environment made


def test_the_store_has_the_signatures_and_the_log_the_certificate(
    certified: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    isolate(monkeypatch, certified)
    monkeypatch.setenv(signing.TRUSTED, str(certified / "keys" / "public.pem"))
    assert cli.main(["sample", "2", "--rows", "1"]) == 0
    assert cli.main(["sample", "1", "--rows", "1"]) == 1
    capsys.readouterr()
    assert cli.main(["log", "--verify"]) == 0
    entries = log.read(MlflowClient(), names.GENERATORS)
    assert [e.kind for e in entries][-2:] == ["certificate", "promotion"]
    assert predicate(certified)["log"] == list(entries[-2].after)
    assert f"{len(entries)} entries, unbroken" in capsys.readouterr().out


def test_it_is_verified_without_a_store(
    certified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    monkeypatch.chdir(certified)
    assert cli.main(["verify", "certificate", "--key", "keys/public.pem", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: p["data"].update(md5="0" * 32), "is of data '0000"),
        (lambda p: p["data"].update(name="none"), "'none' of the certificate is unknown"),
        (lambda p: p["lineage"][0]["settings"].update(sha256="0" * 12), "1 was made by other code"),
        (lambda p: p["lineage"][0].pop("settings"), "certify the version again"),
    ],
)
def test_other_data_and_other_code_are_not_rebuilt(
    copy: Path, change: Callable[[dict[str, Any]], Any], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    restate(copy / "certificate", lambda s: change(s["predicate"]), copy / "keys" / "private.pem")
    words = ["verify", str(copy / "certificate"), "--key", str(copy / "keys" / "public.pem"), "--reproduce"]
    assert cli.main(words) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert named in err


def test_weights_that_are_not_rebuilt_equal_are_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The signer's own false certificate: another seed than the one that made the base."""
    change = lambda s: s["predicate"]["lineage"][0]["settings"].update(seed="7")  # noqa: E731
    restate(copy / "certificate", change, copy / "keys" / "private.pem")
    words = ["verify", str(copy / "certificate"), "--key", str(copy / "keys" / "public.pem"), "--reproduce"]
    assert cli.main(words) == 1
    assert "models:/sa-cvae/1: rebuilt, with another digest" in capsys.readouterr().out
    assert not (copy / "mlflow.db").exists(), "the certificate alone is enough"


def test_the_bill_of_materials_is_valid_cyclonedx(certified: Path) -> None:
    text = (certified / "certificate" / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    card = json.loads(text)["metadata"]["component"]["modelCard"]
    assert "forget.prob" in {m["type"] for m in card["quantitativeAnalysis"]["performanceMetrics"]}


def test_a_version_that_fails_a_gate_gets_none(
    own_store: Store, certified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--key", str(certified / "keys" / "private.pem"), "--out", str(tmp_path / "out")]
    assert cli.main(["certify", "1", *arguments]) == 1
    assert "is not certified; it fails: forget_prob" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main(["certify", "2", "--key", str(certified / "keys" / "public.pem")]) == 1
    assert "is not a private key" in capsys.readouterr().err


def test_a_version_without_its_weights_gets_none(
    whole_store: Store, certified: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (
        versions.files(versions.get(MlflowClient(), names.GENERATORS, 2)) / "artifacts/weights.safetensors"
    ).unlink()
    words = ["--gates", str(certified / "wide.json"), "--key", str(certified / "keys" / "private.pem")]
    assert cli.main(["certify", "2", *words, "--out", "certificate"]) == 1
    assert "weights.safetensors cannot be copied" in capsys.readouterr().err
    assert not list(Path.cwd().glob("*certificate*"))


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def restate(folder: Path, change: Callable[[dict[str, Any]], Any], key: Path | None = None) -> None:
    """Change the statement and keep its signature, or sign it with another key."""
    path = folder / STATEMENT
    envelope = json.loads(path.read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement, sort_keys=True).encode()
    if key is not None:
        path.write_bytes(signing.seal(payload, key))
        return
    envelope["payload"] = base64.b64encode(payload).decode()
    path.write_text(json.dumps(envelope, indent=1, sort_keys=True) + "\n")


KINDS = (
    "weight", "bit", "metric", "threshold", "result", "name", "date", "digest", "swapped", "truncated", "removed",
    "added", "hidden", "link", "other key", "other signature", "old signature", "copied",
    "entry removed", "entry altered", "entry redated", "entry rewritten", "alias moved",
)  # fmt: skip
"""Kinds of tampering: with a certificate, and with the log of the store."""


def tamper(kind: str, folder: Path, keys: Path, others: Path, draw: random.Random) -> set[str]:
    """Tamper with a certificate; what the message may name."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    weights = folder / MODEL / "weights.safetensors"
    victim = draw.choice(files)
    named = {victim.relative_to(folder).as_posix()}

    def result(s: dict[str, Any]) -> None:
        name = draw.choice(sorted(s["predicate"]["results"]))
        s["predicate"]["results"][name] += draw.choice([-1e-9, 0.01, 1])

    def threshold(s: dict[str, Any]) -> None:
        limits = s["predicate"]["criteria"]["limits"]
        limits[draw.choice(sorted(limits))] *= 2

    uri, year = f"models:/sa-cvae/{draw.randint(3, 99)}", draw.randint(10, 99)
    unsigned: dict[str, Callable[[dict[str, Any]], Any]] = {
        "metric": result,
        "threshold": threshold,
        "result": lambda s: s["predicate"]["passedTests"].pop(),
        "name": lambda s: s["predicate"]["version"].update(uri=uri),
        "date": lambda s: s["predicate"].update(at=f"20{year}-01-01T00:00:00Z"),
        "digest": lambda s: draw.choice(s["subject"])["digest"].update(sha256="0" * 64),
    }
    if kind in unsigned:
        if kind == "digest":
            flip(weights, draw)
        restate(folder, unsigned[kind])
        return {STATEMENT}
    match kind:
        case "weight":
            flip(weights, draw)
            return {"model/weights.safetensors"}
        case "bit":
            flip(victim, draw)
        case "swapped":
            first, second = draw.sample(files, 2)
            content = first.read_bytes()
            first.write_bytes(second.read_bytes())
            second.write_bytes(content)
            return {p.relative_to(folder).as_posix() for p in (first, second)}
        case "truncated":
            victim.write_bytes(victim.read_bytes()[: draw.randrange(victim.stat().st_size)])
        case "removed":
            victim.unlink()
        case "added":
            name = draw.choice(["more.txt", "model/more.txt", ".gitignore", "model/.gitattributes"])
            (folder / name).touch()
            return {name}
        case "hidden":
            name = draw.choice([".git", "more", "model/.git"])
            (folder / name).mkdir()
            return {name}
        case "link":
            shutil.copyfile(victim, folder.parent / "elsewhere")
            victim.unlink()
            victim.symlink_to(folder.parent / "elsewhere")
        case "other key":
            restate(folder, lambda s: None, others / "private.pem")
            return {STATEMENT}
        case "other signature":
            signing.sign(folder / MODEL, others / "private.pem", VERSION)
            return {"model/model.sig"}
        case "old signature":  # by the right key, but not the signature that the statement binds
            signing.sign(folder / MODEL, keys / "private.pem", VERSION)
            return {"model/model.sig"}
        case "copied":  # by the right key too: a statement for another version over this one's weights
            restate(folder, lambda s: s["predicate"]["version"].update(uri=uri), keys / "private.pem")
            return {uri}
    return named


def tamper_log(kind: str, records: dict[str, str], aliases: dict[str, int], draw: random.Random) -> str:
    """Tamper with a log that was sound; what the message must name."""
    if kind == "alias moved":
        alias = draw.choice(sorted(aliases))
        aliases[alias] += 1
        return alias
    tag = draw.choice([t for t in sorted(records) if t.startswith(log.PREFIX)])
    text, (at, digest) = records[tag], tag.removeprefix(log.PREFIX).split("-")
    if kind == "entry altered":
        place = draw.randrange(len(text))
        records[tag] = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        return digest[:12]
    del records[tag]
    if kind == "entry redated":
        records[f"{log.PREFIX}{int(at) + draw.randint(1, 10**6):013d}-{digest}"] = text
    elif kind == "entry rewritten":  # whole in itself
        forged = json.dumps({**json.loads(text), "reason": "none"}, sort_keys=True)
        records[f"{log.PREFIX}{at}-{hashlib.sha256(forged.encode()).hexdigest()}"] = forged
    return digest[:12]


def test_no_seeded_tampering_stays_unnoticed(certified: Path, tmp_path: Path) -> None:
    """Each is refused in one line that names the file, the version, the entry or the alias."""
    keys, others = certified / "keys", certified / "others"
    held = inventory.read(Store(certified).uri)
    aliases = held.aliases[names.GENERATORS]
    (newest,) = log.heads(log.entries(held.records))
    missed = []
    for seed in range(TAMPERINGS):
        draw = random.Random(seed)
        kind = KINDS[seed % len(KINDS)]
        if kind.startswith(("entry", "alias")):
            records, now = dict(held.records), dict(aliases)
            named = {tamper_log(kind, records, now, draw)}
            line = next(log.problems(records, now, newest), "")
        else:
            folder = tmp_path / str(seed)
            shutil.copytree(certified / "certificate", folder)
            named, line = tamper(kind, folder, keys, others, draw), ""
            try:
                verify(folder, keys / "public.pem")
            except CommandError as error:
                line = str(error)
            shutil.rmtree(folder)
        if "\n" in line or not any(name in line for name in named):
            missed.append((seed, kind, line))
    assert missed == []
    verify(certified / "certificate", keys / "public.pem")
    assert not list(log.problems(held.records, aliases, newest))
    print(f"{TAMPERINGS} tamperings of {len(KINDS)} kinds, {TAMPERINGS - len(missed)} detected")  # noqa: T201


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda f: (f / MODEL / "weights.safetensors").write_bytes(b""), "weights.safetensors was altered"),
        (lambda f: (f / "report.md").unlink(), "report.md is missing"),
        (lambda f: (f / "more.txt").touch(), "more.txt was added"),
        (lambda f: (f / STATEMENT).unlink(), f"{STATEMENT} is missing"),
        (lambda f: restate(f, lambda s: s.update(subject=[])), "altered, or signed by another key"),
        (lambda f: (f / STATEMENT).write_text("{}"), "damaged"),
        (
            lambda f: restate(f, lambda s: s["predicate"].pop("at"), f.parent / "keys" / "private.pem"),
            "lacks fields",
        ),
        (lambda f: (f / MODEL / "version.json").unlink(), "model/version.json is missing"),
    ],
)
def test_the_line_names_the_fault(
    copy: Path, change: Callable[[Path], Any], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copy / "certificate")
    assert cli.main(["verify", str(copy / "certificate"), "--key", str(copy / "keys" / "public.pem")]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert named in err


def test_without_a_key_or_a_folder_the_command_line_is_wrong(copy: Path) -> None:
    assert cli.main(["verify", str(copy / "certificate")]) == 2
    assert cli.main(["verify", str(copy / "none"), "--key", str(copy / "keys" / "public.pem")]) == 2
