"""Rules that say which snapshots to keep, under the names that restic's users know. Pure: a rule sees dated snapshots and gives reasons.

Rules only ever keep, and each looks for itself, so that one rule more never removes a snapshot more. Must never know a clock: what is "within" a
duration is so by the newest snapshot, and a policy that runs once a year does the same as one that runs every hour.

docs/guide/forget.md says the same to users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from seedcorn.errors import UsageError
from seedcorn.ids import HostId, SnapshotId
from seedcorn.quantities import Duration

__all__ = ["UNLIMITED", "Candidate", "Counted", "Dated", "Newest", "Period", "Policy", "Rule", "Tagged", "Within"]

UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class Candidate:
    """What retention may know of a snapshot. ``time_ns`` and ``flagged`` come from ``retention_time``, ``group`` is the hash that its host made."""

    id: SnapshotId
    host: HostId
    group: bytes
    tags: tuple[str, ...]
    time_ns: int
    flagged: bool
    confirmed: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class Dated:
    """A candidate, and its time by the calendar to whole seconds."""

    candidate: Candidate
    moment: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """What rules see of one group, each newest first. ``incomplete`` ones may be kept, and take no place from a complete one."""

    complete: Sequence[Dated]
    incomplete: Sequence[Dated]


class Period(Enum):
    """A piece of the calendar. The value is its name in options and reasons."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"

    def label(self, moment: datetime) -> str:
        """The piece that ``moment`` lies in. Weeks are ISO weeks; an hour that the clock repeats in autumn is two."""
        match self:
            case Period.HOURLY:
                return f"{moment:%Y-%m-%d %H:00 %z}"
            case Period.DAILY:
                return f"{moment:%Y-%m-%d}"
            case Period.WEEKLY:
                return f"{moment:%G-W%V}"
            case Period.MONTHLY:
                return f"{moment:%Y-%m}"
            case Period.YEARLY:
                return f"{moment:%Y}"


class Rule(Protocol):
    """One reason to keep snapshots."""

    def kept(self, counted: Counted) -> Iterator[tuple[SnapshotId, str]]:
        """Each snapshot that this rule keeps, with the reason in words."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest snapshot of each of the last ``count`` periods that have any; without a period, the last ``count`` snapshots.

    As long as there are fewer periods than that, the oldest snapshot is kept too: it is the only one that can become the oldest of a full set.
    """

    count: int
    period: Period | None = None

    def __post_init__(self) -> None:
        if self.count < 1 and self.count != UNLIMITED:
            raise UsageError(f"{self.count} snapshots can not be kept: give a number from 1, or unlimited")

    def kept(self, counted: Counted) -> Iterator[tuple[SnapshotId, str]]:
        limit = len(counted.complete) if self.count == UNLIMITED else self.count
        if self.period is None:
            reason = "last unlimited" if self.count == UNLIMITED else f"last {self.count}"
            yield from ((dated.candidate.id, reason) for dated in counted.complete[:limit])
            return
        newest = _newest_of_each(self.period, counted.complete)
        kept = list(newest.items())[:limit]
        yield from ((dated.candidate.id, f"{self.period.value} {label}") for label, dated in kept)
        fills = self.count == UNLIMITED or len(newest) < self.count
        if fills and kept and kept[-1][1] is not counted.complete[-1]:
            yield counted.complete[-1].candidate.id, f"oldest {self.period.value}"


@dataclass(frozen=True, slots=True)
class Within:
    """Every snapshot less than ``duration`` older than the newest complete one; with a period, the newest complete one of each in that time."""

    duration: Duration
    period: Period | None = None

    def __post_init__(self) -> None:
        if not self.duration:
            raise UsageError("within no time nothing can be kept: give a duration such as 7d to --keep-within")

    def kept(self, counted: Counted) -> Iterator[tuple[SnapshotId, str]]:
        if not counted.complete:
            return
        newest = counted.complete[0]
        start_ns = self.duration.start_ns(newest.moment)
        if start_ns is not None:
            start_ns += newest.candidate.time_ns % 10**9  # the moment is in whole seconds
        complete, incomplete = (
            [dated for dated in some if start_ns is None or dated.candidate.time_ns > start_ns] for some in (counted.complete, counted.incomplete)
        )
        if self.period is None:
            yield from ((dated.candidate.id, f"within {self.duration}") for dated in complete + incomplete)
            return
        for label, dated in _newest_of_each(self.period, complete).items():
            yield dated.candidate.id, f"{self.period.value} {label} within {self.duration}"


@dataclass(frozen=True, slots=True)
class Tagged:
    """Every snapshot that has all of ``tags``; without any, every snapshot that has none."""

    tags: frozenset[str]

    def kept(self, counted: Counted) -> Iterator[tuple[SnapshotId, str]]:
        reason = f"{'tag' if len(self.tags) == 1 else 'tags'} {','.join(sorted(self.tags))}" if self.tags else "untagged"
        for dated in (*counted.complete, *counted.incomplete):
            tags = dated.candidate.tags
            if self.tags.issubset(tags) if self.tags else not tags:
                yield dated.candidate.id, reason


@dataclass(frozen=True, slots=True)
class Policy:
    """What to keep: whatever one of the rules keeps. Never empty, because that would read as "nothing".

    With ``trust_store_times`` flagged snapshots are dated by the store like all others; without, they stay outside (kept, and not counted).
    """

    rules: tuple[Rule, ...]
    trust_store_times: bool = False

    def __post_init__(self) -> None:
        if not self.rules:
            raise UsageError("the policy keeps nothing, so nothing is removed: give at least one rule, such as --keep-last 3 or --keep-daily 7")


def _newest_of_each(period: Period, newest_first: Sequence[Dated]) -> dict[str, Dated]:
    newest: dict[str, Dated] = {}
    for dated in newest_first:
        newest.setdefault(period.label(dated.moment), dated)
    return newest
