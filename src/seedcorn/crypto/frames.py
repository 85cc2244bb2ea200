"""Sealing of bulk data: a fresh AES key per message, from a 24-byte random salt. The hottest code of the package.

Owns the layout salt ‖ ciphertext ‖ tag. Must never know what is in the plaintext, or where the sealed bytes go.

Invariant: a message key is derived from a new salt for every message and is used once. The callers' buffers are written in place:
fresh memory for every frame costs nine times what the encryption does (page faults), so the hot path keeps and reuses its own.

docs/format.md, section "Sealing".
"""

from __future__ import annotations

from seedcorn.crypto import primitives
from seedcorn.crypto.primitives import TAG_BYTES, Buffer
from seedcorn.errors import IntegrityError

__all__ = ["SALT_BYTES", "SEAL_OVERHEAD", "Sealer"]

SALT_BYTES = 24
SEAL_OVERHEAD = SALT_BYTES + TAG_BYTES  # how much longer sealed bytes are than plain ones


class Sealer:
    """Seals and opens under one key for one purpose (``frame``, ``footer`` or ``segment``). Threads may share it: it has no other state."""

    __slots__ = ("_key", "_label")

    def __init__(self, key: bytes, label: str) -> None:
        self._key = key
        self._label = label.encode("ascii")

    def seal_into(self, plaintext: Buffer, associated_data: bytes, out: memoryview) -> int:
        """Writes ``len(plaintext) + SEAL_OVERHEAD`` bytes to the start of ``out``, which may be longer, and returns that number.

        ``out`` must not overlap ``plaintext``.
        """
        sealed_bytes = len(plaintext) + SEAL_OVERHEAD
        salt = primitives.random_bytes(SALT_BYTES)
        out[:SALT_BYTES] = salt
        primitives.seal_once(self._message_key(salt), plaintext, associated_data, out[SALT_BYTES:sealed_bytes])
        return sealed_bytes

    def open_into(self, sealed: Buffer, associated_data: bytes, out: memoryview) -> int:
        """Writes the ``len(sealed) - SEAL_OVERHEAD`` bytes of plaintext to the start of ``out``, which may be longer, and returns that number.

        Raises:
            IntegrityError: not what was sealed under this key and label with this associated data; ``out`` then holds nothing of use.
        """
        plain_bytes = len(sealed) - SEAL_OVERHEAD
        if plain_bytes < 0:
            raise IntegrityError(f"{len(sealed)} sealed bytes are too few to be whole")
        view = memoryview(sealed)
        key = self._message_key(view[:SALT_BYTES])
        return primitives.open_once(key, view[SALT_BYTES:], associated_data, out[:plain_bytes])

    def seal(self, plaintext: Buffer, associated_data: bytes) -> bytes:
        """``seal_into`` fresh memory, for objects that are rare."""
        out = bytearray(len(plaintext) + SEAL_OVERHEAD)
        self.seal_into(plaintext, associated_data, memoryview(out))
        return bytes(out)

    def open(self, sealed: Buffer, associated_data: bytes) -> bytes:
        """``open_into`` fresh memory, for objects that are rare."""
        out = bytearray(max(0, len(sealed) - SEAL_OVERHEAD))
        self.open_into(sealed, associated_data, memoryview(out))
        return bytes(out)

    def _message_key(self, salt: Buffer) -> bytes:
        return primitives.keyed_hash(self._key, b"".join((self._label, salt)))
