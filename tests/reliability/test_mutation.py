"""reliability.mutation: on a package of its own, whose tests notice some changes and not others; and that its table names what there is."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from reliability.mutation import TESTS

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from reliability import mutation
mutation._LEAST_SECONDS = 3
checkout, scratch, sample = sys.argv[1:]
ground = mutation.Ground(Path(checkout), Path(scratch))
print(json.dumps(asdict(mutation.try_module(ground, "deep.grain", ["test_grain.py"], int(sample), 1))))
"""
GRAIN = """
def halves(number):
    while number > 9:
        number -= 5
    return number

def nobody_asks():
    return halves(3)
"""
TEST = """
import os
from seedcorn.deep.grain import halves
def test_it():
    assert (halves(10), halves(9)) == (5, 9)
    assert os.listdir() == []
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with one module and one test."""
    made = tmp_path / "checkout"
    (made / "src/seedcorn/deep").mkdir(parents=True)
    for path, text in (("src/seedcorn/__init__.py", ""), ("src/seedcorn/deep/__init__.py", ""), ("src/seedcorn/deep/grain.py", GRAIN)):
        (made / path).write_text(text)
    (made / "pyproject.toml").write_text('[tool.pytest]\nmarkers = ["slow: -", "ceph: -"]\n')
    (made / "test_grain.py").write_text(TEST)
    return made


def tried(checkout: Path, sample: int = 0) -> dict[str, Any]:
    """What was found, in a process of its own: a fork takes nothing of pytest's with it."""
    scratch = Path(tempfile.mkdtemp(dir=checkout.parent))
    run = subprocess.run([sys.executable, "-c", PROGRAM, checkout, scratch, str(sample)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert not (scratch / "work").exists()
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_what_is_noticed_and_what_survives(checkout: Path) -> None:
    found = tried(checkout)
    assert (found["mutants"], found["tried"], found["killed"] + found["timed_out"]) == (8, 8, 6)
    assert found["timed_out"] >= 2  # numbers that grow for ever, or stay; on a busy machine others are late, too
    assert {(survivor["line"], survivor["now"]) for survivor in found["survivors"]} == {(8, "return None"), (8, "4")}
    assert (checkout / "src/seedcorn/deep/grain.py").read_text() == GRAIN


def test_a_small_sample_is_part_of_a_larger_one(checkout: Path) -> None:
    (checkout / "test_grain.py").write_text("from seedcorn.deep.grain import halves\ndef test_nothing(): pass\n")
    small, large = ({(survivor["line"], survivor["was"], survivor["now"]) for survivor in tried(checkout, sample)["survivors"]} for sample in (2, 5))
    assert (len(small), len(large)) == (2, 5)
    assert small < large


@pytest.mark.parametrize(
    ("text", "why"),
    [("def test_it(): assert False", "fail without any change"), ("def test_it(): pass", "do without it")],
)
def test_tests_that_can_tell_nothing(checkout: Path, text: str, why: str) -> None:
    (checkout / "test_grain.py").write_text(text)
    with pytest.raises(AssertionError, match=f"CanNotTellError: its tests {why}"):
        tried(checkout)


def test_the_table_names_what_there_is() -> None:
    for module, tests in TESTS.items():
        assert (ROOT / "src/seedcorn" / f"{module.replace('.', '/')}.py").is_file()
        for test in tests:
            path, _, name = test.partition("::")
            assert f"def {name.partition('[')[0] or 'test_'}" in (ROOT / path).read_text()
