"""Which snapshots a policy removes: a plan that can be shown before anything is done, with the reason for every snapshot.

Pure functions over values: no clock (see ``retention.policy``), no key, no name of a host or path. Invariants: what is not confirmed is never
removed; a group keeps its newest complete snapshot, and everything if it has none; a host's word about the time moves nothing; the same plan comes
out whatever the order of the input, and carrying it out leaves nothing for the next one.

docs/guide/forget.md says it to users; docs/adr/0009 has the reasons.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import Enum

from seedcorn.errors import UsageError
from seedcorn.ids import HostId, SnapshotId
from seedcorn.ops.retention.policy import Candidate, Counted, Dated, Policy

__all__ = ["DEFAULT_GROUPING", "Decision", "GroupBy", "RetentionGroup", "RetentionPlan", "parse_grouping", "plan_retention", "retention_time"]

_CLAIM_TOLERANCE_NS = 24 * 3600 * 10**9
_LAST_SECOND = 253_370_764_800  # 9999-01-01: what follows can not be written in every time zone


class GroupBy(Enum):
    """What snapshots have in common that are judged together. The value is its name in options."""

    HOST = "host"
    PATHS = "paths"  # by the hash of host name and paths, which is all that a maintainer sees of them
    TAGS = "tags"


DEFAULT_GROUPING = frozenset({GroupBy.HOST, GroupBy.PATHS})


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one snapshot, and why, in words."""

    candidate: Candidate
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RetentionGroup:
    """Snapshots that were judged together, oldest first, and what they have in common (None: not asked)."""

    host: HostId | None
    paths: bytes | None
    tags: tuple[str, ...] | None
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """A decision for every snapshot that was given."""

    groups: tuple[RetentionGroup, ...]

    @property
    def kept(self) -> frozenset[SnapshotId]:
        return self._ids(keep=True)

    @property
    def removed(self) -> frozenset[SnapshotId]:
        return self._ids(keep=False)

    def _ids(self, *, keep: bool) -> frozenset[SnapshotId]:
        return frozenset(decision.candidate.id for group in self.groups for decision in group.decisions if decision.keep == keep)


def retention_time(claimed_ns: int, stored_ns: int) -> tuple[int, bool]:
    """(the time that counts, whether to flag the snapshot). The store's time counts always; a claim more than 24 h away from it is flagged."""
    return stored_ns, abs(claimed_ns - stored_ns) > _CLAIM_TOLERANCE_NS


def parse_grouping(text: str) -> frozenset[GroupBy]:
    """From ``host,paths``; nothing at all puts every snapshot into one group.

    Raises:
        UsageError: another word.
    """
    try:
        return frozenset(GroupBy(word.strip()) for word in text.split(",")) if text.strip() else frozenset()
    except ValueError:
        raise UsageError(f"can not group by {text!r}: give some of host, paths and tags with commas between them, or '' for one group") from None


def plan_retention(
    candidates: Iterable[Candidate], policy: Policy, *, zone: tzinfo, grouping: Collection[GroupBy] = DEFAULT_GROUPING
) -> RetentionPlan:
    """Apply ``policy`` to each group by itself. ``zone`` says when hours, days and weeks begin."""
    groups: dict[tuple[bytes, bytes, tuple[str, ...]], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[
            candidate.host if GroupBy.HOST in grouping else b"",
            candidate.group if GroupBy.PATHS in grouping else b"",
            tuple(sorted(set(candidate.tags))) if GroupBy.TAGS in grouping else (),
        ].append(candidate)
    return RetentionPlan(
        tuple(
            RetentionGroup(
                HostId(host) if GroupBy.HOST in grouping else None,
                paths if GroupBy.PATHS in grouping else None,
                tags if GroupBy.TAGS in grouping else None,
                _decide(sorted(members, key=lambda member: (member.time_ns, member.id)), policy, zone),
            )
            for (host, paths, tags), members in sorted(groups.items())
        )
    )


def _decide(members: list[Candidate], policy: Policy, zone: tzinfo) -> tuple[Decision, ...]:
    """The decisions about one group, given oldest first."""
    judged = [Dated(one, _moment(one.time_ns, zone)) for one in reversed(members) if one.confirmed and (policy.trust_store_times or not one.flagged)]
    counted = Counted([dated for dated in judged if dated.candidate.complete], [dated for dated in judged if not dated.candidate.complete])
    reasons: dict[SnapshotId, list[str]] = defaultdict(list)
    for rule in policy.rules:
        for snapshot, reason in rule.kept(counted):
            reasons[snapshot].append(reason)
    newest = counted.complete[0].candidate if counted.complete else None
    decisions = []
    for one in members:
        kept = reasons[one.id] or _protection(one, newest, policy)
        decisions.append(Decision(one, bool(kept), tuple(kept or [_why_removed(one)])))
    return tuple(decisions)


def _protection(one: Candidate, newest: Candidate | None, policy: Policy) -> list[str]:
    """Why a snapshot stays that no rule keeps; empty if it does not."""
    if not one.confirmed:
        return ["unconfirmed"]  # expires by the collector's fence alone
    if one.flagged and not policy.trust_store_times:
        return ["claims a time more than 24 h off"]
    if newest is None or (not one.complete and one.time_ns >= newest.time_ns):
        return ["incomplete, none complete is newer"]
    return ["newest of its group"] if one.id == newest.id else []


def _why_removed(one: Candidate) -> str:
    return "no rule keeps it" if one.complete else "incomplete"


def _moment(time_ns: int, zone: tzinfo) -> datetime:
    """By the calendar; a time that is in none, as only a broken store gives it, counts as the nearest."""
    return datetime.fromtimestamp(min(max(time_ns // 10**9, 0), _LAST_SECOND), zone)
