"""Signed history: putting a snapshot as the commit point, and reading all of them as the owner.

docs/format.md, section "Snapshot". Invariant: a snapshot that is returned has been verified: its name is its hash, its enrolled host signed it, its
parts opened. What is missing, forked or rolled back is noticed by ``roots``, which the maintainers read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seedcorn.crypto import primitives
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Magic, decode, encode
from seedcorn.format.names import snapshot_key
from seedcorn.format.snapshot import SnapshotMaintain, SnapshotOwner, SnapshotPublic
from seedcorn.ids import HostId, RepositoryId, SnapshotId
from seedcorn.repo.bindings import snapshot_maintain_binding, snapshot_owner_binding
from seedcorn.repo.records import seal_envelope
from seedcorn.repo.repository import HostRepository, OwnerRepository
from seedcorn.repo.roots.roots import Roots, RootSnapshot, Standing
from seedcorn.repo.roots.standings import way_out

__all__ = ["Snapshot", "build_snapshot", "group_of", "open_snapshots"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified snapshot. ``stored_ns`` is when the store says it was put."""

    id: SnapshotId
    key: str
    public: SnapshotPublic
    maintain: SnapshotMaintain
    owner: SnapshotOwner
    stored_ns: int
    standing: Standing

    @property
    def host(self) -> HostId:
        return HostId(self.public.host)


def group_of(repository: RepositoryId, host_name: str, paths: Sequence[bytes]) -> bytes:
    """16 bytes that are equal for snapshots of the same host name and paths, in whatever dedup domain: a host that is moved goes on in its groups."""
    return primitives.object_hash(primitives.context("group", repository, host_name.encode(), *paths))[:16]


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


def open_snapshots(repository: OwnerRepository, roots: Roots) -> tuple[list[Snapshot], list[IntegrityError]]:
    """Every good snapshot, whatever its standing, oldest first; and those that count and whose part for the owner does not open.

    Copies have the times of what they are copies of: of two of the same, the one made last comes last.
    """
    problems: list[IntegrityError] = []
    snapshots: list[Snapshot] = []
    for root in roots.snapshots:
        try:
            owner = _open_owner_part(repository, root)
            snapshots.append(Snapshot(root.id, root.key, root.public, root.maintain, owner, root.stored_ns, root.standing))
        except IntegrityError as error:
            if root.standing.is_root:
                problems.append(IntegrityError(f"{error.message}; {way_out(root.key)}", object_name=root.key))
    return sorted(snapshots, key=lambda snapshot: (snapshot.owner.start_ns, snapshot.public.seq, snapshot.id)), problems


def _open_owner_part(repository: OwnerRepository, root: RootSnapshot) -> SnapshotOwner:
    public_part, _, sealed = root.parts
    return decode(repository.key.open_read(snapshot_owner_binding(public_part), sealed), SnapshotOwner)
