"""`certify`: one signed folder that shows a stranger what was measured of a version, and sign the version's weights."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from sa_mlops import __version__
from sa_mlops.core.measuring import MANIFOLD_SAMPLES, SAMPLES
from sa_mlops.core.probes import level
from sa_mlops.errors import CommandError
from sa_mlops.operate import report
from sa_mlops.operate.bom import bom
from sa_mlops.operate.promote import check
from sa_mlops.operate.verify import MODEL, PREDICATE, STATEMENT, TYPE, digests, verify
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import (
    claims,
    gates,
    lineage,
    log,
    names,
    provenance,
    publish,
    signing,
    tracking,
    versions,
    weights,
)
from sa_mlops.registry.gates import Verdict
from sa_mlops.registry.version import Version
from sa_mlops.registry.versions import VersionError
from sa_mlops.stages import fisher
from sa_mlops.stages.result import Result

BOM = "bom.cdx.json"
NOT_CLAIMED = (
    "removal: that the generator behaves like one that never saw the classes",
    "resistance to attackers or budgets that are not listed under levels",
    "anything about copies of this or of other versions outside this registry",
    "that the recorded results were measured by an unaltered program: the signer vouches for the registry",
)


def certify(word: str, key: Path, out: Path | None, gate_file: Path | None) -> Result:
    """Write a certificate of a version that passes every gate, and store the signatures of its weights and judges.

    Raises ParameterError if the version does not exist, or `out` does; CommandError if the version fails a gate, was
    edited or has lost its files, or the key cannot be used.

    Parameters
    ----------
    key : file of the private key.
    out : folder that does not exist yet; by default in `certificates`.
    """
    limits = gates.read_limits(gate_file)
    public = _public(key)
    client = tracking.connect()
    version = versions.given(client, word)
    metrics = tracking.run_metrics(client, version.run_id)
    verdicts = gates.judge_version(version, metrics, limits)
    if failed := [v.gate for v in verdicts if not v.passed]:
        raise CommandError(f"{version.uri} is not certified; it fails: {', '.join(failed)}")
    folder = out or Path.cwd() / "certificates" / re.sub(r"[^\w,.-]+", "-", version.title)[:100]
    if folder.exists() or folder.is_symlink():
        raise ParameterError("out", str(folder), "a folder that does not exist yet")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".certificate-", dir=folder.parent) as name:
            made = Path(name) / "made"
            made.mkdir()
            places = {made / MODEL: version}
            places |= {Path(name) / f"judge {v.number}": v for v in _judges(client, version)}
            signed = [(v, _signed(client, v, place, key)) for place, v in places.items()]
            criteria = gates.limits(len(version.classes), limits)
            statement = _statement(client, version, metrics, verdicts, criteria)
            report.report(str(version.number), made)
            (made / BOM).write_text(bom(version, names.results(metrics), statement["predicate"]))
            statement["subject"] = [{"name": n, "digest": {"sha256": d}} for n, d in digests(made).items()]
            _check_statement(statement)
            payload = json.dumps(statement, sort_keys=True, allow_nan=False).encode()
            (made / STATEMENT).write_bytes(signing.seal(payload, key))
            own = Path(name) / "public.pem"
            own.write_bytes(public)
            verify(made, own)
            for one, files in signed:
                for file in files:
                    publish.put(client, one, file)
            digest = hashlib.sha256(payload).hexdigest()
            log.append(client, names.GENERATORS, "certificate", version=version.number, statement=digest)
            made.rename(folder)
    except OSError as error:
        raise ParameterError("out", str(folder), f"a folder that can be written ({error.strerror})") from None
    uris = [one.uri for one, _ in signed]
    document = {"version": version.uri, "folder": str(folder), "statement": digest, "signed": uris}
    return Result(document, f"{folder}: certificate of {version.uri}\nsigned: {', '.join(uris)}")


def _public(key: Path) -> bytes:
    """The public half of a private key as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = signing.private_key(key).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _signed(client: MlflowClient, version: Version, folder: Path, key: Path) -> tuple[Path, Path]:
    """Copy weights and config into a new folder, sign it, and check that it is sound; the files of the signature."""
    folder.mkdir()
    weights.copy(versions.net(version), folder)
    files = signing.sign(folder, key, version.uri)
    if version.name == names.GENERATORS:
        check(client, version, folder)
    else:
        weights.load_judge(folder)
    return files


def _judges(client: MlflowClient, version: Version) -> list[Version]:
    """The judges that measured a version and still have their files."""
    found = []
    for number in (version.link(tag, names.JUDGES) for tag in (names.JUDGE, names.JUDGE_PLAIN)):
        with suppress(VersionError):
            if number is not None:
                judge = versions.get(client, names.JUDGES, number)
                versions.files(judge)
                found.append(judge)
    return found


