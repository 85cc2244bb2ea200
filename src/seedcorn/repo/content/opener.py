"""Frames opened with the session keys that one has been given and nothing else: no index, no store, no owner's key. Another process can do it.

docs/format.md, section "Frame".
"""

from __future__ import annotations

import msgspec

from seedcorn.crypto.frames import Sealer
from seedcorn.errors import IntegrityError
from seedcorn.format.pack import PackKind
from seedcorn.ids import RepositoryId, SessionId
from seedcorn.repo.bindings import frame_binding
from seedcorn.repo.frames import open_frame

__all__ = ["FrameOpener", "SessionKeys"]


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
