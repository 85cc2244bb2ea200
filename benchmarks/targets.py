"""The table of targets: what was promised, what was measured, met or missed and by how much. Pure functions of the results.

Warm medians are compared. The peak of memory is compared step by step, everything else once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.main_job import (
    AGAIN,
    CPU_FLOOR,
    FIRST,
    MEDIA,
    ONE_FILE,
    PLAN,
    PLAN_SECONDS,
    PLANNING,
    RESTORE,
    RESTORE_TMPFS,
    S3,
    SECOND,
    TREE,
    WALK_FLOOR,
)
from benchmarks.peers import OURS
from benchmarks.results import Record, Results
from benchmarks.runner import FLOOR, OVERHEAD_PERCENT
from benchmarks.scale import FEW_FILES, MANY_FILES

__all__ = ["Outcome", "outcomes"]

Value = Callable[[Record], float | None]

_PUT_BYTES = 30 * 2**20  # one put for as many, and
_MORE_PUTS = 10


@dataclass(frozen=True)
class Outcome:
    """One row. The target is met if ``ours`` is at most ``allowed``; None stands for what was not measured."""

    figure: str
    target: str
    unit: str  # of ours, other and allowed: s, MB, MiB, % or nothing
    ours: float | None = None
    other: float | None = None  # the peer's or the floor's
    allowed: float | None = None
    note: str = ""  # why it was not measured, or what is to be known about it

    @property
    def ratio(self) -> float | None:
        """Of ours to the other."""
        return self.ours / self.other if self.ours is not None and self.other else None

    @property
    def used(self) -> float | None:
        """The share of what is allowed that is used: met up to 1."""
        return self.ours / self.allowed if self.ours is not None and self.allowed else None

    @property
    def is_met(self) -> bool | None:
        return None if self.used is None else self.used <= 1


def outcomes(suites: Mapping[str, Results], index: Mapping[str, float] | None = None) -> list[Outcome]:
    """Every row, in the order of the table of targets. ``index`` are the figures of ``benchmarks.scale_index``."""
    found: list[Outcome] = []
    main, scale = suites.get("main"), suites.get("scale")
    if main is not None:
        found += _of_main(main)
    found += (
        _of_scale(scale) if scale is not None else [Outcome("peak memory, flat", "± 10 % in a large directory", "MiB", note="make benchmark-scale")]
    )
    found.append(_of_index(index) if index else Outcome("peak memory, flat", "± 10 % in a large repository", "MiB", note="make benchmark-scale"))
    return found


def wall(record: Record) -> float | None:
    return record.wall_seconds


def stored(record: Record) -> float | None:
    return None if record.stored_bytes is None else record.stored_bytes / 1e6


def put(record: Record) -> float | None:
    return None if record.put_bytes is None else record.put_bytes / 1e6


def peak(record: Record) -> float | None:
    return record.peak_bytes / 2**20


def overhead(record: Record) -> float | None:
    return record.extra.get(OVERHEAD_PERCENT)


def plan_seconds(record: Record) -> float | None:
    return record.extra.get(PLAN_SECONDS)


def _of_main(main: Results) -> Iterator[Outcome]:
    def median(program: str, step: str, value: Value, section: str = TREE) -> float | None:
        found = main.figure(section, program, step, value)
        return found.median if found else None

    def beside(step: str, value: Value, unit: str, figure: str, target: str, share: float, other: str, other_step: str = "") -> Outcome:
        ours, theirs = median(OURS, step, value), median(other, other_step or step, value)
        return Outcome(
            figure, target, unit, ours, theirs, None if theirs is None else share * theirs, "" if theirs is not None else "not in this run"
        )

    yield beside(FIRST, wall, "s", "first backup, wall", "≤ 1/3.5 of restic", 1 / 3.5, "restic")
    yield beside(FIRST, wall, "s", "first backup, wall", "≤ 1/10 of duplicity", 1 / 10, "duplicity")
    yield beside(FIRST, wall, "s", "first backup, wall", "≤ 1.5 × the CPU floor", 1.5, FLOOR, CPU_FLOOR)
    yield beside(FIRST, stored, "MB", "stored", "≤ 0.95 × restic", 0.95, "restic")
    yield beside(AGAIN, wall, "s", "nothing changed, wall", "≤ 1/5 of restic", 1 / 5, "restic")
    yield beside(AGAIN, wall, "s", "nothing changed, wall", "≤ 1.5 × a bare walk", 1.5, FLOOR, WALK_FLOOR)
    yield beside(SECOND, put, "MB", "second day, bytes put", "≤ duplicity's growth", 1.0, "duplicity")
    yield beside(SECOND, put, "MB", "second day, bytes put", "≤ 1/8 of restic's growth", 1 / 8, "restic")
    yield beside(RESTORE_TMPFS, wall, "s", "restore all to tmpfs, wall", "≤ 1/2.2 of restic", 1 / 2.2, "restic")
    yield beside(RESTORE, wall, "s", "restore all to disk, wall", "≤ 1/2.2 of restic", 1 / 2.2, "restic")
    yield _one_small_file(main)
    for step in (FIRST, AGAIN, SECOND, RESTORE):
        yield beside(step, peak, "MiB", f"peak memory, {step}", "≤ restic", 1.0, "restic")
    yield from _requests(main)
    planning = median(OURS, PLAN, plan_seconds, PLANNING)
    note = "a million frames; made up, so there is no pack" if planning else "not in this run: python -m benchmarks.planning"
    yield Outcome("forget + prune planning, 1,000 snapshots", "≤ 2 s, no pack read", "s", planning, None, 2, note)
    for section, share, of in ((TREE, 2.0, "the seed tree"), (MEDIA, 0.5, "large media files")):
        yield Outcome(f"overhead on {of}", f"≤ {share:g} % of stored bytes", "%", median(OURS, "stats", overhead, section), None, share)


def _one_small_file(main: Results) -> Outcome:
    records = main.select(S3, OURS, ONE_FILE)
    most = max((record.requests["get"] for record in records), default=None)
    opening = max((record.extra["opening_gets"] for record in records), default=0)
    note = f"the most of {len(records)} files; opening the repository takes {opening:g} more" if records else "not in this run"
    return Outcome("one small file, S3", "≤ 4 GETs, index cached", "", most, None, 4, note)


def _requests(main: Results) -> Iterator[Outcome]:
    for record in main.select(S3, OURS, FIRST)[:1]:
        allowed = (record.put_bytes or 0) // _PUT_BYTES + _MORE_PUTS
        yield Outcome("requests, first backup", "≤ 1 PUT per 30 MiB + 10", "", record.requests["put"], None, allowed, "PUTs, on S3")
    for record in main.select(S3, OURS, AGAIN)[:1]:
        yield Outcome("requests, nothing changed", "≤ 8 in all", "", sum(record.requests.values()), None, 8, "on S3")


def _of_scale(scale: Results) -> Iterator[Outcome]:
    few, many = (scale.figure(section, OURS, "first backup", peak) for section in (FEW_FILES, MANY_FILES))
    if few and many:
        yield Outcome(
            "peak memory, flat", "± 10 % in a large directory", "MiB", many.median, few.median, 1.1 * few.median, "beside a directory of 10,000 files"
        )


def _of_index(index: Mapping[str, float]) -> Outcome:
    full, empty = (index[f"backup_{kind}_peak_bytes"] / 2**20 for kind in ("full", "empty"))
    note = f"an index of {index['chunks']:,} chunks beside an empty one"
    return Outcome("peak memory, flat", "± 10 % in a large repository", "MiB", full, empty, 1.1 * empty, note)
