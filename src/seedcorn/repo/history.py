"""Signed history: putting a snapshot as the commit point, reading all of them, and noticing what is missing, forked or rolled back.

docs/format.md, section "Snapshot"; docs/threat-model.md, "Rollback". Invariant: a snapshot that is returned has been verified: its name is its hash,
its enrolled host signed it, its parts opened.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from seedcorn.crypto import primitives
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.names import NumberedKey, parse_numbered_key, snapshot_key
from seedcorn.format.snapshot import Head, SnapshotMaintain, SnapshotOwner, SnapshotPublic
from seedcorn.ids import HostId, SnapshotId
from seedcorn.repo.bindings import snapshot_maintain_binding, snapshot_owner_binding
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.records import seal_envelope
from seedcorn.repo.repository import HostRepository, OwnerRepository
from seedcorn.repo.state import State
from seedcorn.store.api import Store

__all__ = [
    "Heads",
    "Snapshot",
    "build_snapshot",
    "check_rollback",
    "group_of",
    "list_heads",
    "read_snapshots",
    "remember_heads",
    "remembered_heads",
]

Heads = dict[HostId, Head]
_HEADS = "heads"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified snapshot. ``stored_ns`` is when the store says it was put."""

    id: SnapshotId
    key: str
    public: SnapshotPublic
    maintain: SnapshotMaintain
    owner: SnapshotOwner
    stored_ns: int

    @property
    def host(self) -> HostId:
        return HostId(self.public.host)


def group_of(repository: HostRepository, host_name: str, paths: Sequence[bytes]) -> bytes:
    """16 bytes that are equal for snapshots of the same host name and paths, and tell a maintainer nothing else."""
    fields = b"".join(len(field).to_bytes(4, "little") + field for field in (host_name.encode(), *paths))
    return primitives.keyed_hash(repository.key.secrets.index_key, b"group" + fields, 16)


def build_snapshot(
    repository: HostRepository, public: SnapshotPublic, maintain: SnapshotMaintain, owner: SnapshotOwner
) -> tuple[str, SnapshotId, bytes]:
    """(store key, id, bytes) of a signed snapshot."""
    public_part = encode(public)
    parts = [
        public_part,
        repository.key.seal_maintain(snapshot_maintain_binding(public_part), encode(maintain)),
        repository.key.seal_read(snapshot_owner_binding(public_part), encode(owner)),
    ]
    data = seal_envelope(Magic.SNAPSHOT, parts, repository.key.sign)
    snapshot = SnapshotId(primitives.object_hash(data))
    return snapshot_key(repository.host, public.seq, snapshot), snapshot, data


def list_heads(store: Store) -> Heads:
    """The newest snapshot of every host by the names in the store, nothing verified."""
    heads: Heads = {}
    for info in store.list("snapshots/"):
        name = parse_numbered_key(info.key)
        if name and (name.host not in heads or heads[name.host].seq <= name.number):
            heads[name.host] = Head(name.host, name.number, name.object_id)
    return heads


def remembered_heads(state: State) -> Heads:
    """The newest heads that this machine has ever seen."""
    packed = state.fact(_HEADS)
    return {HostId(head.host): head for head in msgspec.msgpack.decode(packed, type=list[Head])} if packed else {}


def remember_heads(state: State, heads: Heads) -> None:
    """Keep the newer of what is remembered and ``heads``."""
    newest = remembered_heads(state)
    changed = {host: head for host, head in heads.items() if host not in newest or newest[host].seq < head.seq}
    if changed:
        state.remember(_HEADS, encode(list((newest | changed).values())))


def read_snapshots(repository: OwnerRepository, state: State, registry: HostRegistry) -> tuple[list[Snapshot], list[IntegrityError]]:
    """Every good snapshot, oldest first, and what is wrong with the history.

    Checks each object by itself, each host's chain (numbers without gap or fork, each naming the one before), and that no head moved back since this
    machine last looked; then remembers the heads.
    """
    problems: list[IntegrityError] = []
    snapshots: list[Snapshot] = []
    names: dict[HostId, list[NumberedKey]] = defaultdict(list)
    for info in repository.store.list("snapshots/"):
        name = parse_numbered_key(info.key)
        if name is None:
            continue
        names[name.host].append(name)
        try:
            snapshots.append(_read_one(repository, state, registry, info.key, name, info.modified_ns, info.size_bytes))
        except IntegrityError as error:
            problems.append(error.named(info.key))
    for host, own in names.items():
        problems += _check_numbers(host, own)
    problems += _check_links(snapshots, names)
    problems += _check_witnesses(snapshots, names)
    heads = {host: Head(host, own[-1].number, own[-1].object_id) for host, own in names.items()}
    remembered = remembered_heads(state)
    problems += check_rollback(remembered, heads)
    overtaken = _overtaken(remembered, names)
    problems += overtaken.values()
    remember_heads(state, {host: head for host, head in heads.items() if host not in overtaken})  # so that it goes on being said
    return sorted(snapshots, key=lambda snapshot: (snapshot.owner.start_ns, snapshot.id)), problems


