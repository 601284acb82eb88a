"""`keygen` and `trust`: a pair of keys for signatures, and the key whose signature loaded weights must have."""

from __future__ import annotations

import os
from pathlib import Path

from sa_mlops.errors import CommandError
from sa_mlops.parameters import ParameterError
from sa_mlops.registry import signing
from sa_mlops.stages.result import Result

PRIVATE, PUBLIC = "private.pem", "public.pem"


def keygen(out: Path) -> Result:
    """Write a new pair of ECDSA P-256 keys into an existing folder.

    Raises ParameterError if the folder does not exist or holds such files already.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    private, public = out / PRIVATE, out / PUBLIC
    if not out.is_dir() or private.exists() or public.exists():
        raise ParameterError("out", str(out), f"an existing folder without {PRIVATE} and {PUBLIC}")
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shared = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    written: list[Path] = []
    try:
        for path, pem, mode in ((private, secret, 0o600), (public, shared, 0o666)):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                written.append(path)
                file.write(pem)
    except OSError as error:
        for path in written:
            path.unlink()
        raise CommandError(f"{out}: keys cannot be written ({error.strerror})") from None
    mark = signing.fingerprint(key.public_key())
    document = {"private": str(private), "public": str(public), "sha256": mark}
    text = f"{private}: keep it secret: anyone who has it can sign\n{public}: sha256 {mark}"
    return Result(document, text)


def trust(key: Path | None, remove: bool) -> Result:
    """Keep a copy of the public key as the trusted one, remove it, or show which key is trusted.

    Raises SigningError if the file is not a public key, or the packages that verify are not installed.
    """
    kept = signing.settings_file()
    if remove:
        kept.unlink(missing_ok=True)
    if key is not None:
        signing.public_key(key)
        with signing.packages():
            import model_signing.verifying  # noqa: F401  # without it nothing could be loaded any more
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(key.read_bytes())
        except OSError as error:
            raise CommandError(f"{kept} cannot be written ({error.strerror})") from None
    now = signing.trusted()
    if now is None:
        return Result({"trusted": None}, "No key is trusted: signatures are not checked.")
    mark = signing.fingerprint(signing.public_key(now))
    text = f"Trusted: {now}, sha256 {mark}. Weights without its signature are refused."
    return Result({"trusted": str(now), "sha256": mark}, text)
