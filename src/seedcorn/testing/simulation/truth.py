"""What the store really holds, followed operation by operation: where frames lie, what collections have said, what is forgotten.

Owns the view that invariants judge by; no actor sees it. A segment that lists frames of another host's session is a lie, and lists nothing.
docs/format.md, sections "Index segment", "Forget record", "Collection" and "Relocation".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress

from seedcorn import compression
from seedcorn.crypto.frames import Sealer
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Envelope, Magic, decode
from seedcorn.format.collection import CollectionRecord, ForgetRecord, SnapshotRef, Stage
from seedcorn.format.names import pack_key, parse_numbered_key, parse_receipt_key, receipt_key, snapshot_key
from seedcorn.format.pack import PackEntry, SegmentPublic, parse_pack_head
from seedcorn.format.relocation import RelocationRecord, RelocationStage
from seedcorn.format.snapshot import NeededFrames, SnapshotMaintain, SnapshotPublic
from seedcorn.ids import HostId, PackId, SnapshotId, belongs_to
from seedcorn.repo.bindings import segment_binding, snapshot_maintain_binding
from seedcorn.repo.index import SEGMENT_RAW_LIMIT_BYTES
from seedcorn.repo.maintenance import MaintainFile
from seedcorn.repo.roots.needed import SeqSet, open_bitmap
from seedcorn.testing.simulation.faults import Verb
from seedcorn.testing.simulation.store import Operation

__all__ = ["Frames", "Truth", "packs_of", "session_of_put"]

Frames = Mapping[bytes, SeqSet]  # session -> numbers of frames


class Truth:
    """``objects`` are those of the store; ``maintain_file`` opens what is needed to judge. Packs are named by their keys here."""

    def __init__(self, objects: Mapping[str, bytes], maintain_file: MaintainFile) -> None:
        self._objects = objects
        self._maintain_file = maintain_file
        self._listed: dict[str, set[str]] = defaultdict(set)  # pack -> segments that are there now
        self._frames: dict[str, dict[bytes, SeqSet]] = {}  # pack, there or not -> what it holds
        self._packs: dict[bytes, set[str]] = defaultdict(set)  # session -> packs with frames of it, there or not
        self._segments: dict[str, tuple[str, ...]] = {}
        self._forget: dict[str, ForgetRecord] = {}
        self._relocations: dict[str, RelocationRecord] = {}
        self.collections: dict[str, CollectionRecord] = {}
        self.swept_ever: set[str] = set()
        self.is_collected = False  # whether anybody has ever put a record of a collection

    # -- following ---------------------------------------------------------------------------------------------------------------------------------

    def follow(self, operation: Operation) -> None:
        """An operation has been done."""
        if operation.verb is Verb.PUT and operation.key in self._objects:
            self._add(operation.key)
        elif operation.verb is Verb.DELETE:
            for key in operation.keys:
                if key not in self._objects:
                    self._drop(key)

    def follow_rollback(self, gone: Iterable[str]) -> None:
        """These objects are no more, and others may be back."""
        for key in gone:
            self._drop(key)
        for key in self._objects:
            self._add(key)

    def _add(self, key: str) -> None:
        room = key.partition("/")[0]
        if room == "index" and key not in self._segments:
            with suppress(IntegrityError):  # what does not open lists nothing
                self._add_segment(key)
        elif room == "gc" and not key.startswith("gc/probe"):
            record = self.collections[key] = decode(Envelope.parse(Magic.COLLECTION, self._objects[key]).parts[0], CollectionRecord)
            self.is_collected = True
            if record.stage is Stage.SWEEP:
                self.swept_ever |= packs_of(record)
        elif room == "forget":
            self._forget[key] = decode(Envelope.parse(Magic.FORGET, self._objects[key]).parts[0], ForgetRecord)
        elif room == "relocations":
            self._relocations[key] = decode(Envelope.parse(Magic.RELOCATION, self._objects[key]).parts[0], RelocationRecord)

    def _add_segment(self, key: str) -> None:
        name = parse_numbered_key(key)
        assert name is not None, "nobody puts other keys there"
        public_part, sealed = Envelope.parse(Magic.SEGMENT, self._objects[key]).parts
        public = decode(public_part, SegmentPublic)
        plain = Sealer(self._maintain_file.index_key(public.domain), "segment").open(sealed, segment_binding(public_part))
        entries = decode(compression.decompress_bounded(plain, limit_bytes=SEGMENT_RAW_LIMIT_BYTES), list[PackEntry])
        packs = {pack_key(name.host, PackId(entry.pack)): _frames_of(entry) for entry in entries}
        if not all(belongs_to(session, name.host) for frames in packs.values() for session in (*frames, *(row.session for row in public.key_rows))):
            return
        for pack, frames in packs.items():
            self._listed[pack].add(key)
            if pack not in self._frames:
                self._frames[pack] = frames
                for session in frames:
                    self._packs[session].add(pack)
        self._segments[key] = tuple(packs)

    def _drop(self, key: str) -> None:
        for pack in self._segments.pop(key, ()):
            self._listed[pack].discard(key)
        self.collections.pop(key, None)
        self._forget.pop(key, None)
        self._relocations.pop(key, None)

    # -- asking ------------------------------------------------------------------------------------------------------------------------------------

    def needed_by(self, key: str) -> Frames:
        """What the snapshot at ``key`` says that it needs."""
        public_part, sealed, _ = Envelope.parse(Magic.SNAPSHOT, self._objects[key]).parts
        opened = self._maintain_file.key.open_maintain(snapshot_maintain_binding(public_part), sealed)
        return _opened(decode(opened, SnapshotMaintain).needed)

    def needed_now(self, key: str, said: Frames) -> Frames:
        """What the snapshot at ``key`` needs, which has ``said`` that it needs something: the last relocation rules that names it and is done."""
        name = parse_numbered_key(key)
        assert name is not None, "only snapshots need anything"
        for relocation, record in sorted(self._relocations.items(), reverse=True):
            if f"{relocation}.done" in self._relocations:
                for snapshot in record.snapshots:
                    if snapshot.snapshot == name.object_id:
                        return _opened(record.frames[place] for place in snapshot.needed)
        return said

    def announced(self) -> Iterator[Frames]:
        """What relocations may need that are not done."""
        for key, record in self._relocations.items():
            if record.stage is RelocationStage.ANNOUNCED and f"{key}.done" not in self._relocations:
                yield _opened(record.frames)

    def session_of(self, key: str) -> bytes:
        """The session that made the snapshot at ``key``."""
        return decode(Envelope.parse(Magic.SNAPSHOT, self._objects[key]).parts[0], SnapshotPublic).session

    def is_reachable(self, pack: str) -> bool:
        """Whether a pack is there, and a segment lists it."""
        return pack in self._objects and bool(self._listed.get(pack))

    def lacks(self, needed: Frames, counts: Callable[[str], bool]) -> bool:
        """Whether a frame is in no pack that ``counts``."""
        for session, seqs in needed.items():
            left = seqs
            for pack in self._packs.get(session, ()):
                if left and counts(pack):
                    left = left - self._frames[pack][session]
            if left:
                return True
        return False

    def seems_needed(self, pack: str, needed: Iterable[Frames]) -> bool:
        """Whether somebody says that one of these frames is in the pack. Nobody who collects can tell whether that is true."""
        own = self._frames.get(pack, {})
        return any(session in own and own[session] & seqs for frames in needed for session, seqs in frames.items())

    def dead(self, *, unread: Collection[str] = ()) -> frozenset[str]:
        """The packs that a mark names now, or a sweep that has not said to keep them, without what is said in the records ``unread``."""
        kept = {record.collection: packs_of(record) for record in self.collections.values() if record.stage is Stage.DONE}
        named: set[str] = set()
        for key, record in self.collections.items():
            if record.stage is not Stage.DONE and key not in unread:
                named |= packs_of(record) - kept.get(record.collection, frozenset())
        return frozenset(named)

    def forgotten(self) -> set[SnapshotId]:
        """The snapshots that are forgotten now."""
        forgotten: set[SnapshotId] = set()
        for _, record in sorted(self._forget.items()):
            forgotten -= {SnapshotId(ref.snapshot) for ref in record.taken_back}
            forgotten |= {SnapshotId(ref.snapshot) for ref in record.forgotten}
        return forgotten

    def is_receipted(self, ref: SnapshotRef) -> bool:
        """Whether it has a receipt. A void record beside it need not be true."""
        return receipt_key(HostId(ref.host), ref.seq, SnapshotId(ref.snapshot)) in self._objects

    def is_receipted_or_gone(self, ref: SnapshotRef) -> bool:
        """Whether it has a receipt, or a collection has removed it, for which it was forgotten."""
        return self.is_receipted(ref) or snapshot_key(HostId(ref.host), ref.seq, SnapshotId(ref.snapshot)) not in self._objects

    def is_given_up(self, key: str) -> bool:
        """Whether the snapshot at ``key`` is forgotten, or expired without a receipt: whoever collects need not read it."""
        name = parse_numbered_key(key)
        if name is None:
            return False
        ref = SnapshotRef(name.host, name.number, name.object_id)
        is_expired = any(ref in record.expired for record in self.collections.values()) and not self.is_receipted(ref)
        return is_expired or name.object_id in self.forgotten()

    def counting_snapshots(self) -> Iterator[str]:
        """Keys of the snapshots that are receipted and not forgotten."""
        forgotten = self.forgotten()
        for key in self._objects:
            name = parse_numbered_key(key) if key.startswith("snapshots/") else None
            if name is not None and name.object_id not in forgotten and self.is_receipted(SnapshotRef(name.host, name.number, name.object_id)):
                yield key

    def doubtful_needs(self, lies: Iterable[str]) -> Iterator[Frames]:
        """What snapshots need of which one of ``lies`` may be a receipt, since it can not be read: nobody collects that until they are forgotten."""
        forgotten = self.forgotten()
        for lie in lies:
            name = parse_receipt_key(lie)
            if name is None or name.snapshot in forgotten:
                continue
            with suppress(IntegrityError, KeyError):  # garbage as well, or gone
                yield self.needed_by(snapshot_key(name.host, name.seq, name.snapshot))


def _opened(needed: Iterable[NeededFrames]) -> Frames:
    return {entry.session: open_bitmap(entry) for entry in needed}


def _frames_of(entry: PackEntry) -> dict[bytes, SeqSet]:
    frames: dict[bytes, SeqSet] = {}
    for frame in entry.frames:
        frames.setdefault(frame.session, SeqSet()).add(frame.seq)
    return frames


def session_of_put(key: str, content: bytes) -> bytes | None:
    """The session to which an object belongs that others may come to rely on."""
    room = key.partition("/")[0]
    with suppress(IntegrityError):  # on what does not open nobody relies
        if room == "packs":
            return parse_pack_head(memoryview(content))[0].session
        if room == "index":
            return decode(Envelope.parse(Magic.SEGMENT, content).parts[0], SegmentPublic).session
    return None


def packs_of(record: CollectionRecord) -> frozenset[str]:
    """The keys of the packs that a record names."""
    return frozenset(pack_key(HostId(of_host.host), PackId(pack)) for of_host in record.packs for pack in of_host.packs)
