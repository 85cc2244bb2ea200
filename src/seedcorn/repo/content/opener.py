"""From sealed frames to verified chunks, with the session keys that it has been given and nothing else: no index, no store, no owner's key.

Owns the way from a frame's sealed bytes to its raw ones, and the recomputing of chunk ids, so that both can be done in another process.

docs/format.md, section "Frame". Invariant: authenticate, then check sizes, then decompress (R6); whoever uses a chunk has it verified first.
"""

from __future__ import annotations

import msgspec

from seedcorn import compression
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.primitives import keyed_hash
from seedcorn.errors import IntegrityError
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import content_records
from seedcorn.ids import CHUNK_ID_BYTES, RepositoryId, SessionId
from seedcorn.repo.bindings import frame_binding

__all__ = ["FrameOpener", "SessionKeys", "open_frame", "verify_chunks"]


class SessionKeys(msgspec.Struct, array_like=True, frozen=True):
    """What opens the frames of one session and names the chunks in them."""

    session: SessionId
    frame_key: bytes
    id_key: bytes  # of the chunks of one kind of pack

    def __repr__(self) -> str:
        return f"SessionKeys({self.session.hex()})"


class FrameOpener:
    """Opens frames one after another, in memory that it keeps: fresh memory for every frame costs more than the decryption. For one thread."""

    def __init__(self, repository: RepositoryId) -> None:
        self._repository = repository
        self._sealers: dict[int, tuple[SessionId, Sealer, bytes]] = {}
        self._plain = bytearray()

    def admit(self, number: int, keys: SessionKeys) -> None:
        """From now on frames of session ``number`` can be opened."""
        self._sealers[number] = keys.session, Sealer(keys.frame_key, "frame"), keys.id_key

    def open(self, ordinal: int, kind: int, sealed: memoryview, raw_bytes: int) -> tuple[memoryview, bytes]:
        """(raw bytes, key of the chunk ids in them) of a frame. No chunk in it is verified yet.

        Raises:
            IntegrityError: it is not what was sealed, or its session's key is not known.
        """
        entry = self._sealers.get(ordinal >> 32)
        if entry is None:
            raise IntegrityError("the key of its session does not open")
        session, sealer, id_key = entry
        if len(self._plain) < len(sealed):
            self._plain = bytearray(len(sealed))
        binding = frame_binding(PackKind(kind), self._repository, session, ordinal & 0xFFFFFFFF)
        raw = open_frame(sealer, binding, sealed, raw_bytes, memoryview(self._plain))
        if isinstance(raw, memoryview):  # stored as it is: this memory is the raw bytes now
            self._plain = bytearray()
        return memoryview(raw), id_key


def open_frame(sealer: Sealer, binding: bytes, sealed: bytes | memoryview, raw_bytes: int, plain: memoryview) -> bytes | memoryview:
    """The raw bytes of a frame; ``plain`` is room for at least ``len(sealed)`` bytes, of which the result may be a view.

    Raises:
        IntegrityError: authentication fails, or what is inside is not ``raw_bytes`` long.
    """
    length = sealer.open_into(sealed, binding, plain)
    return compression.decompress(plain[:length], raw_bytes)


def verify_chunks(id_key: bytes, raw: memoryview, begin: int, records: bytes) -> int:
    """Recompute the ids of the chunks of ``records``, which lie end to end from ``begin`` in a frame's raw bytes. Where the last one ends.

    Raises:
        IntegrityError: one of them does not have the content its id stands for.
    """
    at = begin
    for chunk_id, length in content_records(records):
        end = at + length
        if end > len(raw) or keyed_hash(id_key, raw[at:end], CHUNK_ID_BYTES) != chunk_id:
            raise IntegrityError(f"chunk {chunk_id.hex()[:16]} does not have the content its id stands for")
        at = end
    return at
