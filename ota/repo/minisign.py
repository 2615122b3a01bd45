"""Detached signatures that the ``minisign`` program checks: for people who fetch by hand. Not used by devices.

Format (https://jedisct1.github.io/minisign/): ed25519 over the BLAKE2b-512 of the file (algorithm ``ED``), then a
global signature over that signature and the trusted comment. Secret keys are ours (PEM)
and the public key file is minisign's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ota.errors import TrustError, UsageError

KEY_ALGORITHM = b"Ed"
PREHASHED = b"ED"
ID_BYTES, KEY_BYTES, SIGNATURE_BYTES = 8, 32, 64
COMMENT, TRUSTED = "untrusted comment: ", "trusted comment: "


def public_file(key: Ed25519PublicKey) -> str:
    """The content of ``minisign.pub``. The key's id is the start of its SHA-256."""
    raw = key.public_bytes_raw()
    blob = KEY_ALGORITHM + _key_id(raw) + raw
    return f"{COMMENT}minisign public key {_key_id(raw)[::-1].hex().upper()}\n{_encode(blob)}\n"


def sign(key: Ed25519PrivateKey, path: Path, comment: str) -> str:
    """The content of ``FILE.minisig``; the comment is signed as well and is one line."""
    if "\n" in comment or "\r" in comment:
        raise UsageError("the trusted comment must be one line")
    raw = key.public_key().public_bytes_raw()
    signature = key.sign(_prehash(path))
    whole = key.sign(signature + comment.encode())
    blob = PREHASHED + _key_id(raw) + signature
    return f"{COMMENT}signature by penstock-ota\n{_encode(blob)}\n{TRUSTED}{comment}\n{_encode(whole)}\n"


def verify(public: str, path: Path, signature: str) -> str:
    """The trusted comment. Raises TrustError when anything does not fit."""
    key_blob = _decode(_line(public, 1), KEY_ALGORITHM, ID_BYTES + KEY_BYTES, "public key")
    blob = _decode(_line(signature, 1), PREHASHED, ID_BYTES + SIGNATURE_BYTES, "signature")
    comment = _line(signature, 2)
    if key_blob[:ID_BYTES] != blob[:ID_BYTES]:
        raise TrustError(
            "signature", f"{path}: signed by key {blob[ID_BYTES - 1 :: -1].hex().upper()}, not by this one"
        )
    if not comment.startswith(TRUSTED):
        raise TrustError("signature", f"{path}: the signature has no trusted comment")
    text = comment.removeprefix(TRUSTED)
    key = Ed25519PublicKey.from_public_bytes(key_blob[ID_BYTES:])
    whole = _decode(_line(signature, 3), b"", SIGNATURE_BYTES, "global signature")
    try:
        key.verify(blob[ID_BYTES:], _prehash(path))
        key.verify(whole, blob[ID_BYTES:] + text.encode())
    except InvalidSignature:
        raise TrustError("signature", f"{path}: the signature does not fit the file or its comment") from None
    return text


def _key_id(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()[:ID_BYTES]


def _prehash(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    if len(lines) <= number:
        raise TrustError("signature", f"a minisign file has more than {len(lines)} line(s)")
    return lines[number]


def _encode(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def _decode(line: str, algorithm: bytes, size: int, what: str) -> bytes:
    try:
        blob = base64.b64decode(line, validate=True)
    except binascii.Error:
        raise TrustError("signature", f"the {what} is not base64") from None
    if not blob.startswith(algorithm) or len(blob) != len(algorithm) + size:
        raise TrustError("signature", f"the {what} is not of the kind '{algorithm.decode() or 'Ed25519'}'")
    return blob[len(algorithm) :]
