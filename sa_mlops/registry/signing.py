"""Keys and signatures: OpenSSF signatures of weights, DSSE envelopes of statements, and the key that is trusted here.

Keys are ECDSA P-256. The packages of the extra `sign` are imported when they are needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sa_mlops.errors import CommandError, in_one_line, plain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

SIGNATURE = "model.sig"
"""The OpenSSF signature of a folder, in that folder."""
VERSION = "version.json"
"""Registered model and number that a signature is for, in the signed folder."""
TRUSTED = "SA_MLOPS_PUBLIC_KEY"
"""Environment variable with the file of the public key that is trusted; it goes before the file of `sa-mlops trust`."""
PAYLOAD = "application/vnd.in-toto+json"
INSTALL = "signatures need more packages: pip install 'sa-mlops[sign]'"


class SigningError(CommandError):
    """A key or signature that is missing, damaged or of somebody else. The message is one line."""


@contextmanager
def packages() -> Iterator[None]:
    """Turn the absence of a package into one line with the command that installs it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages, about their own future
            yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(("sa_mlops", "tui")):
            raise
        raise SigningError(f"{INSTALL} ({error.name} is not installed)") from None


def settings_file() -> Path:
    """The copy of the public key that `sa-mlops trust` keeps for this user."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "sa-mlops" / "trusted.pem"


def trusted() -> Path | None:
    """The file of the trusted public key; None if no key is trusted."""
    if named := os.environ.get(TRUSTED, "").strip():
        return Path(named)
    kept = settings_file()
    return kept if kept.exists() else None


def private_key(path: Path) -> EllipticCurvePrivateKey:
    """Read a private key. Raises SigningError if the file is not an unencrypted private key for ECDSA P-256."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key: EllipticCurvePrivateKey = _curve_key(path, "private", lambda text: load_pem_private_key(text, None))
    return key


def public_key(path: Path) -> EllipticCurvePublicKey:
    """Read a public key. Raises SigningError if the file is not a public key for ECDSA P-256."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key: EllipticCurvePublicKey = _curve_key(path, "public", load_pem_public_key)
    return key


def _curve_key(path: Path, kind: str, load: Callable[[bytes], Any]) -> Any:
    """A key for ECDSA P-256 from a PEM file."""
    try:
        key = load(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise SigningError(
            f"{path} is not a {kind} key that can be read ({in_one_line(error, 80)})"
        ) from None
    if getattr(getattr(key, "curve", None), "name", "") != "secp256r1":
        raise SigningError(f"{path} is not a key for ECDSA P-256, as `sa-mlops keygen` makes it")
    return key


def fingerprint(key: EllipticCurvePublicKey) -> str:
    """Hash of a public key: sha256 of its DER form."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def sign(folder: Path, key: Path, uri: str) -> tuple[Path, Path]:
    """Sign all files of a folder as those of one version; the file that names the version, and that of the signature.

    Parameters
    ----------
    uri : `models:/name/number` of the version.
    """
    private_key(key)
    named, file = folder / VERSION, folder / SIGNATURE
    file.unlink(missing_ok=True)
    named.write_text(json.dumps({"version": uri}) + "\n")
    with packages():
        from model_signing import hashing, signing

        hashed = hashing.Config().set_ignored_paths(paths=[SIGNATURE])
        signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(hashed).sign(
            folder, file
        )
    return named, file


def signed_for(folder: Path) -> str:
    """URI of the version that a signed folder names; empty if it names none. The signature is not checked."""
    file = folder / VERSION
    try:
        found = "" if file.is_symlink() else json.loads(file.read_text())["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def require_own(folder: Path, uri: str) -> None:
    """Refuse files that are signed for another version, if a key is trusted.

    The signature itself is checked by `require_trusted`, which also refuses files that name no version.

    Raises SigningError, naming both versions.
    """
    key, named = trusted(), signed_for(folder)
    if key is not None and named not in ("", uri):
        cause = f"the weights of {uri} are signed for {plain(named)[:80]}"
        raise SigningError(f"refused, because a key is trusted ({key}): {cause}")


def verify(folder: Path, key: Path) -> None:
    """Check the signature of a folder.

    Raises SigningError if there is none, another key made it, or a file of the folder was altered, added or removed.
    """
    public_key(key)
    file = folder / SIGNATURE
    if not file.is_file() or file.is_symlink():
        raise SigningError(f"not signed: {SIGNATURE} is missing beside the weights")
    with packages():
        from cryptography.exceptions import InvalidSignature
        from model_signing import verifying

        try:
            verifying.Config().use_elliptic_key_verifier(public_key=key).verify(folder, file)
        except (InvalidSignature, ValueError, TypeError, KeyError, OSError) as error:
            # The package reports another key and a damaged signature alike, and an altered file by its name.
            words = in_one_line(error)
            cause = words if "mismatch" in words or "iles" in words else f"no signature by the key {key}"
            raise SigningError(f"altered or signed by another key: {cause}") from None


def require_trusted(folder: Path) -> None:
    """Check the signature of a folder against the trusted key, if a key is trusted.

    Raises SigningError as in `verify`, and if the trusted key cannot be read.
    """
    if (key := trusted()) is None:
        return
    try:
        verify(folder, key)
        if not signed_for(folder):
            raise SigningError("the signature names no version; `sa-mlops certify` makes it again")
    except SigningError as error:
        raise SigningError(f"refused, because a key is trusted ({key}): {error}") from None


def seal(payload: bytes, key: Path) -> bytes:
    """A DSSE envelope of a statement as JSON."""
    with packages():
        from securesystemslib.dsse import Envelope
        from securesystemslib.signer import CryptoSigner

        envelope = Envelope(payload, PAYLOAD, {})
        envelope.sign(CryptoSigner(private_key(key)))
        return _text(envelope.to_dict())


def unseal(sealed: bytes, key: Path) -> bytes:
    """The statement in a DSSE envelope. Raises SigningError if it is not an envelope, or the key did not sign it."""
    owner = public_key(key)
    with packages():
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import VerificationError
        from securesystemslib.signer import SSlibKey

        try:
            envelope = Envelope.from_dict(json.loads(sealed))
            # Base64 and JSON have several spellings of the same text: only the one that `seal` writes is accepted.
            good = _text(envelope.to_dict()) == sealed and envelope.payload_type == PAYLOAD
        except Exception:  # each damage has its own
            good = False
        if not good:
            raise SigningError("it is damaged: it is not an envelope that `certify` wrote")
        try:
            envelope.verify([SSlibKey.from_crypto(owner)], threshold=1)
        except VerificationError:
            raise SigningError(f"it was altered, or signed by another key than {key}") from None
        return bytes(envelope.payload)


def _text(envelope: object) -> bytes:
    return (json.dumps(envelope, indent=1, sort_keys=True) + "\n").encode()
