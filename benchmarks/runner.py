"""One step of one program, measured, checked and kept; what all sections of a run share.

Knows programs by their Protocol only, apart from our own, of which it keeps more: what it says that it put, and its requests.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from benchmarks.measure import Cost, can_drop_caches, drop_caches, measured, stored_bytes, warm
from benchmarks.peers import Program, Seedcorn, new_program, plain_environment
from benchmarks.results import COLD, WARM, Record, Run

__all__ = ["COMPARED", "FLOOR", "OVERHEAD_PERCENT", "Plan", "Round", "Section", "WrongRestoreError", "apart", "rotated", "run_sections", "say"]

FLOOR = "floor"  # stands where a program's name would
COMPARED, OVERHEAD_PERCENT = "compared", "overhead_percent"  # extra figures of a record; compared: the restored tree equals its source
_CHECKOUT = Path(__file__).parents[1]
_TMPFS = Path("/dev/shm")  # noqa: S108  # a place for large trees, in a folder with a random name
_ROOM = 1.3  # times the tree's size that must be free on tmpfs

P = ParamSpec("P")
T = TypeVar("T")


class WrongRestoreError(Exception):
    """A program did not give back what it stored."""


@dataclass(frozen=True)
class Plan:
    """What is to be run, and where."""

    work: Path  # all that is made lies here
    peers: Path
    programs: tuple[str, ...]
    rounds: int
    tree_bytes: int
    small: bool
    cold: bool  # whether the machine's page cache may be emptied
    fewer_rounds: dict[str, int] = field(default_factory=dict)  # of single programs

    @property
    def tree(self) -> Path:
        return self.work / "tree"

    def programs_of(self, number: int) -> list[str]:
        """Who takes part in a round, in what order."""
        return [name for name in rotated(self.programs, number) if number < self.fewer_rounds.get(name, self.rounds)]


@dataclass(frozen=True)
class Section:
    """A part of a run that is resumed and reported as one."""

    name: str
    rounds: int
    measure: Callable[[Round], None]


def rotated(names: Sequence[str], number: int) -> list[str]:
    """The order of round ``number``: everybody is first in turn."""
    at = number % len(names) if names else 0
    return [*names[at:], *names[:at]]


def apart(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call ``function`` in a process of its own, so that this one stays small (see ``measure``)."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def run_sections(plan: Plan, run: Run, sections: Sequence[Section]) -> None:
    """Round by round; those that ``run`` has already are left out."""
    for section in sections:
        for number in range(section.rounds):
            if not run.is_finished(section.name, number):
                say(f"-- {section.name}, round {number + 1} of {section.rounds}")
                section.measure(Round(plan, run, section.name, number))
                run.finish(section.name, number)


@dataclass(frozen=True)
class Round:
    """One round of a section: the steps that it is made of."""

    plan: Plan
    run: Run
    section: str
    number: int

    @contextmanager
    def programs(self, names: Sequence[str]) -> Iterator[list[Program]]:
        """New programs with nothing stored; what they wrote is gone afterwards."""
        homes = self.plan.work / "programs"
        shutil.rmtree(homes, ignore_errors=True)
        try:
            yield [new_program(name, homes / name, self.plan.peers) for name in names]
        finally:
            shutil.rmtree(homes, ignore_errors=True)

    def record(self, program: str, step: str, cost: Cost, **more: Any) -> None:
        """Keep what a step cost, and say it."""
        self.run.append(Record.of(cost, self.section, program, step, self.number, **more))
        put = more.get("put_bytes")
        stored = f", {put / 1e6:,.2f} MB put" if put is not None else ""
        cold = " (cold)" if more.get("cache") == COLD else ""
        say(f"   {program}: {step}{cold}: {cost.wall_seconds:.2f} s, CPU {cost.cpu_seconds:.2f} s, {cost.peak_bytes / 2**20:.0f} MiB{stored}")

    def init(self, program: Program) -> None:
        """Make the repository."""
        cost = program.init()
        if cost is not None:
            self.record(program.name, "init", cost)

    def back_up(self, program: Program, step: str, tree: Path, *, cache: str = WARM, host: str = "") -> None:
        """Store ``tree``, after the caches have been brought into the state that ``cache`` names."""
        if cache == COLD:
            drop_caches()
        else:
            warm(tree)
        before = stored_bytes(program.repository)
        cost = program.back_up(tree, host)
        stored = stored_bytes(program.repository)
        found: dict[str, Any] = {"put_bytes": stored - before, "stored_bytes": stored or None}  # None: it lies elsewhere
        if isinstance(program, Seedcorn):
            summary = program.summary(cost)
            found |= {"put_bytes": summary["put_bytes"], "requests": summary["requests"]}
        self.record(program.name, step, cost, cache=cache, **found)

    def stats(self, program: Seedcorn) -> None:
        """Keep what is stored, by kind."""
        cost, stats = program.stats()
        stored = stats["stored"]
        kinds = {f"{kind}_bytes": stored[kind] for kind in ("listing_packs", "index", "snapshots", "other")}
        extra = {OVERHEAD_PERCENT: stats[OVERHEAD_PERCENT], "framing_bytes": stats["framing_bytes"], **kinds}
        self.record(program.name, "stats", cost, stored_bytes=stored["total"], extra=extra)

    def restore(self, program: Program, step: str, tree: Path, place: Path) -> None:
        """Get ``tree`` back below ``place``; in the first round, compare it."""
        target = place / "restored"
        if program.repository.exists():
            warm(program.repository)
        try:
            cost = program.restore(tree, target)
            if self.number == 0:
                check_equal(tree, target, program)
            self.record(program.name, step, cost, extra={COMPARED: 1.0} if self.number == 0 else {})
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def module(self, name: str, *arguments: str | Path, more: dict[str, str] | None = None) -> Cost:
        """Run a program of our own."""
        with tempfile.TemporaryDirectory(dir=self.plan.work) as home:
            environment = plain_environment(Path(home)) | (more or {})
            return measured([sys.executable, "-m", f"benchmarks.{name}", *arguments], environment, folder=_CHECKOUT)

    @property
    def is_cold_measured(self) -> bool:
        """Once, where it is possible: reading everything from the disk takes long."""
        return self.plan.cold and self.number == 0 and can_drop_caches()

    @contextmanager
    def tmpfs(self) -> Iterator[Path | None]:
        """A folder in memory; None where it has no room for the tree."""
        room_bytes = 0
        if _TMPFS.is_dir():
            found = os.statvfs(_TMPFS)
            room_bytes = min(found.f_bavail * found.f_frsize, _available_memory_bytes())
        if room_bytes < _ROOM * self.plan.tree_bytes:
            say(f"   {_TMPFS} has no room for a copy of the tree: no restores to tmpfs")
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="seedcorn-benchmark-", dir=_TMPFS) as folder:
            yield Path(folder)


def _available_memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def check_equal(tree: Path, restored: Path, program: Program) -> None:
    """Compare by rsync, contents and all that the program claims to keep, of everything below ``tree``.

    Not of ``tree`` itself: not every program gives its attributes to a directory that is called otherwise.

    Raises:
        WrongRestoreError: the two differ.
    """
    command = ["rsync", *program.compare_options, "--checksum", "--delete", "--dry-run", "--itemize-changes", f"{tree}/", f"{restored}/"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout.splitlines()
    found = [line for line in lines if not line.endswith(" ./")]
    if found:
        raise WrongRestoreError("\n".join([f"what {program.name} restored differs from {tree} in {len(found)} entries:", *found[:30]]))
