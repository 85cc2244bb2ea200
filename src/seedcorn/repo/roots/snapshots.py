"""One snapshot: building it, and verifying and opening its public part and the maintainers' part.

Invariant: a snapshot that is opened has been verified: its name is its hash, its enrolled host signed it. docs/format.md, section "Snapshot".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seedcorn.crypto import primitives
from seedcorn.errors import ForeignSessionError, IntegrityError
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.names import NumberedKey, snapshot_key
from seedcorn.format.snapshot import SnapshotMaintain, SnapshotOwner, SnapshotPublic
from seedcorn.ids import RepositoryId, SnapshotId, belongs_to
from seedcorn.repo.bindings import snapshot_maintain_binding, snapshot_owner_binding
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.records import seal_envelope
from seedcorn.repo.repository import HostRepository

__all__ = ["OpenedSnapshot", "build_snapshot", "group_of", "open_snapshot"]


@dataclass(frozen=True, slots=True)
class OpenedSnapshot:
    """What a maintainer can read of a snapshot. ``parts`` are as stored: public, for maintainers, for the owner."""

    public: SnapshotPublic
    maintain: SnapshotMaintain
    parts: tuple[bytes, ...]


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


def open_snapshot(
    name: NumberedKey, repository: RepositoryId, open_maintain: Callable[[bytes, bytes], bytes], registry: HostRegistry, data: bytes
) -> OpenedSnapshot:
    """Verify a snapshot's bytes and open what is not for the owner alone.

    Raises:
        IntegrityError: with what is wrong.
    """
    if primitives.object_hash(data) != name.object_id:
        raise IntegrityError("its bytes do not match the hash in its name")
    envelope = Envelope.parse(Magic.SNAPSHOT, data)
    registry.verify(Magic.SNAPSHOT, name.host, envelope)
    public_part, sealed, _ = envelope.parts
    public = decode(public_part, SnapshotPublic)
    if public.repository != repository or public.host != name.host or public.seq != name.number:
        raise IntegrityError("belongs to another repository or host, or has been moved")
    if not belongs_to(public.session, name.host):
        raise ForeignSessionError("says that a session is its host's which is not")
    maintain = decode(open_maintain(snapshot_maintain_binding(public_part), sealed), SnapshotMaintain)
    return OpenedSnapshot(public, maintain, envelope.parts)
