"""Signed history: all snapshots as the owner reads them.

docs/format.md, section "Snapshot". Invariant: a snapshot that is returned has been verified, and all its parts opened. What is missing,
forked or rolled back is noticed by ``roots``, which the maintainers read too.
"""

from __future__ import annotations

from dataclasses import dataclass

from seedcorn.errors import IntegrityError
from seedcorn.format.codec import decode
from seedcorn.format.snapshot import SnapshotMaintain, SnapshotOwner, SnapshotPublic
from seedcorn.ids import HostId, SnapshotId
from seedcorn.repo.bindings import snapshot_owner_binding
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.roots.roots import Roots, RootSnapshot, Standing
from seedcorn.repo.roots.standings import way_out

__all__ = ["Snapshot", "open_snapshots"]


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
