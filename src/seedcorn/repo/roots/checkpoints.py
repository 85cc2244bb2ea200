"""Checkpoints: what a session that is still running needs, so that a collection keeps it. For efficiency only: safety is in the commit.

docs/format.md, section "Checkpoint".
"""

from __future__ import annotations

from collections.abc import Callable

from seedcorn.errors import ForeignSessionError, IntegrityError
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.collection import CheckpointMaintain, CheckpointPublic
from seedcorn.format.names import CheckpointName, checkpoint_key
from seedcorn.ids import RepositoryId, SessionId, belongs_to
from seedcorn.repo.bindings import checkpoint_maintain_binding
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.records import seal_envelope
from seedcorn.repo.repository import HostRepository

__all__ = ["build_checkpoint", "open_checkpoint"]


def build_checkpoint(repository: HostRepository, session: SessionId, number: int, maintain: CheckpointMaintain) -> tuple[str, bytes]:
    """(store key, bytes) of a signed checkpoint."""
    key = repository.key
    public_part = encode(CheckpointPublic(repository.repository, repository.host, session, number, key.secrets.domain))
    sealed = key.seal_maintain(checkpoint_maintain_binding(public_part), encode(maintain))
    return checkpoint_key(repository.host, session, number), seal_envelope(Magic.CHECKPOINT, [public_part, sealed], key.sign)


def open_checkpoint(
    name: CheckpointName, repository: RepositoryId, open_maintain: Callable[[bytes, bytes], bytes], registry: HostRegistry, data: bytes
) -> CheckpointMaintain:
    """Verify and open one checkpoint.

    Raises:
        IntegrityError: with what is wrong.
    """
    envelope = Envelope.parse(Magic.CHECKPOINT, data)
    registry.verify(Magic.CHECKPOINT, name.host, envelope)
    public_part, sealed = envelope.parts
    public = decode(public_part, CheckpointPublic)
    if public.repository != repository or (public.host, public.session, public.number) != (name.host, name.session, name.number):
        raise IntegrityError("belongs to another repository or session, or has been moved")
    if not belongs_to(name.session, name.host):
        raise ForeignSessionError("says that a session is its host's which is not: it counts for nothing")
    return decode(open_maintain(checkpoint_maintain_binding(public_part), sealed), CheckpointMaintain)
