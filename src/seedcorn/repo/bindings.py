"""What each sealed or signed object is bound to: its associated data. One function per kind, so that no two kinds can be confused.

docs/format.md; the rule itself is in docs/threat-model.md. Pure.
"""

from __future__ import annotations

from seedcorn.crypto.primitives import context
from seedcorn.format.codec import SUITE, Magic
from seedcorn.format.pack import PackHead, PackKind

__all__ = [
    "checkpoint_maintain_binding",
    "footer_binding",
    "frame_binding",
    "header_binding",
    "host_binding",
    "segment_binding",
    "session_binding",
    "signature_binding",
    "slot_binding",
    "snapshot_maintain_binding",
    "snapshot_owner_binding",
]


def header_binding() -> bytes:
    return context("header")


def signature_binding(magic: Magic) -> bytes:
    return context("signature", magic.mark)


def session_binding(repository: bytes, host: bytes, session: bytes) -> bytes:
    return context("session", repository, host, session)


def frame_binding(kind: PackKind, repository: bytes, session: bytes, seq: int) -> bytes:
    return context("frame", SUITE, int(kind), repository, session, seq)


def footer_binding(head: PackHead, frame_count: int) -> bytes:
    return context("footer", int(head.kind), head.repository, head.host, head.session, frame_count)


def segment_binding(public_part: bytes) -> bytes:
    return context("segment", public_part)


def slot_binding(public_part: bytes) -> bytes:
    return context("slot", public_part)


def host_binding(public_part: bytes) -> bytes:
    return context("host", public_part)


def snapshot_maintain_binding(public_part: bytes) -> bytes:
    return context("snapshot-maintain", public_part)


def snapshot_owner_binding(public_part: bytes) -> bytes:
    return context("snapshot-owner", public_part)


def checkpoint_maintain_binding(public_part: bytes) -> bytes:
    return context("checkpoint-maintain", public_part)
