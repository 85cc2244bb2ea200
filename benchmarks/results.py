"""What was measured: kept after every step, so that an interrupted run loses one round at most, and the statistics over it.

A run is a file of JSON lines: a head (settings, machine, versions), then one line for each step, and one for each finished round of a section.
Published, it is one JSON document. Knows neither programs nor targets.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.measure import Cost

__all__ = ["COLD", "WARM", "IndexReport", "Record", "Results", "Run", "Spread", "commit", "file_system", "machine", "spread"]

WARM, COLD = "warm", "cold"


@dataclass(frozen=True)
class Record:
    """One step of one program in one round of a section. Sizes in bytes."""

    section: str
    program: str
    step: str
    round: int
    wall_seconds: float
    user_seconds: float
    system_seconds: float
    peak_bytes: int
    cache: str = WARM
    stored_bytes: int | None = None  # all that lies in the repository afterwards
    put_bytes: int | None = None  # written to the repository by this step
    requests: dict[str, int] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)  # figures of one section alone

    @classmethod
    def of(cls, cost: Cost, section: str, program: str, step: str, number: int, **more: Any) -> Self:
        return cls(section, program, step, number, cost.wall_seconds, cost.user_seconds, cost.system_seconds, cost.peak_bytes, **more)

    @property
    def cpu_seconds(self) -> float:
        return self.user_seconds + self.system_seconds


@dataclass(frozen=True)
class Spread:
    """A figure over all rounds."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float]) -> Spread | None:
    """Median and extremes; None of nothing."""
    found = sorted(values)
    return Spread(statistics.median(found), found[0], found[-1], len(found)) if found else None


@dataclass(frozen=True)
class IndexReport:
    """What ``benchmarks.scale_index`` prints: a table in Markdown, and the same as JSON in the last line."""

    table: str
    figures: dict[str, Any]

    @classmethod
    def from_output(cls, text: str) -> Self:
        table, _, figures = text.strip().rpartition("\n")
        return cls(table, json.loads(figures))


@dataclass
class Results:
    """All records of a run, and under what conditions they were made."""

    head: dict[str, Any]
    records: list[Record] = field(default_factory=list)

    def select(self, section: str, program: str, step: str, cache: str = WARM) -> list[Record]:
        return [record for record in self.records if (record.section, record.program, record.step, record.cache) == (section, program, step, cache)]

    def figure(self, section: str, program: str, step: str, value: Callable[[Record], float | None], cache: str = WARM) -> Spread | None:
        """``value`` over the rounds of one step; None if it was not measured."""
        values = map(value, self.select(section, program, step, cache))
        return spread(value for value in values if value is not None)

    def programs(self, section: str) -> list[str]:
        """In the order in which they first came."""
        return list(dict.fromkeys(record.program for record in self.records if record.section == section))

    def steps(self, section: str) -> list[str]:
        """In the order in which they first came, from a warm cache."""
        return list(dict.fromkeys(record.step for record in self.records if record.section == section and record.cache == WARM))

    def to_json(self) -> str:
        return json.dumps({**self.head, "records": [asdict(record) for record in self.records]}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        head = json.loads(text)
        records = [Record(**fields) for fields in head.pop("records")]
        return cls(head, records)


class Run:
    """A run's file of JSON lines."""

    def __init__(self, path: Path, results: Results, finished: set[tuple[str, int]]) -> None:
        self.results = results
        self._path = path
        self._finished = finished

    @classmethod
    def begin(cls, path: Path, head: dict[str, Any]) -> Run:
        """A new run; the file of one before is kept beside it under ``.previous``."""
        if path.exists():
            path.replace(path.with_name(path.name + ".previous"))
        run = cls(path, Results(head), set())
        run._write({"head": head})
        return run

    @classmethod
    def read(cls, path: Path) -> Run:
        """What is there, unfinished rounds included."""
        run = cls(path, Results({}), set())
        for line in path.read_text().splitlines():
            for kind, value in json.loads(line).items():
                if kind == "head":
                    run.results.head = value
                elif kind == "record":
                    run.results.records.append(Record(**value))
                else:
                    run._finished.add((value[0], value[1]))
        return run

    @classmethod
    def resume(cls, path: Path, head: dict[str, Any]) -> Run:
        """Go on with a run after its last finished round.

        Raises:
            ValueError: it was made under other conditions than ``head`` describes.
        """
        before = cls.read(path)
        if before.results.head != head:
            raise ValueError(f"{path} was made with other settings or versions: begin a new run")
        run = cls.begin(path, head)
        for record in before.results.records:
            if before.is_finished(record.section, record.round):
                run.append(record)
        for section, number in sorted(before._finished):
            run.finish(section, number)
        return run

    def append(self, record: Record) -> None:
        self.results.records.append(record)
        self._write({"record": asdict(record)})

    def finish(self, section: str, number: int) -> None:
        """Say that all steps of a round are there."""
        self._finished.add((section, number))
        self._write({"finished": [section, number]})

    def is_finished(self, section: str, number: int) -> bool:
        return (section, number) in self._finished

    def _write(self, line: dict[str, Any]) -> None:
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "processor": _field("/proc/cpuinfo", "model name"),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "python": platform.python_version(),
    }


def commit() -> str:
    """Of the checkout; marked if it has changes that are not committed."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def file_system(place: Path) -> str:
    """The kind of file system that ``place`` lies on."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    above: Sequence[Path] = [place.resolve(), *place.resolve().parents]
    kinds = {Path(mount[1]): mount[2] for mount in mounts}
    return next((kinds[path] for path in above if path in kinds), "unknown")


def _field(path: str, name: str) -> str:
    lines = (line.partition(":") for line in Path(path).read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "unknown")
