"""ops/retention/policy.py: each rule by itself, durations, and the calendar."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from tests.unit.ops.candidates import made, named, reasons, time_ns

from seedcorn.errors import UsageError
from seedcorn.ops.retention.plan import plan_retention
from seedcorn.ops.retention.policy import UNLIMITED, Candidate, Newest, Period, Policy, Rule, Tagged, Within
from seedcorn.quantities import Duration

BERLIN = ZoneInfo("Europe/Berlin")


def kept(rule: Rule, *snapshots: str | Candidate, zone: tzinfo = UTC) -> dict[str, tuple[str, ...]]:
    """What one rule keeps of snapshots in one group, and why."""
    candidates = [one if isinstance(one, Candidate) else made(one) for one in snapshots]
    return reasons(plan_retention(candidates, Policy((rule,)), zone=zone))


def days(first: str, count: int, *, every: int = 1) -> list[str]:
    start = datetime.fromisoformat(first)
    return [f"{start + timedelta(days=every * number):%Y-%m-%d %H:%M}" for number in range(count)]


# -- the facts of restic's manual, section "Removing snapshots according to a policy" ----------------------------------------------------------


def test_daily_counts_days_that_have_a_snapshot() -> None:
    sundays = days("2019-09-01 11:00", 12, every=7)
    assert list(kept(Newest(4, Period.DAILY), *sundays)) == sundays[-4:]


def test_a_hundred_years_of_days() -> None:
    every_day = [made(day) for day in days("1990-01-01 12:00", 36_524)]
    policy = Policy((Newest(7, Period.DAILY), Newest(5, Period.WEEKLY), Newest(12, Period.MONTHLY), Newest(75, Period.YEARLY)))
    found = reasons(plan_retention(every_day, policy, zone=UTC))
    counted = Counter(reason.partition(" ")[0] for words in found.values() for reason in words)
    assert counted == {"daily": 7, "weekly": 5, "monthly": 12, "yearly": 75}
    assert len(found) == 7 + 3 + 11 + 74  # the last day is a Saturday and ends a year; the last Sunday is among the seven days, too


def test_the_oldest_is_kept_as_long_as_there_are_fewer_periods_than_asked_for() -> None:
    assert kept(Newest(2, Period.YEARLY), "2026-02-01", "2026-05-01", "2026-11-01") == {
        "2026-02-01": ("oldest yearly",),
        "2026-11-01": ("yearly 2026",),
    }
    assert list(kept(Newest(2, Period.YEARLY), "2025-02-01", "2025-05-01", "2026-11-01")) == ["2025-05-01", "2026-11-01"]
    assert list(kept(Newest(UNLIMITED, Period.YEARLY), "2025-02-01", "2025-05-01", "2026-11-01")) == ["2025-02-01", "2025-05-01", "2026-11-01"]


def test_a_hundred_hours_of_a_few_backups_in_one_day_are_the_hours_of_that_day() -> None:
    assert list(kept(Newest(24, Period.HOURLY), "2024-05-17 08:10", "2024-05-17 09:36", "2024-05-17 09:41", "2024-05-17 09:50")) == [
        "2024-05-17 08:10",
        "2024-05-17 09:50",
    ]


def test_within_ends_with_the_newest_snapshot_and_not_now() -> None:
    assert list(kept(Within(Duration(days=7)), *days("2009-01-01 03:00", 31))) == days("2009-01-25 03:00", 7)


# -- each rule ---------------------------------------------------------------------------------------------------------------------------------


def test_last() -> None:
    snapshots = days("2026-11-01 03:00", 5)
    assert kept(Newest(2), *snapshots) == {snapshots[3]: ("last 2",), snapshots[4]: ("last 2",)}
    assert len(kept(Newest(9), *snapshots)) == 5
    assert set(kept(Newest(UNLIMITED), *snapshots).values()) == {("last unlimited",)}


@pytest.mark.parametrize("count", [0, -2])
def test_a_count_of_nothing(count: int) -> None:
    with pytest.raises(UsageError, match="give a number from 1, or unlimited"):
        Newest(count)


@pytest.mark.parametrize(
    ("period", "when", "reason"),
    [
        (Period.HOURLY, "2026-11-24 13:59", "hourly 2026-11-24 13:00 +0000"),
        (Period.DAILY, "2026-11-24 13:59", "daily 2026-11-24"),
        (Period.WEEKLY, "2026-11-24 13:59", "weekly 2026-W48"),
        (Period.WEEKLY, "2027-01-01 00:00", "weekly 2026-W53"),  # a Friday
        (Period.MONTHLY, "2026-11-24 13:59", "monthly 2026-11"),
        (Period.YEARLY, "2026-11-24 13:59", "yearly 2026"),
    ],
)
def test_periods(period: Period, when: str, reason: str) -> None:
    assert kept(Newest(1, period), when) == {when: (reason,)}


@pytest.mark.parametrize(
    ("period", "before", "after"),
    [
        (Period.HOURLY, "2026-11-24 13:59:59", "2026-11-24 14:00"),
        (Period.DAILY, "2026-11-24 23:59:59", "2026-11-25 00:00"),
        (Period.WEEKLY, "2026-11-22 23:59:59", "2026-11-23 00:00"),  # Sunday, Monday
        (Period.MONTHLY, "2026-10-31 23:59:59", "2026-11-01 00:00"),
        (Period.YEARLY, "2026-12-31 23:59:59", "2027-01-01 00:00"),
    ],
)
def test_boundaries(period: Period, before: str, after: str) -> None:
    assert list(kept(Newest(2, period), before, after)) == [before, after]
    assert list(kept(Newest(1, period), before, after)) == [after]


def test_within_is_less_than() -> None:
    rule = Within(Duration(days=1))
    assert list(kept(rule, "2026-11-23 03:00:00", "2026-11-23 03:00:01", "2026-11-24 03:00:00")) == ["2026-11-23 03:00:01", "2026-11-24 03:00:00"]
    late = made("2026-11-24 03:00:00", time_ns=time_ns("2026-11-24 03:00:00") + 7)
    assert list(kept(rule, made("2026-11-23 03:00:00", time_ns=time_ns("2026-11-23 03:00:00") + 7), late)) == ["2026-11-24 03:00:00"]
    assert len(kept(rule, made("2026-11-23 03:00:00", time_ns=time_ns("2026-11-23 03:00:00") + 8), late)) == 2


def test_within_by_period() -> None:
    snapshots = ["2026-10-01 03:00", "2026-11-22 03:00", "2026-11-23 03:00", "2026-11-23 15:00", "2026-11-24 03:00", "2026-11-24 15:00"]
    assert kept(Within(Duration(days=2, hours=1), Period.DAILY), *snapshots) == {
        "2026-11-23 15:00": ("daily 2026-11-23 within 2d1h",),
        "2026-11-24 15:00": ("daily 2026-11-24 within 2d1h",),
    }


def test_tags() -> None:
    candidates = [made("2026-11-01", tags=("a",)), made("2026-11-02", tags=("b", "a", "c")), made("2026-11-03"), made("2026-11-04", tags=("z",))]
    newest = {"2026-11-04": ("newest of its group",)}
    assert kept(Tagged(frozenset("a")), *candidates) == {"2026-11-01": ("tag a",), "2026-11-02": ("tag a",)} | newest
    assert kept(Tagged(frozenset("ab")), *candidates) == {"2026-11-02": ("tags a,b",)} | newest
    assert kept(Tagged(frozenset()), *candidates) == {"2026-11-03": ("untagged",)} | newest


def test_all_reasons_are_given() -> None:
    policy = Policy((Newest(1), Newest(1, Period.DAILY), Within(Duration(hours=1)), Tagged(frozenset())))
    plan = plan_retention([made("2026-11-24")], policy, zone=UTC)
    assert reasons(plan) == {"2026-11-24": ("last 1", "daily 2026-11-24", "within 1h", "untagged")}


def test_no_rule_at_all() -> None:
    with pytest.raises(UsageError, match="the policy keeps nothing, so nothing is removed: give at least one rule"):
        Policy(())


# -- time zones --------------------------------------------------------------------------------------------------------------------------------


def test_a_day_is_one_of_the_zone_that_was_asked_for() -> None:
    snapshots = ["2026-11-24 10:30", "2026-11-24 22:30", "2026-11-24 23:30"]
    assert list(kept(Newest(1, Period.DAILY), *snapshots)) == ["2026-11-24 23:30"]
    assert list(kept(Newest(2, Period.DAILY), *snapshots, zone=BERLIN)) == ["2026-11-24 22:30", "2026-11-24 23:30"]
    assert list(kept(Newest(2, Period.DAILY), *snapshots, zone=timezone(timedelta(hours=-11)))) == ["2026-11-24 10:30", "2026-11-24 23:30"]


def test_backups_at_one_time_of_the_clock_stay_on_their_days_over_the_change_of_clocks() -> None:
    spring = [f"2026-03-{day} 00:01{'+01:00' if day < 30 else '+02:00'}" for day in (28, 29, 30, 31)]
    assert list(kept(Newest(4, Period.DAILY), *spring, zone=BERLIN)) == spring


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    assert kept(Newest(2, Period.HOURLY), "2026-10-25 00:10", "2026-10-25 00:30", "2026-10-25 01:30", zone=BERLIN) == {
        "2026-10-25 00:30": ("hourly 2026-10-25 02:00 +0200",),
        "2026-10-25 01:30": ("hourly 2026-10-25 02:00 +0100",),
    }


@pytest.mark.parametrize("duration", [Duration(years=2027), Duration(days=999_999)])
def test_a_span_before_all_calendars_keeps_everything(duration: Duration) -> None:
    assert len(kept(Within(duration), "1970-01-02", "2026-11-24")) == 2


def test_a_span_of_nothing_keeps_nothing_and_is_refused() -> None:
    with pytest.raises(UsageError, match="within no time"):
        Within(Duration())


def test_the_names_of_what_is_removed() -> None:
    plan = plan_retention([made(day) for day in days("2026-11-01 03:00", 3)], Policy((Newest(1),)), zone=UTC)
    assert named(plan.removed) == days("2026-11-01 03:00", 2)