def _statement(
    client: MlflowClient,
    version: Version,
    metrics: Mapping[str, float],
    verdicts: Sequence[Verdict],
    criteria: Mapping[str, float],
) -> dict[str, Any]:
    """The in-toto statement without its subjects."""
    tags, digest = version.tags, gates.digest(criteria)
    run = client.get_run(version.run_id)
    classes = names.spell_classes(version.forgotten)
    packages = [f"{name}=={number}" for name, number in provenance.read(version.run_id)[0].items()]
    predicate = {
        "result": "PASSED",
        "configuration": [{"name": "criteria", "digest": {"sha256": digest}}],
        "passedTests": [v.gate for v in verdicts if v.passed],
        "failedTests": [v.gate for v in verdicts if not v.passed],
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "version": {
            "uri": version.uri, "title": version.title, "run": version.run_id, "loggedModel": version.model_id,
            "created": version.created, "classes": list(version.classes), "forgotten": list(version.forgotten),
            "method": version.method, "target": version.target, "net": version.net,
        },
        "criteria": {
            "limits": dict(criteria), "sha256": digest,
            "lockedBeforeTheRun": run.data.tags.get(names.CRITERIA) == digest,
        },
        "gates": [asdict(v) | {"help": gates.GATES[v.gate].help} for v in verdicts],
        "samples": {"perClass": SAMPLES, "manifold": MANIFOLD_SAMPLES},
        "results": names.results(metrics),
        "levels": _levels(metrics),
        "claimed": [
            f"suppressed at level A0: asking for the label draws no image of {classes}",
            *([version.claim] if version.claim else []),
        ],
        "notClaimed": list(NOT_CLAIMED),
        "data": {"name": tags.get(names.DATASET, ""), "md5": tags.get(names.DATA_MD5, "")},
        "code": {"revision": tags.get(names.GIT_COMMIT, ""), "certifiedBy": f"sa-mlops {__version__}"},
        "settings": _settings(version),
        "environment": {"machine": tags.get(names.MACHINE, ""), "packages": packages},
        "lineage": [_described(client, v) for v in (*lineage.chain(client, version), *_judges(client, version))],
        "log": log.heads(log.read(client, names.GENERATORS)),
    }  # fmt: skip
    return {"_type": TYPE, "subject": [], "predicateType": PREDICATE, "predicate": predicate}


def _levels(metrics: Mapping[str, float]) -> dict[str, Any]:
    """Level of the attacker -> the recorded success of each attack; a level without one was not tried."""
    found: dict[str, dict[str, float]] = {name: {} for name in claims.LEVELS}
    for key, value in names.results(metrics).items():
        if match := re.fullmatch(r"attack\.(\w+)\.success", key):
            if match[1] != "union":
                found[level(match[1])][match[1]] = value
        elif match := re.fullmatch(r"level\.(A\d)\.(.+)", key):
            found.setdefault(match[1], {})[match[2]] = value
    return {
        name: {"attacker": claims.LEVELS.get(name, ""), "tried": bool(values), "success": values}
        for name, values in found.items()
    }


def _described(client: MlflowClient, version: Version) -> dict[str, Any]:
    """A version of the lineage: its weights' digest, and of a generator what `verify --reproduce` needs."""
    try:
        folder = versions.files(version) / versions.place(version)
        digest = hashlib.sha256((folder / weights.WEIGHTS).read_bytes()).hexdigest()
    except (VersionError, OSError):
        digest = ""
    found: dict[str, Any] = {"uri": version.uri, "title": version.title, "weights": digest}
    if version.name != names.GENERATORS:
        return found
    found |= {
        "stage": version.stage,
        "code": version.tags.get(names.GIT_COMMIT, ""),
        "settings": _settings(version),
    }
    number = version.link(names.FIM, names.FISHERS)
    with suppress(VersionError):  # a deleted diagonal: the version cannot be rebuilt from the certificate
        if number is not None:
            found["fisher"] = _diagonal(client, versions.get(client, names.FISHERS, number))
    return found


def _diagonal(client: MlflowClient, version: Version) -> dict[str, Any]:
    """A Fisher diagonal: the generator that it is of, and what it was estimated from or is the sum of."""
    of = version.tags.get(names.PARENT, "")
    found = {"uri": version.uri, "of": of, "settings": _settings(version)}
    parts = [
        versions.get(client, names.FISHERS, int(uri.rpartition("/")[2])) for uri in fisher.summed(version)
    ]
    return found | ({"sum": [_diagonal(client, part) for part in parts]} if parts else {})


def _settings(version: Version) -> dict[str, Any]:
    tags = version.tags
    return {
        "seed": tags.get(names.SEED, ""),
        "sha256": tags.get(names.CONFIG, ""),
        "values": dict(version.settings),
    }


def _check_statement(statement: Mapping[str, Any]) -> None:
    """Let the reference implementation read it."""
    with signing.packages():
        from google.protobuf import json_format
        from in_toto_attestation.v1 import statement_pb2
        from in_toto_attestation.v1.statement import Statement

        parsed = json_format.ParseDict(statement, statement_pb2.Statement())
        Statement.copy_from_pb(parsed).validate()
