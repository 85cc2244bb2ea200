"""jobs/local_zone.py: the machine's zone, all year round, beside the same zone of the standard library."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from seedcorn.jobs.local_zone import LocalZone

HOUR_SECONDS = 3600
YEAR_SECONDS = range(1_767_225_600, 1_798_761_600, HOUR_SECONDS // 2)  # 2026, every half hour


@pytest.fixture(params=["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneInfo]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield ZoneInfo(request.param)
    time.tzset()


def test_every_half_hour_of_a_year(zone: ZoneInfo) -> None:
    local = LocalZone()
    for seconds in YEAR_SECONDS:
        known, ours = datetime.fromtimestamp(seconds, zone), datetime.fromtimestamp(seconds, local)
        assert (ours.replace(tzinfo=None), ours.fold, ours.utcoffset()) == (known.replace(tzinfo=None), known.fold, known.utcoffset())
        assert ours.timestamp() == seconds
    assert ours.tzname() == known.tzname()


def test_arithmetic_by_the_calendar(zone: ZoneInfo) -> None:
    for seconds in YEAR_SECONDS[:: 24 * 2]:
        known, ours = (datetime.fromtimestamp(seconds, some) - timedelta(days=200) for some in (zone, LocalZone()))
        assert ours.timestamp() == known.timestamp()


def test_of_no_moment_nothing_is_known() -> None:
    assert (LocalZone().utcoffset(None), LocalZone().tzname(None), LocalZone().dst(None)) == (None, None, None)
