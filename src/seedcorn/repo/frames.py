"""From a frame's sealed bytes to verified chunks. Needs the key of the session and that of the chunk ids, and knows neither index nor store.

Invariant: authenticate, then check sizes, then decompress (R6); whoever uses a chunk has it verified first.

docs/format.md, section "Frame".
"""

from __future__ import annotations

from seedcorn import compression
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.primitives import keyed_hash
from seedcorn.errors import IntegrityError
from seedcorn.format.tree import content_records
from seedcorn.ids import CHUNK_ID_BYTES

__all__ = ["open_frame", "verify_chunks"]


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
