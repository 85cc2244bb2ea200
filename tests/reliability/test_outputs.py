"""reliability.outputs: what is read is what the command found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from reliability.outputs import json_lines, json_object, pytest_report

MODULE = """
import pytest
@pytest.mark.parametrize("count", [3, 4])
def test_counts(count, record_property): record_property("crashes", count)
def test_fails(): assert False
@pytest.fixture
def broken(): raise OSError
def test_errors(broken): pass
@pytest.mark.skip
def test_skips(): pass
"""


def test_the_report_of_a_real_run(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(MODULE)
    report = tmp_path / "report.xml"
    options = ["-c", "/dev/null", "-o", "junit_family=xunit1", "--rootdir", str(tmp_path), f"--junitxml={report}", "-p", "no:cacheprovider"]
    subprocess.run([sys.executable, "-m", "pytest", *options, str(tmp_path)], stdout=subprocess.DEVNULL, check=False)
    assert pytest_report(report.read_text()) == {
        "passed": 2,
        "failed": 2,
        "skipped": 1,
        "modules": {"test_it": {"passed": 2, "failed": 2, "skipped": 1}},
        "counted": {"test_it::test_counts[3]": {"crashes": 3}, "test_it::test_counts[4]": {"crashes": 4}},
    }


def test_what_programs_print() -> None:
    assert json_object('progress\n{"runs": 2}\n') == {"runs": 2}
    assert json_lines('{"a": 1}\n{"a": 2}\n') == {"rows": [{"a": 1}, {"a": 2}]}
