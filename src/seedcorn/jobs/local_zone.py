"""This machine's time zone with its rules for summer and winter, for whoever computes with calendars at other times of the year.

The standard library gives the offset of one moment at a time only (``datetime.astimezone``); a fixed one would put half the year into wrong hours.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

__all__ = ["LocalZone"]


class LocalZone(tzinfo):
    """The zone of ``TZ`` or of the system, as the C library knows it."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, _: datetime | None) -> None:
        """Not known."""

    def tzname(self, moment: datetime | None) -> str | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, moment: datetime) -> datetime:
        known = moment.replace(tzinfo=UTC).astimezone()
        local = known.replace(tzinfo=self)
        return local if local.utcoffset() == known.utcoffset() else local.replace(fold=1)  # the second of two hours of one name