def _read_one(
    repository: OwnerRepository, state: State, registry: HostRegistry, key: str, name: NumberedKey, stored_ns: int, size_bytes: int
) -> Snapshot:
    data = state.cached_object(key)
    if data is None:
        if size_bytes > Magic.SNAPSHOT.limit_bytes:
            raise IntegrityError("is larger than a snapshot may be")
        data = repository.store.get(key)
    if primitives.object_hash(data) != name.object_id:
        raise IntegrityError("its bytes do not match the hash in its name")
    envelope = Envelope.parse(Magic.SNAPSHOT, data)
    registry.verify(Magic.SNAPSHOT, name.host, envelope)
    public_part, maintain_part, owner_part = envelope.parts
    public = decode(public_part, SnapshotPublic)
    if public.repository != repository.repository or public.host != name.host or public.seq != name.number:
        raise IntegrityError("belongs to another repository or host, or has been moved")
    enrolled = registry.hosts[name.host]
    if enrolled.revoked and public.seq > enrolled.public.last_seq:
        raise IntegrityError("was written after its host had been revoked")
    maintain = decode(repository.key.open_maintain(snapshot_maintain_binding(public_part), maintain_part), SnapshotMaintain)
    owner = decode(repository.key.open_read(snapshot_owner_binding(public_part), owner_part), SnapshotOwner)
    state.cache_object(key, data)
    return Snapshot(SnapshotId(name.object_id), key, public, maintain, owner, stored_ns)


def _check_numbers(host: HostId, names: Sequence[NumberedKey]) -> list[IntegrityError]:
    where = f"snapshots/{host.hex()}"
    numbers = Counter(name.number for name in names)
    problems = [
        IntegrityError(f"has {count} snapshots numbered {number}: the host has been cloned or forked", object_name=where)
        for number, count in sorted(numbers.items())
        if count > 1
    ]
    gaps = [(before + 1, after - 1) for before, after in pairwise([0, *sorted(numbers)]) if after > before + 1]
    if gaps:
        shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in gaps[:10]) + (" …" if len(gaps) > 10 else "")
        problems.append(IntegrityError(f"lacks the snapshots numbered {shown}: they have been deleted or are not listed", object_name=where))
    return problems


def _check_witnesses(snapshots: Sequence[Snapshot], names: dict[HostId, list[NumberedKey]]) -> list[IntegrityError]:
    """One problem for each snapshot that another host has seen and that the store does not list now."""
    seen = {(HostId(head.host), head.seq, head.snapshot) for snapshot in snapshots for head in snapshot.maintain.heads}
    problems = []
    for host, seq, snapshot_id in sorted(seen):
        if not any(name.number == seq and name.object_id == snapshot_id for name in names.get(host, [])):
            where = f"snapshots/{host.hex()}"
            problems.append(IntegrityError(f"lacks snapshot {seq} as another host has seen it: it has been deleted or replaced", object_name=where))
    return problems


def _overtaken(remembered: Heads, names: dict[HostId, list[NumberedKey]]) -> dict[HostId, IntegrityError]:
    """Hosts that have gone on from before the snapshot that this machine has seen of them, as one does whose state was lost when the store was
    rolled back: the newest number alone does not tell."""
    problems = {}
    for host, seen in remembered.items():
        own = names.get(host, [])
        later = any(name.number > seen.seq for name in own)
        if later and not any(name.number == seen.seq and name.object_id == seen.snapshot for name in own):
            message = f"lacks snapshot {seen.seq} as this machine has seen it: it has been deleted or replaced, or the store has been rolled back"
            problems[host] = IntegrityError(message, object_name=f"snapshots/{host.hex()}")
    return problems


def _check_links(snapshots: Sequence[Snapshot], names: dict[HostId, list[NumberedKey]]) -> list[IntegrityError]:
    problems = []
    for snapshot in snapshots:
        before = [name.object_id for name in names[snapshot.host] if name.number == snapshot.public.seq - 1]
        expected = snapshot.public.previous
        if (before and expected not in before) or (snapshot.public.seq == 1 and expected):
            problems.append(IntegrityError("does not follow the snapshot before it: one of the two has been replaced", object_name=snapshot.key))
    return problems


def check_rollback(remembered: Heads, heads: Heads) -> list[IntegrityError]:
    """One problem for each host whose newest snapshot is older than, or other than, one that has been seen."""
    problems = []
    for host, seen in remembered.items():
        now = heads.get(host)
        where = f"snapshots/{host.hex()}"
        if now is None or now.seq < seen.seq:
            found = f"now ends at {now.seq}" if now else "has none now"
            problems.append(IntegrityError(f"was seen with snapshot {seen.seq}, and {found}: the store has been rolled back", object_name=where))
        elif now.seq == seen.seq and now.snapshot != seen.snapshot:
            problems.append(IntegrityError(f"snapshot {seen.seq} is another one than was seen before", object_name=where))
    return problems
