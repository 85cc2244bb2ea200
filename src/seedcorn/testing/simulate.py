"""``python -m seedcorn.testing.simulate --seeds 0-1999``: run many seeds on all cores, say what went wrong and how to see it again.

Owns the command line of the simulator, the spreading over processes and the corpus of seeds that once failed; what a run is, ``simulation.scenario``
says. Exit status 1 if a seed failed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from seedcorn.testing.simulation.faults import FaultKind
from seedcorn.testing.simulation.scenario import RunReport, SimulationOptions, simulate

__all__ = ["Totals", "main", "parse_corpus", "run_seeds"]

_BATCH = 25  # seeds that a process is handed at a time
_CORPUS = "corpus.txt"


@dataclass
class Totals:
    """What many runs come to."""

    runs: int = 0
    operations: int = 0
    virtual_seconds: int = 0
    confirmed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, report: RunReport) -> None:
        """One run more."""
        self.runs += 1
        self.operations += report.operations
        self.virtual_seconds += report.virtual_seconds
        self.confirmed += report.confirmed
        self.faults.update({kind.value: count for kind, count in report.faults.items()})
        self.outcomes.update(report.outcomes)
        if report.violation:
            self.failures.append((report.seed, report.violation))

    def as_json(self) -> dict[str, object]:
        """The figures for docs/reliability.md."""
        return {
            "runs": self.runs,
            "failed": len(self.failures),
            "operations": self.operations,
            "virtual_hours": self.virtual_seconds // 3600,
            "confirmed_snapshots": self.confirmed,
            "crashes": self.faults[FaultKind.CRASH.value],
            "faults": {kind.value: self.faults[kind.value] for kind in FaultKind if kind is not FaultKind.CRASH},
            "outcomes": dict(sorted(self.outcomes.items())),
            "failures": [{"seed": seed, "violation": violation} for seed, violation in self.failures],
        }


def run_seeds(seeds: range, options: SimulationOptions, processes: int) -> Iterator[list[RunReport]]:
    """The reports of all seeds, batch by batch as they come."""
    batches = [seeds[at : at + _BATCH] for at in range(0, len(seeds), _BATCH)]
    if processes == 1:
        yield from (_run_batch(batch, options) for batch in batches)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:  # a fork would copy whatever locks are held
        for future in as_completed([pool.submit(_run_batch, batch, options) for batch in batches]):
            yield future.result()


def _run_batch(seeds: Sequence[int], options: SimulationOptions) -> list[RunReport]:
    return [simulate(seed, options) for seed in seeds]


def parse_corpus(text: str) -> list[tuple[int, SimulationOptions]]:
    """The seeds of a corpus: on each line a seed and options as on the command line; what follows ``#`` is said to people."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [(int(seed), _options(_parser().parse_args(["--seeds", seed, *arguments]))) for seed, *arguments in filter(None, lines)]


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """The program. Its last line is ``N passed, N failed``, or one JSON object."""
    asked = _parser().parse_args(arguments)
    options, totals, begun = _options(asked), Totals(), time.monotonic()
    for reports in run_seeds(asked.seeds, options, asked.processes):
        for report in reports:
            totals.add(report)
            if report.violation and not asked.json:
                print(f"seed {report.seed}: {report.violation}\n  again: {_command(report.seed, options)}", file=out)
            if report.violation and asked.keep:
                _keep(asked.keep, report, options)
        if not asked.json:
            seconds = time.monotonic() - begun
            print(f"{totals.runs} of {len(asked.seeds)} runs, {totals.operations:,} operations, {seconds:.0f} s", file=out, flush=True)
    if asked.json:
        print(json.dumps(totals.as_json()), file=out)
    else:
        _print_figures(totals, out)
    return 1 if totals.failures else 0


def _print_figures(totals: Totals, out: TextIO) -> None:
    for kind, count in totals.faults.most_common():
        print(f"{count:>10,}  {kind}", file=out)
    print(f"{totals.confirmed:,} snapshots confirmed in {totals.virtual_seconds // 3600:,} virtual hours", file=out)
    print(f"{totals.runs - len(totals.failures)} passed, {len(totals.failures)} failed", file=out)


def _command(seed: int, options: SimulationOptions) -> str:
    return f"python -m seedcorn.testing.simulate --seeds {seed} {options.arguments}"


def _keep(folder: Path, report: RunReport, options: SimulationOptions) -> None:
    with (folder / _CORPUS).open("a", encoding="utf-8") as corpus:
        corpus.write(f"{report.seed} {options.arguments}  # {report.violation.splitlines()[0]}\n")


def _options(asked: argparse.Namespace) -> SimulationOptions:
    return SimulationOptions(steps=asked.steps, weak=asked.weak, rollback=asked.rollback)


def _seed_range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("seedcorn.testing.simulate", description="Simulated runs of backup, check and restore on a store with faults.")
    parser.add_argument("--seeds", type=_seed_range, required=True, metavar="A-B", help="the seeds to run, both included, or a single one")
    parser.add_argument("--steps", type=int, default=SimulationOptions().steps, help="jobs in each run (default: %(default)s)")
    parser.add_argument("--weak", action="store_true", help="a store whose listings and reads lag behind")
    parser.add_argument("--rollback", action="store_true", help="a provider who may return to an earlier state")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time (default: one for each core)")
    parser.add_argument("--json", action="store_true", help="only the figures, as one JSON object")
    parser.add_argument("--keep", type=Path, metavar="DIR", help=f"add failing seeds to DIR/{_CORPUS}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
