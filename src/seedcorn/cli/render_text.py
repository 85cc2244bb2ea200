"""Values for a person: sizes, times, tables, and the statistics block in the form that duplicity's users know. Pure."""

from __future__ import annotations

import stat
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seedcorn.errors import printable

if TYPE_CHECKING:  # rendering needs their fields, and no command should load what it does not use
    from seedcorn.format.snapshot import Statistics
    from seedcorn.ops.browse import Entry

__all__ = ["count_text", "duration_text", "local_time", "long_entry", "size_text", "statistics_block", "table"]

_UNITS = ((1 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))
_HEADER = "--------------[ Backup Statistics ]--------------"
_FILE_TYPES = {1: stat.S_IFREG, 2: stat.S_IFDIR, 3: stat.S_IFLNK, 4: stat.S_IFIFO, 5: stat.S_IFCHR, 6: stat.S_IFBLK}


def size_text(size_bytes: float) -> str:
    """Three significant figures in units of 1024: ``7.23 GB``."""
    for unit_bytes, unit in _UNITS:
        if size_bytes >= unit_bytes:
            value = size_bytes / unit_bytes
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return count_text(round(size_bytes), "byte")


def count_text(count: int, noun: str) -> str:
    """``1 file``, ``2 files``, ``2 entries``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


def duration_text(seconds: float) -> str:
    """``1 hour 33 minutes 5.20 seconds``."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [count_text(amount, noun) for amount, noun in ((hours, "hour"), (minutes, "minute")) if amount]
    return " ".join([*parts, f"{rest:.2f} seconds"])


def local_time(time_ns: int) -> str:
    """To the second, in this machine's time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns // 10**9))
    except (ValueError, OverflowError, OSError):  # a year that the C library can not write
        return f"{time_ns // 10**9} s"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns, two spaces apart; those whose header ends in a space before its text are right-aligned."""
    lines = [[title.strip() for title in header], *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    right = [title.startswith(" ") for title in header]
    return ["  ".join(map(_cell, line, widths, right)).rstrip() for line in lines]


def _cell(text: str, width: int, to_the_right: bool) -> str:
    return text.rjust(width) if to_the_right else text.ljust(width)


def statistics_block(statistics: Statistics, *, start_ns: int, end_ns: int, elapsed_seconds: float) -> list[str]:
    """The block, line by line, fields in the usual order."""
    lines = [_HEADER]
    for name, time_ns in (("StartTime", start_ns), ("EndTime", end_ns)):
        lines.append(f"{name} {time_ns / 1e9:.2f} ({time.ctime(time_ns / 1e9)})")
    lines.append(f"ElapsedTime {elapsed_seconds:.2f} ({duration_text(elapsed_seconds)})")
    for name, value, is_size in (
        ("SourceFiles", statistics.source_files, False),
        ("SourceFileSize", statistics.source_file_size, True),
        ("NewFiles", statistics.new_files, False),
        ("NewFileSize", statistics.new_file_size, True),
        ("DeletedFiles", statistics.deleted_files, False),
        ("ChangedFiles", statistics.changed_files, False),
        ("ChangedFileSize", statistics.changed_file_size, True),
        ("ChangedDeltaSize", statistics.changed_delta_size, True),
        ("DeltaEntries", statistics.delta_entries, False),
        ("RawDeltaSize", statistics.raw_delta_size, True),
        ("TotalDestinationSizeChange", statistics.total_destination_size_change, True),
        ("Errors", statistics.errors, False),
    ):
        lines.append(f"{name} {value} ({size_text(value)})" if is_size else f"{name} {value}")
    return [*lines, "-" * len(_HEADER)]


def long_entry(entry: Entry, users: dict[int, str], groups: dict[int, str]) -> str:
    """One line as ``ls -l`` writes it."""
    node = entry.node
    mode = stat.filemode(_FILE_TYPES[node.kind] | node.mode)
    user, group = (printable(names.get(number, str(number)).encode()) for names, number in ((users, node.uid), (groups, node.gid)))
    target = f" -> {printable(node.extra.target)}" if node.extra and node.extra.target else ""
    return f"{mode} {user:8} {group:8} {node.size:>12} {local_time(node.mtime_ns)} {printable(entry.path)}{target}"
