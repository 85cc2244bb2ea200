"""Spans of time, amounts of bytes and percentages as people type them: one grammar for all options. Pure.

A span is ``2y5m7d3h``, in units of restic's policies, with ``min`` and ``s`` for short ones: ``m`` is a month everywhere. A size is ``200M`` or
``10GiB``; units are powers of 1024.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from seedcorn.errors import UsageError

__all__ = ["Duration", "parse_percentage", "parse_size"]

_UNITS = ("y", "m", "d", "h", "min", "s")  # in the order of Duration's fields
_PART = re.compile(r"([0-9]{1,6})(min|[ymdhs])")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGT]?)(?:i?B)?", re.IGNORECASE)
_PERCENTAGE = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})?%")
_UNIT_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DAY_SECONDS = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0
    minutes: int = 0
    seconds: int = 0

    @classmethod
    def parse(cls, text: str) -> Duration:
        """From ``2y5m7d3h`` or ``90min``, each unit at most once; ``0`` is no time at all.

        Raises:
            UsageError: anything else.
        """
        parts = _PART.findall(text)
        amounts = {unit: int(amount) for amount, unit in parts}
        if text != "0" and (not parts or "".join(map("".join, parts)) != text or len(amounts) != len(parts)):
            raise UsageError(
                f"{text!r} is not a duration: write years, months, days, hours, minutes and seconds as in 2y5m7d3h or 15min30s, each at most once"
                " (a week is 7d)"
            )
        return cls(*(amounts.get(unit, 0) for unit in _UNITS))

    def __str__(self) -> str:
        amounts = zip((getattr(self, field.name) for field in fields(self)), _UNITS, strict=True)
        return "".join(f"{amount}{unit}" for amount, unit in amounts if amount) or "0"

    def __bool__(self) -> bool:
        return self != Duration()

    @property
    def clock_seconds(self) -> int:
        """Without a calendar: a month has 30 days and a year 365."""
        days = self.years * 365 + self.months * 30 + self.days
        return days * _DAY_SECONDS + self._below_a_day_seconds

    def start_ns(self, end: datetime) -> int | None:
        """When the span that ends at ``end`` began, in nanoseconds since 1970; None: before all calendars.

        Years, months and days go by the calendar of ``end`` (a month before 31 March is the last day of February), the rest by the clock.
        """
        months = end.year * 12 + end.month - 1 - self.years * 12 - self.months
        year, month = months // 12, months % 12 + 1
        if year < 1:
            return None
        try:
            begin = end.replace(year=year, month=month, day=min(end.day, monthrange(year, month)[1])) - timedelta(days=self.days)
        except OverflowError:
            return None
        return ((begin - _EPOCH) // timedelta(microseconds=1) - self._below_a_day_seconds * 10**6) * 1000

    @property
    def _below_a_day_seconds(self) -> int:
        return self.hours * 3600 + self.minutes * 60 + self.seconds


def parse_size(text: str) -> int:
    """Bytes, from ``500``, ``200M``, ``1.5k`` or ``10GiB``.

    Raises:
        UsageError: anything else.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a size: write bytes, or a number with K, M, G or T, as in 200M or 10GiB")
    return int(float(match[1]) * _UNIT_BYTES[match[2].upper()])


def parse_percentage(text: str) -> float | None:
    """Percent, from ``5%`` or ``2.5%``; None for what is none, so that each caller can say what else it takes. May be more than 100."""
    return float(text[:-1]) if _PERCENTAGE.fullmatch(text) else None
