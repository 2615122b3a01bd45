"""Private keys in files: ed25519, PKCS #8 PEM, readable by the owner only, encrypted when there is a passphrase."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from ota.errors import UsageError

PASSPHRASE_VARIABLE = "PENSTOCK_OTA_PASSPHRASE"


class Keyring:
    """The key files of one folder. What is offline is simply not in the folder that a command is given."""

    def __init__(self, folder: Path, passphrase: str = "") -> None:
        self._folder = folder
        self._passphrase = passphrase.encode()

    def make(self, name: str) -> CryptoSigner:
        """A new key in ``NAME.pem``. Raises UsageError when the file exists: keys are never overwritten."""
        path = self._folder / f"{name}.pem"
        private = Ed25519PrivateKey.generate()
        encryption: KeySerializationEncryption = (
            BestAvailableEncryption(self._passphrase) if self._passphrase else NoEncryption()
        )
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise UsageError(f"{path}: exists; a key is never overwritten: choose another folder or name") from None
        except OSError as error:
            raise UsageError(f"{path}: cannot be created: {error.strerror}") from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(descriptor)
        return CryptoSigner(private)

    def private(self, name: str) -> Ed25519PrivateKey:
        """The key in ``NAME.pem``. Raises UsageError."""
        return self._load(self._folder / f"{name}.pem")

    def signers(self) -> dict[str, CryptoSigner]:
        """Every key of the folder by its key id. Raises UsageError naming a file that cannot be used."""
        found = {}
        for path in sorted(self._folder.glob("*.pem")):
            signer = CryptoSigner(self._load(path))
            found[signer.public_key.keyid] = signer
        return found

    def free_name(self, role: str) -> str:
        """``ROLE-N`` with the smallest N that has no file."""
        number = 1
        while (self._folder / f"{role}-{number}.pem").exists():
            number += 1
        return f"{role}-{number}"

    def _load(self, path: Path) -> Ed25519PrivateKey:
        try:
            key = load_pem_private_key(path.read_bytes(), self._passphrase or None)
        except (ValueError, TypeError) as error:
            hint = f"is {PASSPHRASE_VARIABLE} set and right?"
            raise UsageError(f"{path}: not a usable private key ({error}); {hint}") from error
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise UsageError(f"{path}: found another kind of key, allowed: ed25519")
        return key
