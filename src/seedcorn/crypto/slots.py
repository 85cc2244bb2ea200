"""Key slots: the owner seed under a passphrase.

Owns the cost of guessing a passphrase and its limits. Must never know the slot's other fields: they come in as associated data.

Invariant: parameters from a store are refused before they can make this machine work or allocate.

docs/format.md, section "Key slot".
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import OwnerSeed
from seedcorn.crypto.primitives import KEY_BYTES, TAG_BYTES
from seedcorn.errors import CredentialError, IntegrityError, UsageError

__all__ = ["KdfParameters", "unwrap_seed", "wrap_seed"]

_SALT_BYTES = 16
_MEMORY_KIB = range(64, 4 * 1024 * 1024 + 1)  # 64 KiB to 4 GiB
_ITERATIONS = range(1, 17)
_LANES = range(1, 17)
_MEMORY_KIB_PER_LANE = 8  # a rule of Argon2


@dataclass(frozen=True, slots=True)
class KdfParameters:
    """Cost of one guess. Values outside the caps can not be constructed (IntegrityError)."""

    memory_kib: int
    iterations: int
    lanes: int
    salt: bytes  # 16 bytes

    def __post_init__(self) -> None:
        if self.memory_kib not in _MEMORY_KIB or self.memory_kib < _MEMORY_KIB_PER_LANE * self.lanes:
            raise IntegrityError(f"its key derivation asks for {self.memory_kib} KiB of memory, which is outside what is allowed")
        if self.iterations not in _ITERATIONS:
            raise IntegrityError(f"its key derivation asks for {self.iterations} iterations, which is outside what is allowed")
        if self.lanes not in _LANES:
            raise IntegrityError(f"its key derivation asks for {self.lanes} lanes, which is outside what is allowed")
        if len(self.salt) != _SALT_BYTES:
            raise IntegrityError(f"its salt has {len(self.salt)} bytes instead of {_SALT_BYTES}")

    @classmethod
    def fresh(cls, *, memory_kib: int = 256 * 1024, iterations: int = 3, lanes: int = 4) -> KdfParameters:
        """Parameters of a new slot, with a new salt. About half a second on a machine of 2025."""
        return cls(memory_kib, iterations, lanes, primitives.random_bytes(_SALT_BYTES))


def wrap_seed(passphrase: str, parameters: KdfParameters, associated_data: bytes, seed: OwnerSeed) -> bytes:
    """The seed sealed under the passphrase, 48 bytes. ``parameters`` must be fresh: their salt makes the key, and a key seals once.

    Raises:
        UsageError: the passphrase is empty.
    """
    if not passphrase:
        raise UsageError("an empty passphrase protects nothing: choose one, or keep only the 24 words")
    out = bytearray(KEY_BYTES + TAG_BYTES)
    primitives.seal_once(_slot_key(passphrase, parameters), seed, associated_data, out)
    return bytes(out)


def unwrap_seed(passphrase: str, parameters: KdfParameters, associated_data: bytes, sealed: bytes) -> OwnerSeed:
    """The reverse of ``wrap_seed``.

    Raises:
        CredentialError: the passphrase is wrong (a damaged slot looks the same).
        IntegrityError: not the length of a slot.
    """
    if len(sealed) != KEY_BYTES + TAG_BYTES:
        raise IntegrityError(f"its sealed seed has {len(sealed)} bytes instead of {KEY_BYTES + TAG_BYTES}")
    if not passphrase:
        raise CredentialError("the passphrase is empty, which none can be")
    out = bytearray(KEY_BYTES)
    try:
        primitives.open_once(_slot_key(passphrase, parameters), sealed, associated_data, out)
    except IntegrityError as error:
        raise CredentialError("the passphrase does not open this key slot") from error
    return OwnerSeed(bytes(out))


def _slot_key(passphrase: str, parameters: KdfParameters) -> bytes:
    try:  # one key for one spelling, whichever way the keyboard composes an é
        encoded = unicodedata.normalize("NFC", passphrase).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError("the passphrase is not valid Unicode text: check the locale, or the encoding of the file it came from") from error
    return primitives.argon2id(encoded, parameters.salt, memory_kib=parameters.memory_kib, iterations=parameters.iterations, lanes=parameters.lanes)
