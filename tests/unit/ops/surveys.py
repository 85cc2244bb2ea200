"""Surveys made up for tests: packs of one-byte frames, snapshots that need some of them."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from pyroaring import BitMap

from seedcorn.format.collection import CollectionRecord, HostPacks, PackCopy, SnapshotRef, Stage
from seedcorn.format.pack import PackKind
from seedcorn.format.snapshot import Head, NeededFrames, SnapshotMaintain, SnapshotPublic
from seedcorn.ids import HostId, PackId, SessionId, host_mark
from seedcorn.ops.gc.survey import StoredPack, StoredSegment, Survey
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.roots.collections import Collections, Mark, Pack
from seedcorn.repo.roots.forgetting import ForgetLog
from seedcorn.repo.roots.needed import IndexedFrames
from seedcorn.repo.roots.needs import assess_needs
from seedcorn.repo.roots.receipts import Receipts
from seedcorn.repo.roots.relocations import NO_RELOCATIONS, Relocations
from seedcorn.repo.roots.roots import Roots, RootSnapshot, Standing
from seedcorn.repo.state.state import PackRecord, SessionRecord

HOST, OTHER = HostId(b"h" * 16), HostId(b"o" * 16)
HOUR_NS = 3600 * 10**9
NOW_NS = 1000 * HOUR_NS
FRAME_BYTES = 100
NO_COLLECTIONS = Collections((), (), {}, 1)


def pack(name: str, host: HostId = HOST) -> Pack:
    return host, PackId(name.encode().ljust(32, b"."))


def digest(name: str) -> bytes:
    return name.encode().ljust(32, b"!")


def record(
    name: str, frames: Mapping[int, Sequence[int]], host: HostId = HOST, digest_of: str = "", sizes: Sequence[int] | None = None
) -> PackRecord:
    """``frames``: sequence numbers by session number; each of ``FRAME_BYTES``, or of these sizes."""
    runs = tuple((number, BitMap(seqs).serialize()) for number, seqs in sorted(frames.items()))
    sealed = array("I", sizes or [FRAME_BYTES] * sum(map(len, frames.values()))).tobytes()
    return PackRecord(host, pack(name)[1], int(PackKind.DATA), digest(digest_of or name), runs, sealed)


def stored(*records: PackRecord, hours_old: float = 100, present: bool = True) -> StoredPack:
    size = max((len(one.sealed) // 4 * FRAME_BYTES for one in records), default=FRAME_BYTES)
    age_ns = int(hours_old * HOUR_NS)
    return StoredPack(records[0].host if records else HOST, NOW_NS - age_ns if present else 0, size if present else 0, present, records)


def snapshot(seq: int, needed: Mapping[int, Sequence[int]], standing: Standing = Standing.CONFIRMED, hours_old: float = 100) -> RootSnapshot:
    """Sessions by number."""
    frames = tuple(NeededFrames(session_id(number), BitMap(seqs).serialize()) for number, seqs in needed.items())
    ref = SnapshotRef(HOST, seq, bytes([seq]) * 32)
    public = SnapshotPublic(b"r" * 16, HOST, seq, b"", b"", 0)
    return RootSnapshot(
        ref, f"snapshots/{seq}", public, SnapshotMaintain(0, b"g" * 16, (), True, frames, ()), (), NOW_NS - int(hours_old * HOUR_NS), standing
    )


def session_id(number: int) -> bytes:
    """Number 100 is number 1 once more, under another key."""
    return host_mark(HOST) + bytes([number % 99]) * 8


def mark(*packs: Pack, copies: Sequence[PackCopy] = (), hours_old: float = 100) -> Mark:
    named = tuple(HostPacks(host, (name,)) for host, name in packs)
    made = CollectionRecord(repository=b"r" * 16, number=1, collection=b"m" * 8, stage=Stage.MARK, packs=named, copies=tuple(copies), relocations=())
    return Mark("gc/mark", made, NOW_NS - int(hours_old * HOUR_NS))


def sweep(*packs: Pack, name: bytes = b"s" * 8) -> CollectionRecord:
    return CollectionRecord(
        repository=b"r" * 16,
        number=1,
        collection=name,
        stage=Stage.SWEEP,
        packs=tuple(HostPacks(host, (one,)) for host, one in packs),
        relocations=(),
    )


def survey(
    packs: Mapping[Pack, StoredPack],
    snapshots: Sequence[RootSnapshot],
    collections: Collections = NO_COLLECTIONS,
    segments: Mapping[str, StoredSegment] | None = None,
    forgotten: Mapping[SnapshotRef, int] | None = None,
    relocations: Relocations = NO_RELOCATIONS,
) -> Survey:
    sessions = {number: SessionRecord(SessionId(session_id(number)), HOST, 0) for number in (*range(10), 100)}
    receipted = frozenset(one.ref for one in snapshots if one.standing in (Standing.CONFIRMED, Standing.FORGOTTEN))
    heads = {HOST: Head(HOST, max((one.ref.seq for one in snapshots), default=0), b"")}
    log = ForgetLog(dict(forgotten or {}), 1)
    roots = Roots(tuple(snapshots), (), collections, Receipts(receipted, frozenset()), log, heads, (), (), relocations=relocations)
    present = (one for pack in packs.values() if pack.present for one in pack.records)
    needs = assess_needs(roots, IndexedFrames(sessions, present))
    return Survey(HostRegistry({}, b""), roots, needs, packs, segments or {}, sessions, NOW_NS, needs.problems)
