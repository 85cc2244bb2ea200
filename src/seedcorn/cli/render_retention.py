"""A retention plan for a person, as a table for each group, and for a program, as fields. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from seedcorn.cli.output import shown
from seedcorn.cli.render_json import SHORT_ID_DIGITS, time_text
from seedcorn.cli.render_text import local_time, size_text, table

if TYPE_CHECKING:  # rendering needs their fields, and no command should load what it does not use
    from seedcorn.ids import SnapshotId
    from seedcorn.ops.retention.plan import Decision, RetentionGroup, RetentionPlan

__all__ = ["decision_fields", "group_text", "retention_lines"]

_HEADER = ("Action", "ID", "Time", "Tags", " Frees", "Reasons")


def retention_lines(plan: RetentionPlan, frees_bytes: Mapping[SnapshotId, int], describe: Callable[[RetentionGroup], str] | None = None) -> list[str]:
    """The whole plan, a table for each group. ``frees_bytes`` is what removing each snapshot alone would free; ``describe`` names a group better than
    by ids, for who knows names."""
    lines: list[str] = []
    for group in plan.groups:
        removed = sum(not decision.keep for decision in group.decisions)
        title = (describe or group_text)(group)
        lines += [*([""] if lines else []), f"{title}: keep {len(group.decisions) - removed}, remove {removed}"]
        lines += table(_HEADER, [_row(decision, frees_bytes) for decision in group.decisions])
    return lines


def group_text(group: RetentionGroup) -> str:
    """What a group's snapshots have in common, by ids."""
    parts = []
    if group.host is not None:
        parts.append(f"host {group.host.hex()[:SHORT_ID_DIGITS]}")
    if group.paths is not None:
        parts.append(f"paths {group.paths.hex()[:SHORT_ID_DIGITS]}")
    if group.tags is not None:
        parts.append(f"tags {shown(','.join(group.tags))}" if group.tags else "untagged")
    return ", ".join(parts) or "all snapshots"


def decision_fields(decision: Decision, frees_bytes: Mapping[SnapshotId, int]) -> dict[str, Any]:
    """One snapshot's fate, and all that it was judged by."""
    candidate = decision.candidate
    return {
        "id": candidate.id.hex(),
        "short_id": candidate.id.hex()[:SHORT_ID_DIGITS],
        "action": _action(decision),
        "reasons": list(decision.reasons),
        "frees_bytes": frees_bytes.get(candidate.id),
        "stored_time": time_text(candidate.time_ns),
        "host_id": candidate.host.hex(),
        "group": candidate.group.hex(),
        "tags": list(candidate.tags),
        "flagged": candidate.flagged,
        "confirmed": candidate.confirmed,
        "complete": candidate.complete,
    }


def _row(decision: Decision, frees_bytes: Mapping[SnapshotId, int]) -> list[str]:
    candidate = decision.candidate
    frees = frees_bytes.get(candidate.id)
    return [
        _action(decision),
        candidate.id.hex()[:SHORT_ID_DIGITS],
        local_time(candidate.time_ns),
        shown(",".join(candidate.tags)),
        "" if frees is None else size_text(frees),
        shown("; ".join(decision.reasons)),
    ]


def _action(decision: Decision) -> str:
    return "keep" if decision.keep else "remove"
