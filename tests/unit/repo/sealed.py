"""Frames and chunks made by hand, under keys of one made-up session."""

from __future__ import annotations

from seedcorn import compression
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.primitives import keyed_hash
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import pack_content
from seedcorn.ids import CHUNK_ID_BYTES, RepositoryId, SessionId
from seedcorn.repo.bindings import frame_binding
from seedcorn.repo.content.opener import SessionKeys

REPOSITORY = RepositoryId(b"r" * 16)
KEYS = SessionKeys(SessionId(b"s" * 16), b"k" * 32, b"i" * 32)


def sealed(raw: bytes, seq: int = 0, *, kind: PackKind = PackKind.DATA, level: int | None = None) -> memoryview:
    """A frame; stored as it is unless there is a ``level``."""
    out = memoryview(bytearray(compression.bound_bytes(len(raw))))
    plain = out[: compression.compress_into(raw, out, level)]
    return memoryview(Sealer(KEYS.frame_key, "frame").seal(plain, frame_binding(kind, REPOSITORY, KEYS.session, seq)))


def records(*chunks: bytes) -> bytes:
    """The content records of these chunks."""
    return pack_content((keyed_hash(KEYS.id_key, chunk, CHUNK_ID_BYTES), len(chunk)) for chunk in chunks)
