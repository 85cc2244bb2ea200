"""Checkpoints: what a session that is still running needs, so that a collection keeps it. For efficiency only: safety is in the commit.

docs/format.md, section "Checkpoint".
"""

from __future__ import annotations

from seedcorn.format.codec import Magic, encode
from seedcorn.format.collection import CheckpointMaintain, CheckpointPublic
from seedcorn.format.names import checkpoint_key
from seedcorn.ids import SessionId
from seedcorn.repo.bindings import checkpoint_maintain_binding
from seedcorn.repo.records import seal_envelope
from seedcorn.repo.repository import HostRepository

__all__ = ["build_checkpoint"]


def build_checkpoint(repository: HostRepository, session: SessionId, number: int, maintain: CheckpointMaintain) -> tuple[str, bytes]:
    """(store key, bytes) of a signed checkpoint."""
    key = repository.key
    public_part = encode(CheckpointPublic(repository.repository, repository.host, session, number, key.secrets.domain))
    sealed = key.seal_maintain(checkpoint_maintain_binding(public_part), encode(maintain))
    return checkpoint_key(repository.host, session, number), seal_envelope(Magic.CHECKPOINT, [public_part, sealed], key.sign)
