"""Metadata has one encoding, and every signature in it is good: a bit that is flipped anywhere is noticed and named.

python-tuf reads more than it needs to: JSON in any layout, times in other letters, signatures beyond the threshold that
fit nothing, digits in upper case. Here metadata is what our tools have always written, or it is refused. Pure.
"""

from __future__ import annotations

import re
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization.json import JSONSerializer

from ota.errors import TrustError

HEXADECIMAL = re.compile(r"([0-9a-f]{2})+")
_SERIALIZER = JSONSerializer(compact=True)


def check_encoding(role: str, data: bytes) -> None:
    """Raise TrustError unless these bytes are how their contents are written. What cannot be read is not ours."""
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        canonical = metadata.to_bytes(_SERIALIZER)
    except RepositoryError:
        return
    if canonical != data:
        raise _refused(role, "not written as its contents are: layout, order, dates or names that occur twice")
    if metadata.unrecognized_fields:
        raise _refused(role, f"holds {', '.join(metadata.unrecognized_fields)[:80]} beside what is signed")
    for signature in metadata.signatures.values():
        if signature.unrecognized_fields or not HEXADECIMAL.fullmatch(signature.signature):
            raise _refused(role, "a signature is not a key id and lower-case hexadecimal digits")


def check_signatures(role: str, data: bytes, *delegators: Root | Targets) -> None:
    """Raise TrustError unless each signature is a good one of a key that a delegator (a root itself, too) names.

    For roles whose bytes no other signed metadata has the hash of. What cannot be read is left to python-tuf.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        signed = metadata.signed_bytes
        known = [*delegators, *([metadata.signed] if isinstance(metadata.signed, Root) else [])]
        keys = {keyid: one.get_key(keyid) for one in known for keyid in one.get_delegated_role(role).keyids}
    except (RepositoryError, ValueError):
        return
    for keyid, signature in metadata.signatures.items():
        if keyid not in keys:
            raise TrustError("metadata-signature", f"metadata refused: {role} is signed by {keyid[:80]!r}, not its key")
        try:
            keys[keyid].verify_signature(signature, signed)
        except UnverifiedSignatureError as error:
            raise TrustError("metadata-signature", f"metadata refused: {role}: signature {keyid}: {error}") from error


def _refused(role: str, what: str) -> TrustError:
    return TrustError("metadata-encoding", f"metadata refused: {role}: {what}")
