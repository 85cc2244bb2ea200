"""May this credential read what is stored? Asks for one byte of one object; knows no key and opens nothing.

A host's credential may not even list packs. It learns the name of one from the index, as every host could.
"""

from __future__ import annotations

from contextlib import suppress

from seedcorn.errors import AccessDeniedError, IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Envelope, Magic, decode
from seedcorn.format.names import pack_key, parse_numbered_key
from seedcorn.format.pack import SegmentPublic
from seedcorn.ids import OBJECT_ID_BYTES, PackId
from seedcorn.store.api import Store

__all__ = ["may_read_packs", "may_read_snapshots"]


def may_read_packs(store: Store) -> bool | None:
    """None: there is no pack, or none that this credential can know of."""
    try:
        key = _first(store, "packs/")
    except AccessDeniedError:
        key = _some_indexed_pack(store)
    return _may_read(store, key) if key else None


def may_read_snapshots(store: Store) -> bool | None:
    """None: there is no snapshot."""
    key = _first(store, "snapshots/")
    return _may_read(store, key) if key else None


def _first(store: Store, room: str) -> str | None:
    return next((info.key for info in store.list(room)), None)


def _may_read(store: Store, key: str) -> bool | None:
    try:
        return bool(store.get_range(key, 0, 1))
    except AccessDeniedError:
        return False
    except ObjectNotFoundError:  # deleted since, or that is what this store says to who may not read
        return None


def _some_indexed_pack(store: Store) -> str | None:
    """The key of a pack in the smallest segment. Unverified: it is only asked for, and what comes is not looked at."""
    smallest = min(store.list("index/"), key=lambda info: info.size_bytes, default=None)
    name = parse_numbered_key(smallest.key) if smallest else None
    if smallest is None or name is None or smallest.size_bytes > Magic.SEGMENT.limit_bytes:
        return None
    with suppress(IntegrityError):
        public = decode(Envelope.parse(Magic.SEGMENT, store.get(smallest.key)).parts[0], SegmentPublic)
        if public.packs and len(public.packs[0]) == OBJECT_ID_BYTES:
            return pack_key(name.host, PackId(public.packs[0]))
    return None
