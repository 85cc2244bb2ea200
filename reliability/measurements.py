"""What is measured, by which command, and how its output is read. A new figure begins with an entry here; ``page`` says how it is shown."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.results import commit, machine
from reliability.evidence import Evidence
from reliability.outputs import json_lines, json_object, pytest_report

__all__ = ["MEASUREMENTS", "OUT", "Measurement", "Size", "measure", "measurements_of"]

OUT = "OUT"  # in a command: the file that it writes its figures to; without it they are what it prints
_RUNS, _FEW_RUNS = 2000, 60
_OUTPUT_TAIL = 3000
_HOSTILE = ("tests/damage", "tests/fuzz", "tests/unit/format/test_hostile_input.py", "tests/unit/fs/test_target.py", "tests/unit/test_compression.py")
_CRASHES = ("tests/simulation/test_crash_points.py", "tests/collections/test_interruptions.py")
_SEALING = ("tests/unit/crypto", "tests/unit/repo", "tests/vectors", "tests/golden")


@dataclass(frozen=True)
class Size:
    """How long a run may take. ``runs``: simulated ones; of the special kinds a tenth each. ``resume``: a folder from which those go on that were cut
    off, of the same commit."""

    small: bool = False
    runs: int = 0
    resume: Path | None = None

    @property
    def simulated_runs(self) -> int:
        return self.runs or (_FEW_RUNS if self.small else _RUNS)


@dataclass(frozen=True)
class Measurement:
    """``command(size)`` is what a person types, with ``python`` and ``pytest`` of the environment."""

    name: str
    command: Callable[[Size], Sequence[str]]
    read: Callable[[str], dict[str, Any]]


def _simulation(name: str, share: int, *options: str) -> Measurement:
    def command(size: Size) -> Sequence[str]:
        seeds = f"0-{max(size.simulated_runs // share, 1) - 1}"
        record = ["--resume", str(size.resume / f"{name}.jsonl")] if size.resume else []
        return ["python", "-m", "seedcorn.testing.simulate", "--seeds", seeds, *options, "--json", *record]

    return Measurement(name, command, json_object)


def _tests(name: str, *paths: str, marked: str = "not ceph", few: str = "not ceph and not slow") -> Measurement:
    def command(size: Size) -> Sequence[str]:
        return ["pytest", "-m", few if size.small else marked, f"--junitxml={OUT}", *paths]

    return Measurement(name, command, pytest_report)


def _drill(_size: Size) -> Sequence[str]:
    return ["python", "-m", "tests.drill"]


def _chaos(size: Size) -> Sequence[str]:
    return ["python", "-m", "tests.chaos", "--minutes", "1" if size.small else "10", "--json", OUT]


def _model(size: Size) -> Sequence[str]:
    return ["python", "-m", "tests.model", "--json", *(["--quick"] if size.small else [])]


def _mutation(size: Size) -> Sequence[str]:
    return ["python", "-m", "reliability.mutation", "--sample", "2" if size.small else "15"]


def _overhead(size: Size) -> Sequence[str]:
    return ["python", "-m", "reliability.overhead", "--mebibytes", "64" if size.small else "1024"]


def _sealing_keys(size: Size) -> Sequence[str]:
    return ["pytest", "-m", "not ceph and not slow", f"--sealing-keys={OUT}", *(_SEALING if size.small else ("tests",))]


MEASUREMENTS = (
    _simulation("simulation", 1),
    _simulation("simulation_weak", 10, "--weak"),
    _simulation("simulation_rollback", 10, "--rollback"),
    _simulation("simulation_copy", 10, "--copy"),
    _simulation("simulation_domains", 10, "--domains"),
    _simulation("simulation_crowd", 10, "--crowd"),
    _tests("crash_points", *_CRASHES),
    Measurement("model", _model, json_lines),
    Measurement("mutation", _mutation, json_object),
    _tests("hostile_input", *_HOSTILE, marked="not slow"),
    _tests("every_byte", "tests/damage/test_every_byte.py", marked="slow"),
    Measurement("sealing_keys", _sealing_keys, json_object),
    _tests("stolen_host", "tests/acceptance/test_stolen_host.py"),
    Measurement("drill", _drill, json_lines),
    Measurement("chaos", _chaos, json_object),
    Measurement("overhead", _overhead, json_object),
)


def measurements_of(names: Sequence[str]) -> list[Measurement]:
    """Those with these names, or all."""
    return [found for found in MEASUREMENTS if not names or found.name in names]


def measure(measurement: Measurement, size: Size) -> Evidence | None:
    """Run it to its end; None if it left nothing to read. What it says on standard error is shown."""
    command = measurement.command(size)
    begun, date, checkout = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%d"), commit()
    with tempfile.TemporaryDirectory(prefix="seedcorn-reliability-") as folder:
        out = Path(folder) / "out"
        asked = [word.replace(OUT, str(out)) for word in command]
        run = subprocess.run(_in_this_environment(asked), stdout=subprocess.PIPE, text=True, check=False, env=_environment())
        text = out.read_text() if out.exists() else run.stdout if OUT not in " ".join(command) else ""
    if run.returncode:
        print(run.stdout[-_OUTPUT_TAIL:])
    if not text.strip():
        return None
    figures, has_passed = measurement.read(text), run.returncode == 0
    seconds = figures.pop("seconds", round(time.monotonic() - begun, 1))  # a command that goes on where it was cut off knows better
    return Evidence(measurement.name, shlex.join(command), has_passed, size.small, checkout, date, seconds, machine(), figures)


def _in_this_environment(command: Sequence[str]) -> list[str]:
    return [sys.executable, *(command[1:] if command[0] == "python" else ("-m", *command))]


def _environment() -> dict[str, str]:
    """Skips fail, as in CI: what is not tested is not evidence."""
    return os.environ | {"CI": "true"}
