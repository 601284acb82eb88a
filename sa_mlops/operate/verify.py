"""`verify`: check a certificate offline, without a store. Every file is bound by the signed statement."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sa_mlops.errors import CommandError, plain
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import signing
from sa_mlops.registry.signing import SigningError
from sa_mlops.stages.result import Result

STATEMENT = "statement.dsse.json"
MODEL = "model"
"""Folder of the weights, their config and their signature in a certificate."""
TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
"""in-toto's type of results of tests; the fields of this project stand beside its own."""


class CertificateError(CommandError):
    """A certificate that does not hold. The message is one line that names what is wrong."""


def verify(folder: Path, key: Path | None) -> Result:
    """Check the signature of the statement, the digest of every file, and the signature of the weights.

    Raises ParameterError if the folder does not exist, or no key is given or trusted; CertificateError, SigningError,
    naming the first thing that is wrong.

    Parameters
    ----------
    key : file of the public key; None for the trusted one.
    """
    key = key or signing.trusted()
    if key is None:
        raise ParameterError("key", None, "the public key, or trust one with `sa-mlops trust`")
    if not folder.is_dir():
        raise ParameterError("FOLDER", str(folder), "the folder that `sa-mlops certify` wrote")
    statement = read(folder, key)
    _compare(folder, {s["name"]: s["digest"]["sha256"] for s in statement["subject"]})
    try:
        signing.verify(folder / MODEL, key)
    except SigningError as error:
        raise CertificateError(f"{MODEL}: {error}") from None
    found = statement["predicate"]
    uri, named = found["version"]["uri"], signing.signed_for(folder / MODEL)
    if named != uri:
        raise CertificateError(f"{MODEL}: the weights are signed for {named[:80] or 'no version'}, not {uri}")
    failed, claims = found["failedTests"], "; ".join(found["claimed"])
    lines = [
        f"{found['version']['uri']} ({found['version']['title']}), certified {found['at']}: verified",
        f"{len(statement['subject'])} files, {len(found['passedTests'])} gates passed, {len(failed)} failed",
        f"claimed: {claims}",
        *(f"not claimed: {line}" for line in found["notClaimed"]),
    ]
    return Result({"verified": True, "statement": statement}, "\n".join(map(plain, lines)))


def read(folder: Path, key: Path) -> dict[str, Any]:
    """The statement of a certificate, its signature checked.

    Raises CertificateError if it is missing, damaged, altered, or signed by another key.
    """
    path = folder / STATEMENT
    if path.is_symlink() or not path.is_file():
        raise CertificateError(f"{STATEMENT} is missing")
    try:
        statement: Any = json.loads(signing.unseal(path.read_bytes(), key))
    except SigningError as error:
        raise CertificateError(f"{STATEMENT}: {error}") from None
    good = isinstance(statement, dict) and statement.get("_type") == TYPE
    if not good or statement.get("predicateType") != PREDICATE:
        raise CertificateError(f"{STATEMENT}: it is signed, but no certificate of this project")
    if not _complete(statement):
        raise CertificateError(f"{STATEMENT}: it is signed, but lacks fields of a certificate")
    found: dict[str, Any] = statement
    return found


def _complete(statement: Mapping[str, Any]) -> bool:
    """Whether a statement has the fields that are read here and by `rebuild`."""
    try:
        found = statement["predicate"]
        version, data = found["version"], found["data"]
        words = [version["uri"], version["title"], data["name"], data["md5"], found["at"]]
        words += [found["code"]["revision"], found["environment"]["machine"]]
        words += [
            word for key in ("passedTests", "failedTests", "claimed", "notClaimed") for word in found[key]
        ]
        words += [word for s in statement["subject"] for word in (s["name"], s["digest"]["sha256"])]
        words += [word for entry in found["lineage"] for word in (entry["uri"], entry["weights"])]
        packages = found["environment"]["packages"]
        return all(isinstance(word, str) for word in words) and all(p.count("==") == 1 for p in packages)
    except (KeyError, TypeError, AttributeError):
        return False


def digests(folder: Path) -> dict[str, str]:
    """Path in the folder -> sha256, of every file but the statement.

    Raises CertificateError for a link or anything else that is not a file.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or name == MODEL):
            raise CertificateError(f"{name[:100]!r} is not a file of a certificate")
        if path.is_file() and name != STATEMENT:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _compare(folder: Path, signed: dict[str, str]) -> None:
    found = digests(folder)
    for name in sorted(signed.keys() - found.keys()):
        raise CertificateError(f"{name[:100]} is missing: it was removed after signing")
    for name in sorted(found.keys() - signed.keys()):
        raise CertificateError(f"{name[:100]} was added after signing")
    for name, digest in signed.items():
        if found[name] != digest:
            raise CertificateError(
                f"{name[:100]} was altered after signing: its digest is not the signed one"
            )
