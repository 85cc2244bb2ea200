"""Where the time of a backup goes: CPU time of each thread, and the functions of the calling thread, for a first backup and for one of nothing.

usage: python -m benchmarks.phases TREE WORK

Backs TREE up in this process to a new repository in WORK, which has to be on a disk (and not tmpfs) to be like real life. Each phase is run twice:
once bare, for the threads' CPU times, and once under cProfile, which doubles the time of small functions: of the profile, believe the order.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seedcorn.jobs.process import prepare_process
from seedcorn.ops.backup.backup import BackupOptions, BackupResult
from seedcorn.repo.content.packer import Packer, PackerOptions
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.store.local import LocalStore
from seedcorn.testing.repositories import SmallRepository

_TICKS = os.sysconf("SC_CLK_TCK")
_FUNCTIONS = 25


@dataclass(frozen=True)
class ThreadTime:
    """CPU seconds of one thread, and seconds that it was ready and no core was free."""

    name: str
    user: float
    system: float
    waited: float


def thread_times() -> dict[int, ThreadTime]:
    """Of every thread of this process, by its id."""
    found = {}
    for folder in Path("/proc/self/task").iterdir():
        name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        fields = rest.split()
        waited = int((folder / "schedstat").read_text().split()[1]) / 1e9
        found[int(folder.name)] = ThreadTime(name, int(fields[11]) / _TICKS, int(fields[12]) / _TICKS, waited)
    return found


@contextmanager
def last_times() -> Iterator[list[dict[int, ThreadTime]]]:
    """The threads' times just before the sealing threads end, which is when the last frame has been handed over."""
    seen: list[dict[int, ThreadTime]] = []
    drain = Packer.drain

    def drain_and_look(self: Packer) -> None:
        seen.append(thread_times())
        drain(self)

    Packer.drain = drain_and_look  # type: ignore[method-assign]  # a profiler's way of looking
    try:
        yield seen
    finally:
        Packer.drain = drain  # type: ignore[method-assign]


def bare(repository: SmallRepository, tree: Path) -> None:
    """One backup, and what its threads took."""
    before = thread_times()
    begun = time.monotonic()
    with last_times() as seen:
        result = back_up(repository, tree)
    print(f"\n{time.monotonic() - begun:.2f} s, {result.statistics.source_files:,} entries, {result.statistics.read_bytes / 1e6:,.0f} MB read\n")
    print("| thread | user s | system s | ready, but no core free |\n|---|---|---|---|")
    for thread, now in sorted(seen[0].items()):
        then = before.get(thread, ThreadTime(now.name, 0, 0, 0))
        name = "calling" if thread == os.getpid() else now.name
        if now.user + now.system - then.user - then.system > 0.1:
            print(f"| {name} | {now.user - then.user:.2f} | {now.system - then.system:.2f} | {now.waited - then.waited:.2f} |")


def profiled(repository: SmallRepository, tree: Path) -> None:
    """One backup under cProfile."""
    profile = cProfile.Profile()
    profile.enable()
    back_up(repository, tree)
    profile.disable()
    rows = []
    for (path, line, function), (_, calls, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # not in typeshed
        where = f"{Path(path).stem}.{function}" if line else function.strip("<>")
        rows.append((own, calls, where))
    print("\n| own s | calls | µs each | function |\n|---|---|---|---|")
    for own, calls, where in sorted(rows, reverse=True)[:_FUNCTIONS]:
        print(f"| {own:.2f} | {calls:,} | {own / calls * 1e6:.1f} | `{where}` |")


def back_up(repository: SmallRepository, tree: Path) -> BackupResult:
    """As the command line does it on a directory."""
    return repository.backup(tree, options=BackupOptions("alpha", writer=WriterOptions(PackerOptions(connections=1))))


def main(tree: Path, work: Path) -> None:
    """Both phases, bare and profiled."""
    prepare_process()
    for title, measure in (("bare", bare), ("profiled", profiled)):
        with tempfile.TemporaryDirectory(dir=work, prefix="phases-") as folder:
            path = Path(folder)
            with SmallRepository(LocalStore(path / "repository"), path / "states") as repository:
                for phase in ("First backup", "Nothing changed"):
                    print(f"\n### {phase}, {title}")
                    measure(repository, tree)
                    sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
