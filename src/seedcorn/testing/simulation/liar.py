"""A host that lies: whoever has taken an enrolled machine over, with all of its keys and the rights of its credential.

Owns the lies. It can put what it likes under its own prefixes, and nothing else. docs/threat-model.md, "malicious host".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from msgspec.structs import replace as with_fields

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import new_session_id
from seedcorn.format.collection import CheckpointMaintain
from seedcorn.format.names import checkpoint_key, pack_key, parse_numbered_key, receipt_key, segment_key, snapshot_key
from seedcorn.format.pack import KeyRow, PackEntry, PackHead, PackKind, build_pack_head
from seedcorn.format.snapshot import Head, NeededFrames, SnapshotMaintain, SnapshotOwner, SnapshotPublic, Statistics
from seedcorn.format.tree import Kind, Node
from seedcorn.ids import HostId, PackId, SegmentId, SessionId, SnapshotId
from seedcorn.ops import access
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.index import build_segment, open_segment
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.roots.checkpoints import build_checkpoint
from seedcorn.repo.roots.needed import SeqSet
from seedcorn.repo.roots.receipts import build_receipt
from seedcorn.repo.roots.snapshots import build_snapshot
from seedcorn.testing.simulation.process import Purpose
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import World

__all__ = ["lie", "may_stay"]

_FAR_AHEAD = 10**6  # more numbers than can be forgotten


def lie(world: World, actor: Actor, chosen: random.Random) -> bool:
    """Tell one lie. Whether it may break what this host backs up from now on; what it has backed up before, it must not."""
    with world.process(actor, world.liar.state, Purpose("lie")) as connection:
        repository = access.open_host(connection, world.liar.host_file)
        told = chosen.choice(_LIES)
        told(world, repository, chosen)
        return told is _list_noise


def _claim_frames(world: World, repository: HostRepository, chosen: random.Random) -> None:
    """Packs full of nothing, and a segment that says that the frames of another host's session are in them; and a checkpoint of that session."""
    registry = load_registry(repository.store, repository.repository, repository.key.public)
    names = [name for info in repository.store.list("index/") if (name := parse_numbered_key(info.key)) and name.host != repository.host]
    if not names:
        return
    name = chosen.choice(names)
    data = repository.store.get(f"index/{name.host.hex()}/{name.number:010d}-{name.object_id.hex()}")
    opened = open_segment(data, name, repository.repository, lambda _: repository.key.secrets.index_key, registry)
    rows = [row for row in opened.public.key_rows if all(frame.session == row.session for entry in opened.packs for frame in entry.frames)]
    if not rows:
        return
    claimed = SessionId(rows[0].session)
    carried = chosen.choice((claimed, new_session_id(repository.host)))
    own = KeyRow(carried, repository.host, rows[0].suite, _noise(chosen, len(rows[0].sealed_key)))
    entries = []
    for entry in opened.packs:
        head = build_pack_head(PackHead(entry.kind, repository.repository, repository.host, claimed, opened.public.domain, (own,)))
        nothing = head + _noise(chosen, max(frame.offset + frame.sealed_bytes for frame in entry.frames) - len(head))
        pack = PackId(primitives.object_hash(nothing))
        _put(world, repository, pack_key(repository.host, pack), nothing)
        entries.append(PackEntry(pack, entry.kind, entry.frames))
    _put(world, repository, *build_segment(repository, carried, chosen.randrange(1, 10**9), own, entries))
    needed = tuple(NeededFrames(claimed, SeqSet([frame.seq for frame in entry.frames]).serialize()) for entry in entries)
    _put(world, repository, *build_checkpoint(repository, claimed, chosen.randrange(1, 9), CheckpointMaintain(0, bytes(16), needed)))


def _list_noise(world: World, repository: HostRepository, chosen: random.Random) -> None:
    """Packs full of nothing under the names of frames that this host has put before, of either kind, and often with more beside them that nothing
    needs, so that they are worth moving; now and then the true packs are listed once more, as what they are not."""
    registry = load_registry(repository.store, repository.repository, repository.key.public)
    own = [name for info in repository.store.list("index/") if (name := parse_numbered_key(info.key)) and name.host == repository.host]
    for name in chosen.sample(own, k=min(len(own), 2)):
        data = repository.store.get(segment_key(name.host, name.number, SegmentId(name.object_id)))
        opened = open_segment(data, name, repository.repository, lambda _: repository.key.secrets.index_key, registry)
        entries = []
        for entry in opened.packs:
            size = max(frame.offset + frame.sealed_bytes for frame in entry.frames)
            kind = chosen.choice((PackKind.DATA, PackKind.LISTING))
            last = entry.frames[-1]
            idle = (with_fields(last, seq=chosen.randrange(10**6, 10**9), offset=size, sealed_bytes=size),) if chosen.random() < 0.7 else ()
            if chosen.random() < 0.2:
                entries.append(PackEntry(entry.pack, kind, entry.frames))
                continue
            nothing = _noise(chosen, size * (1 + len(idle)))
            pack = PackId(primitives.object_hash(nothing))
            _put(world, repository, pack_key(repository.host, pack), nothing)
            entries.append(PackEntry(pack, kind, (*entry.frames, *idle)))
        rows = {row.session: row for row in opened.public.key_rows}
        if len(rows) == 1:
            (row,) = rows.values()
            _put(world, repository, *build_segment(repository, SessionId(row.session), chosen.choice((1, 10**9)), row, entries))


