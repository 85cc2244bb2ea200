"""cli/render_text.py: figures as people know them."""

from __future__ import annotations

import pytest

from seedcorn.cli.render_text import count_text, duration_text, local_time, size_text, statistics_block, table
from seedcorn.format.snapshot import Statistics


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1024, "1.00 KB"), (10_240, "10.0 KB"), (102_400, "100 KB"), (1_048_576, "1.00 MB"),
        (7_763_000_000, "7.23 GB"), (5 << 40, "5.00 TB"), (5000 << 40, "5000 TB"),
    ],
)  # fmt: skip
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 seconds"), (100.74, "1 minute 40.74 seconds"), (5585.2, "1 hour 33 minutes 5.20 seconds"), (7200, "2 hours 0.00 seconds")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_counts() -> None:
    assert [count_text(count, "entry") for count in range(3)] == ["0 entries", "1 entry", "2 entries"]
    assert count_text(2, "file") == "2 files"


def test_a_time_beyond_all_calendars() -> None:
    assert local_time(1 << 62).startswith("21")
    assert local_time((1 << 90) * 10**9).endswith(" s")


def test_table() -> None:
    assert table(["Name", " Size"], [["a", "10"], ["long", "5"]]) == ["Name  Size", "a       10", "long     5"]


def test_the_block() -> None:
    statistics = Statistics(source_files=25, source_file_size=7_763_000_000, delta_entries=25, errors=1)
    lines = statistics_block(statistics, start_ns=10**18, end_ns=10**18 + 100_740_000_000, elapsed_seconds=100.74)
    assert len(lines) == 17
    assert {len(lines[0]), len(lines[-1])} == {49}
    assert lines[1].startswith("StartTime 1000000000.00 (Sun Sep ")
    assert lines[3:5] == ["ElapsedTime 100.74 (1 minute 40.74 seconds)", "SourceFiles 25"]
    assert lines[5] == "SourceFileSize 7763000000 (7.23 GB)"
    assert lines[12] == "DeltaEntries 25"
    assert lines[15] == "Errors 1"
