"""Spans and sizes as people type them."""

from __future__ import annotations

from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from seedcorn.errors import UsageError
from seedcorn.quantities import Duration, parse_percentage, parse_size

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_SECONDS = 3600


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("2y5m7d3h", Duration(2, 5, 7, 3)),
        ("7d", Duration(days=7)),
        ("36h", Duration(hours=36)),
        ("3h2d", Duration(days=2, hours=3)),
        ("0y1d", Duration(days=1)),
        ("1m2min3s", Duration(months=1, minutes=2, seconds=3)),
        ("999999y", Duration(years=999_999)),
        ("0", Duration()),
        ("0d", Duration()),
    ],
)
def test_durations(text: str, duration: Duration) -> None:
    assert Duration.parse(text) == duration
    assert Duration.parse(str(duration)) == duration
    assert bool(duration) == (duration.clock_seconds > 0)


@pytest.mark.parametrize("text", ["", "7", "00", "d", "1w", "1d2", "7 d", "-1d", "1d1d", "1.5d", "1D", "٣d", "1000000y", "1mi", "1sec", "1d\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a duration: write years, months, days, hours, minutes and seconds as in 2y5m7d3h"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "hours"), [("12h", 12), ("90d", 90 * 24), ("1y6m", (365 + 180) * 24), ("1m2d3h", 32 * 24 + 3), ("90min", 1.5), ("3600s", 1), ("0", 0)]
)
def test_a_duration_by_the_clock(text: str, hours: float) -> None:
    assert Duration.parse(text).clock_seconds == hours * HOUR_SECONDS


@pytest.mark.parametrize(
    ("end", "text", "start"),
    [
        ("2026-03-31 12:00", "1m", "2026-02-28 12:00"),
        ("2024-02-29 12:00", "1y", "2023-02-28 12:00"),
        ("2026-01-15 12:00", "1m", "2025-12-15 12:00"),
        ("2026-01-15 12:00", "13m", "2024-12-15 12:00"),
        ("2026-11-24 12:00", "2y5m7d3h", "2024-06-17 09:00"),
        ("2026-11-24 12:00", "100d", "2026-08-16 12:00"),
        ("2026-11-24 12:00", "90min1s", "2026-11-24 10:29:59"),
    ],
)
def test_the_beginning_of_a_span(end: str, text: str, start: str) -> None:
    assert Duration.parse(text).start_ns(moment(end)) == ns(moment(start))


def test_days_go_by_the_calendar_and_hours_by_the_clock() -> None:
    after_change = moment("2026-10-25 12:00", BERLIN)
    assert Duration(days=1).start_ns(after_change) == ns(moment("2026-10-24 12:00", BERLIN))
    assert Duration(hours=24).start_ns(after_change) == ns(moment("2026-10-24 13:00", BERLIN))


@pytest.mark.parametrize("text", ["2027y", "999999y", "999999d", "2025y999999d"])
def test_a_span_before_all_calendars_has_no_beginning(text: str) -> None:
    assert Duration.parse(text).start_ns(moment("2026-11-24 00:00")) is None


@pytest.mark.parametrize(("text", "size_bytes"), [("0", 0), ("500", 500), ("10G", 10 << 30), ("1.5k", 1536), ("2MiB", 2 << 20), ("3TB", 3 << 40)])
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "G", "-1", "1 G", "1P", "1.G", ".5G", "٣", "10%", "1e9", "9" * 400])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "percent"),
    [("5%", 5), ("2.5%", 2.5), ("0%", 0), ("120%", 120), ("5", None), ("%", None), ("-5%", None), (".5%", None), ("5 %", None), ("٥%", None)],
)
def test_percentages(text: str, percent: float | None) -> None:
    assert parse_percentage(text) == percent


def moment(text: str, zone: tzinfo = ZoneInfo("UTC")) -> datetime:  # noqa: B008  # never changed
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def ns(when: datetime) -> int:
    return int(when.timestamp()) * 10**9
