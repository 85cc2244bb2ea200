"""benchmarks.targets, benchmarks.report and benchmarks.plots: the figures of the page are those of the run."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.benchmarks.runs import head, main_run, scale_run

from benchmarks.plots import PICTURES, draw
from benchmarks.report import render, write_report
from benchmarks.results import IndexReport, Results
from benchmarks.targets import Outcome, outcomes

INDEX = IndexReport.from_output(
    """\
| figure | value |
|---|---|
| lookup | 2 µs |
{"chunks": 50000000, "backup_empty_peak_bytes": 104857600, "backup_full_peak_bytes": 125829120}
"""
)


def row(figure: str, target: str = "") -> Outcome:
    rows = outcomes({"main": main_run(), "scale": scale_run()}, INDEX.figures)
    return next(row for row in rows if row.figure == figure and target in row.target)


@pytest.mark.parametrize(
    ("figure", "target", "ours", "allowed", "is_met"),
    [
        ("first backup, wall", "restic", 10, 40 / 3.5, True),
        ("first backup, wall", "floor", 10, 12, True),
        ("stored", "restic", 900, 950, True),
        ("second day, bytes put", "duplicity", 3, 2, False),
        ("peak memory, first backup", "restic", 90, 100, True),
        ("one small file, S3", "GETs", 6, 4, False),  # the most of two files counts
        ("requests, first backup", "PUT", 20, 30, True),
        ("overhead on the seed tree", "", 1.5, 2, True),
        ("peak memory, flat", "directory", 105, 110, True),
        ("peak memory, flat", "repository", 120, 110, False),
    ],
)
def test_a_target_is_judged_by_the_medians(figure: str, target: str, ours: float, allowed: float, is_met: bool) -> None:
    found = row(figure, target)
    assert found.ours == pytest.approx(ours)
    assert found.allowed == pytest.approx(allowed)
    assert found.is_met is is_met


@pytest.mark.parametrize("figure", ["nothing changed, wall", "restore all to disk, wall", "forget + prune planning, 1,000 snapshots"])
def test_what_was_not_measured_is_neither_met_nor_missed(figure: str) -> None:
    assert row(figure).is_met is None


def test_every_row_is_there_whatever_was_measured() -> None:
    names = [(row.figure, row.target) for row in outcomes({"main": main_run()})]
    assert names == [(row.figure, row.target) for row in outcomes({"main": main_run(), "scale": scale_run()}, INDEX.figures)]


def test_the_page_shows_verdicts_medians_and_extremes() -> None:
    page = render({"main": main_run(), "scale": scale_run()}, INDEX, ["benchmarks/time.svg"])
    assert "| first backup, wall | ≤ 1/3.5 of restic | 10 s | 40 s | 0.250 | met, 0.88 of what is allowed |  |" in page
    assert "**missed**, 1.50 × what is allowed" in page
    assert "| first backup | seedcorn | 10 (9–14) |" in page
    assert "| first backup | restic | 99 |" in page  # from a cold cache
    assert "- seedcorn: first backup\n" in page  # restored equal
    assert "| lookup | 2 µs |\n\n## How" in page
    assert "![time](benchmarks/time.svg)" in page
    assert "| restic | restic 0.19 | defaults | 3 |" in page


def test_tables_have_as_many_cells_in_each_row_as_in_their_head() -> None:
    page = render({"main": main_run(), "scale": scale_run()})
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_a_page_can_be_made_of_any_part_of_a_run() -> None:
    main = main_run()
    for count in range(len(main.records) + 1):
        assert "## Targets" in render({"main": Results(head(), main.records[:count])})


def test_pictures_are_svg_and_the_same_for_the_same_results(tmp_path: Path) -> None:
    paths = draw(main_run(), tmp_path)
    assert [path.stem for path in paths] == list(PICTURES)
    for path in paths:
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        text = path.read_text()
        assert "seedcorn" in text  # the text is text
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in draw(main_run(), tmp_path)] == before


def test_the_report_is_a_page_and_the_pictures_that_it_shows(tmp_path: Path) -> None:
    write_report(tmp_path, {"main": main_run()})
    page = (tmp_path / "benchmarks.md").read_text()
    shown = re.findall(r"!\[\w+\]\(([^)]+)\)", page)
    assert shown
    assert all((tmp_path / path).is_file() for path in shown)
