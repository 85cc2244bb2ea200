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

import msgspec

from seedcorn.testing.simulation.faults import FaultKind
from seedcorn.testing.simulation.scenario import RunReport, SimulationOptions, simulate

__all__ = ["Totals", "main", "parse_corpus", "run_seeds"]

_BATCH = 25  # seeds that a process is handed at a time
_CORPUS = "corpus.txt"


@dataclass
class Totals:
    """What the runs of ``seeds`` come to. ``seconds``: of the processes together. ``failures``: seed and violation of each."""

    seeds: list[int] = field(default_factory=list)
    seconds: float = 0
    operations: int = 0
    virtual_seconds: int = 0
    confirmed: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[int, str]] = field(default_factory=list)

    @classmethod
    def of(cls, report: RunReport, seconds: float) -> Totals:
        """One run, and how long it took."""
        failures = [(report.seed, report.violation)] if report.violation else []
        faults = {kind.value: count for kind, count in report.faults.items()}
        return cls([report.seed], seconds, report.operations, report.virtual_seconds, report.confirmed, faults, dict(report.outcomes), failures)

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.seeds + other.seeds,
            self.seconds + other.seconds,
            self.operations + other.operations,
            self.virtual_seconds + other.virtual_seconds,
            self.confirmed + other.confirmed,
            dict(Counter(self.faults) + Counter(other.faults)),
            dict(Counter(self.outcomes) + Counter(other.outcomes)),
            self.failures + other.failures,
        )

    def as_json(self, processes: int) -> dict[str, object]:
        """The figures for docs/reliability.md. ``seconds``: how long this takes, all at once."""
        faults = Counter(self.faults)
        return {
            "runs": len(self.seeds),
            "failed": len(self.failures),
            "operations": self.operations,
            "virtual_hours": self.virtual_seconds // 3600,
            "confirmed_snapshots": self.confirmed,
            "crashes": faults[FaultKind.CRASH.value],
            "faults": {kind.value: faults[kind.value] for kind in FaultKind if kind is not FaultKind.CRASH},
            "outcomes": dict(sorted(self.outcomes.items())),
            "seconds": round(self.seconds / processes, 1),
            "failures": [{"seed": seed, "violation": violation} for seed, violation in self.failures],
        }


def run_seeds(seeds: Sequence[int], options: SimulationOptions, processes: int) -> Iterator[Totals]:
    """Runs all of ``seeds``; what they come to, batch by batch."""
    batches = [seeds[at : at + _BATCH] for at in range(0, len(seeds), _BATCH)]
    if processes == 1:
        yield from (_run_batch(batch, options) for batch in batches)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:  # a fork would copy whatever locks are held
        for future in as_completed([pool.submit(_run_batch, batch, options) for batch in batches]):
            yield future.result()


def _run_batch(seeds: Sequence[int], options: SimulationOptions) -> Totals:
    totals = Totals()
    for seed in seeds:
        begun = time.monotonic()
        report = simulate(seed, options)
        totals += Totals.of(report, time.monotonic() - begun)
    return totals


def parse_corpus(text: str) -> list[tuple[int, SimulationOptions]]:
    """The seeds of a corpus: on each line a seed and options as on the command line; what follows ``#`` is said to people."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [(int(seed), _options(_parser().parse_args(["--seeds", seed, *arguments]))) for seed, *arguments in filter(None, lines)]


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """The program. Its last line is ``N passed, N failed``, or one JSON object."""
    asked = _parser().parse_args(arguments)
    options, begun = _options(asked), time.monotonic()
    totals = sum(_read_record(asked.resume), Totals())
    done = frozenset(totals.seeds)
    for found in run_seeds([seed for seed in asked.seeds if seed not in done], options, asked.processes):
        totals += found
        _write_record(asked.resume, found)
        if asked.keep:
            _keep(asked.keep, found, options)
        if not asked.json:
            _print_failures(found, options, out)
            seconds = time.monotonic() - begun
            print(f"{len(totals.seeds)} of {len(asked.seeds)} runs, {totals.operations:,} operations, {seconds:.0f} s", file=out, flush=True)
    if asked.json:
        print(json.dumps(totals.as_json(asked.processes)), file=out)
    else:
        _print_figures(totals, out)
    return 1 if totals.failures else 0


def _read_record(path: Path | None) -> Iterator[Totals]:
    if path is not None and path.exists():
        yield from (msgspec.json.decode(line, type=Totals) for line in path.read_bytes().splitlines())


def _write_record(path: Path | None, found: Totals) -> None:
    if path is not None:
        with path.open("ab") as record:
            record.write(msgspec.json.encode(found) + b"\n")


def _print_failures(totals: Totals, options: SimulationOptions, out: TextIO) -> None:
    for seed, violation in totals.failures:
        print(f"seed {seed}: {violation}\n  again: {_command(seed, options)}", file=out)


def _print_figures(totals: Totals, out: TextIO) -> None:
    for kind, count in Counter(totals.faults).most_common():
        print(f"{count:>10,}  {kind}", file=out)
    print(f"{totals.confirmed:,} snapshots confirmed in {totals.virtual_seconds // 3600:,} virtual hours", file=out)
    print(f"{len(totals.seeds) - len(totals.failures)} passed, {len(totals.failures)} failed", file=out)


def _command(seed: int, options: SimulationOptions) -> str:
    return f"python -m seedcorn.testing.simulate --seeds {seed} {options.arguments}"


def _keep(folder: Path, totals: Totals, options: SimulationOptions) -> None:
    with (folder / _CORPUS).open("a", encoding="utf-8") as corpus:
        for seed, violation in totals.failures:
            corpus.write(f"{seed} {options.arguments}  # {violation.splitlines()[0]}\n")


def _options(asked: argparse.Namespace) -> SimulationOptions:
    flags = {"weak": asked.weak, "rollback": asked.rollback, "copies": asked.copy, "domains": asked.domains, "crowd": asked.crowd}
    return SimulationOptions(steps=asked.steps, **flags)


def _seed_range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("seedcorn.testing.simulate", description="Simulated runs of hosts, maintainers and an owner, with faults.")
    parser.add_argument("--seeds", type=_seed_range, required=True, metavar="A-B", help="the seeds to run, both included, or a single one")
    parser.add_argument("--steps", type=int, default=SimulationOptions().steps, help="jobs in each run (default: %(default)s)")
    parser.add_argument("--weak", action="store_true", help="a store whose listings and reads lag behind")
    parser.add_argument("--rollback", action="store_true", help="a provider who may return to an earlier state")
    parser.add_argument("--copy", action="store_true", help="an owner who copies to a second repository meanwhile")
    parser.add_argument("--crowd", action="store_true", help="three or four maintainers at the same time; not with --weak")
    parser.add_argument("--domains", action="store_true", help="hosts of two dedup domains, some of which are moved; not with --rollback")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time (default: one for each core)")
    parser.add_argument("--json", action="store_true", help="only the figures, as one JSON object")
    resume = "add what each batch of seeds comes to to FILE, and run none that is in it already: of the same program and options"
    parser.add_argument("--resume", type=Path, metavar="FILE", help=resume)
    parser.add_argument("--keep", type=Path, metavar="DIR", help=f"add failing seeds to DIR/{_CORPUS}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