def _put_garbage_pack(world: World, repository: HostRepository, chosen: random.Random) -> None:
    nothing = primitives.random_bytes(chosen.randrange(1, 2000))
    _put(world, repository, pack_key(repository.host, PackId(primitives.random_bytes(32))), nothing)


def _put_garbage_snapshot(world: World, repository: HostRepository, chosen: random.Random) -> None:
    """Under a number that is next, or far in the future."""
    seq = chosen.choice((1, 2, 3, _FAR_AHEAD))
    key = snapshot_key(HostId(repository.host), seq, SnapshotId(primitives.random_bytes(32)))
    _put(world, repository, key, primitives.random_bytes(300))


def _put_garbage_records(world: World, repository: HostRepository, chosen: random.Random) -> None:
    """Under the names of a receipt, of a void record of every snapshot of its own, and of a checkpoint."""
    host = HostId(repository.host)
    names = [name for info in repository.store.list("snapshots/") if (name := parse_numbered_key(info.key)) and name.host == host]
    keys = [receipt_key(host, name.number, SnapshotId(name.object_id), void=True) for name in names]
    keys.append(receipt_key(host, chosen.randrange(1, 5), SnapshotId(primitives.random_bytes(32))))
    keys.append(checkpoint_key(host, new_session_id(host), 1))
    for key in keys:
        _put(world, repository, key, primitives.random_bytes(100))


def _put_garbage_segment(world: World, repository: HostRepository, chosen: random.Random) -> None:
    """Under the hash of its bytes, so that it is not damaged; and with a number that no segment has."""
    nothing = primitives.random_bytes(chosen.randrange(1, 500))
    _put(world, repository, segment_key(HostId(repository.host), 0, SegmentId(primitives.object_hash(nothing))), nothing)


def _sign_false_receipts(world: World, repository: HostRepository, chosen: random.Random) -> None:
    """Of a snapshot that there is not; and all its own are void."""
    for info in repository.store.list("snapshots/"):
        name = parse_numbered_key(info.key)
        if name is not None and name.host == repository.host:
            _put(world, repository, *build_receipt(repository, name.number, SnapshotId(name.object_id), void=True))
    _put(world, repository, *build_receipt(repository, chosen.choice((1, 2, _FAR_AHEAD)), SnapshotId(primitives.random_bytes(32))))


def _sign_false_snapshot(world: World, repository: HostRepository, chosen: random.Random) -> None:
    """With a number far ahead, and with snapshots of others that it claims to have seen; or of a session that is not its own."""
    others = [Head(host.host_file.key.host, chosen.choice((1, 77)), primitives.random_bytes(32)) for host in world.hosts]
    session = new_session_id(chosen.choice((repository.host, world.hosts[0].host_file.key.host)))
    public = SnapshotPublic(repository.repository, repository.host, chosen.choice((1, 2, 500)), b"", session, 0)
    root = Node(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 0, 0, 0)
    owner = SnapshotOwner(host_name="liar", paths=(b"/",), root=root, start_ns=0, end_ns=0, statistics=Statistics())
    key, _, data = build_snapshot(repository, public, SnapshotMaintain(0, bytes(16), (), True, (), tuple(others)), owner)
    _put(world, repository, key, data)


def may_stay(lies: Collection[str]) -> bool:
    """Whether forgetting helps against these. It does not against false segments, nor once the host has gone on from a number far ahead."""
    far = f"/{_FAR_AHEAD:010d}-"
    return not any((key.startswith("index/") and "/0000000000-" in key) or (key.startswith("snapshots/") and far in key) for key in lies)


def _noise(chosen: random.Random, length: int) -> bytes:
    """Whatever its length, which depends on how well real listings compress, the rest of the run goes on with the same numbers."""
    return random.Random(chosen.random()).randbytes(length)


def _put(world: World, repository: HostRepository, key: str, data: bytes) -> None:
    world.lies.add(key)
    repository.store.put(key, data)


_LIES: tuple[Callable[[World, HostRepository, random.Random], None], ...] = (
    _claim_frames,
    _list_noise,
    _list_noise,
    _put_garbage_pack,
    _put_garbage_snapshot,
    _put_garbage_records,
    _put_garbage_segment,
    _sign_false_receipts,
    _sign_false_snapshot,
)
