"""Snapshots as retention sees them, made up for tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from seedcorn.ids import HostId, SnapshotId
from seedcorn.ops.retention.plan import RetentionPlan
from seedcorn.ops.retention.policy import Candidate

HOST = HostId(b"H" * 16)
GROUP = b"G" * 16


def time_ns(text: str) -> int:
    """Of ``2026-11-24 13:00`` in UTC, or with its own offset."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 10**9


def made(when: str, **fields: object) -> Candidate:
    """A confirmed, complete snapshot that is called by its time."""
    good = Candidate(SnapshotId(when.encode()), HOST, GROUP, tags=(), time_ns=time_ns(when), flagged=False, confirmed=True, complete=True)
    return replace(good, **fields)  # type: ignore[arg-type]  # tests name the fields that there are


def named(snapshots: Iterable[SnapshotId]) -> list[str]:
    return sorted(snapshot.decode() for snapshot in snapshots)


def reasons(plan: RetentionPlan) -> dict[str, tuple[str, ...]]:
    """Of what is kept."""
    return {decision.candidate.id.decode(): decision.reasons for group in plan.groups for decision in group.decisions if decision.keep}
