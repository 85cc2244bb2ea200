"""A host that lies: whoever has taken an enrolled machine over, with all of its keys and the rights of its credential.

Owns the lies. It can put what it likes under its own prefixes, and nothing else. docs/threat-model.md, "malicious host".
"""

from __future__ import annotations

import random
from collections.abc import Callable

from seedcorn.crypto import primitives
from seedcorn.format.names import pack_key, parse_numbered_key, snapshot_key
from seedcorn.format.pack import KeyRow, PackEntry
from seedcorn.ids import HostId, PackId, SessionId, SnapshotId
from seedcorn.ops import access
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.index import build_segment, open_segment
from seedcorn.repo.repository import HostRepository
from seedcorn.testing.simulation.process import Purpose
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import World

__all__ = ["lie"]


def lie(world: World, actor: Actor, chosen: random.Random) -> None:
    """Tell one lie."""
    with world.process(actor, world.liar.state, Purpose("lie")) as connection:
        repository = access.open_host(connection, world.liar.host_file)
        chosen.choice(_LIES)(world, repository, chosen)


def _claim_frames(world: World, repository: HostRepository, chosen: random.Random) -> None:
    """Packs full of nothing, and a segment that says that the frames of another host's session are in them."""
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
    own = KeyRow(rows[0].session, repository.host, rows[0].suite, primitives.random_bytes(len(rows[0].sealed_key)))
    entries = []
    for entry in opened.packs:
        nothing = primitives.random_bytes(max(frame.offset + frame.sealed_bytes for frame in entry.frames))
        pack = PackId(primitives.object_hash(nothing))
        _put(world, repository, pack_key(repository.host, pack), nothing)
        entries.append(PackEntry(pack, entry.kind, entry.frames))
    _put(world, repository, *build_segment(repository, SessionId(own.session), chosen.randrange(1, 10**9), own, entries))


def _put_garbage_pack(world: World, repository: HostRepository, chosen: random.Random) -> None:
    nothing = primitives.random_bytes(chosen.randrange(1, 2000))
    _put(world, repository, pack_key(repository.host, PackId(primitives.random_bytes(32))), nothing)


def _put_garbage_snapshot(world: World, repository: HostRepository, chosen: random.Random) -> None:
    """Under a number that is next, or far in the future."""
    seq = chosen.choice((1, 2, 3, 10**6))
    key = snapshot_key(HostId(repository.host), seq, SnapshotId(primitives.random_bytes(32)))
    _put(world, repository, key, primitives.random_bytes(300))


def _put(world: World, repository: HostRepository, key: str, data: bytes) -> None:
    world.lies.add(key)
    repository.store.put(key, data)


_LIES: tuple[Callable[[World, HostRepository, random.Random], None], ...] = (
    _claim_frames,
    _claim_frames,
    _put_garbage_pack,
    _put_garbage_snapshot,
)
