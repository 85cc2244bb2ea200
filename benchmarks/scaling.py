"""What more cores are worth to a first backup: measured with one and with two, and by a model for more.

usage: python -m benchmarks.scaling TREE WORK

The model: T(n) = max(calling, total / n) + idle. ``calling`` and ``total`` are the CPU seconds of the calling thread, which can not be spread over
cores, and of all threads, in the run on two cores; ``idle`` is how long the core of the run on one core had nothing to do. It is a lower bound:
it takes for granted that a frame is always there for every sealing thread.

Only a quiet machine tests it: what other processes took of the cores stands beside each wall time, and where they leave no core idle, ``idle`` is
nothing whatever the backup waited for. CPU times, and so the model's shape, are worth something in any case.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from seedcorn.jobs.process import prepare_process
from seedcorn.ops.backup.backup import BackupOptions
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.store.local import LocalStore
from seedcorn.testing.repositories import SmallRepository

_TICKS = os.sysconf("SC_CLK_TCK")
_MEASURED_CORES = (1, 2)
_MODELLED_CORES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Run:
    """A first backup on ``cores`` cores with as many sealing threads; all else in seconds. ``idle`` is the sum over the cores."""

    cores: int
    wall: float
    calling: float
    total: float
    idle: float

    @property
    def others(self) -> float:
        """CPU seconds of these cores that went to other processes."""
        return max(self.cores * self.wall - self.total - self.idle, 0)


def predicted(one: Run, two: Run, cores: int) -> float:
    """Wall seconds on ``cores`` cores, by the model."""
    return max(two.calling, two.total / cores) + one.idle


def back_up_on(cores: int, tree: Path, work: Path) -> Run:
    """One first backup; for a process of its own, which keeps the affinity."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    if len(chosen) < cores:
        raise SystemExit(f"this needs {cores} cores")
    os.sched_setaffinity(0, chosen)
    prepare_process()
    options = BackupOptions("alpha", writer=WriterOptions(PackerOptions(workers=cores, connections=1)))
    with tempfile.TemporaryDirectory(dir=work, prefix="scaling-") as folder:
        path = Path(folder)
        with SmallRepository(LocalStore(path / "repository"), path / "states") as repository:
            before = time.monotonic(), time.thread_time(), time.process_time(), _idle_seconds(chosen)
            repository.backup(tree, options=options)
            after = time.monotonic(), time.thread_time(), time.process_time(), _idle_seconds(chosen)
    return Run(cores, *[then - first for first, then in zip(before, after, strict=True)])


def _idle_seconds(cores: list[int]) -> float:
    """That these cores have had nothing to do since the machine was started, be it for want of a disk's answer."""
    names = {f"cpu{core}" for core in cores}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return sum(int(fields[4]) + int(fields[5]) for fields in lines if fields[0] in names) / _TICKS


def main(tree: Path, work: Path) -> None:
    """Both runs, each in a new process, and the model's table beside them."""
    spawn = multiprocessing.get_context("spawn")
    runs = {}
    for cores in _MEASURED_CORES:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            runs[cores] = pool.submit(back_up_on, cores, tree, work).result()
    one, two = runs[1], runs[2]
    print("\n### First backup, scaling\n")
    print("| cores | CPU s, calling | CPU s, all | idle s | wall s | of others, CPU s | by the model, s | times as fast as on one |")
    print("|---|---|---|---|---|---|---|---|")
    for cores in _MODELLED_CORES:
        run = runs.get(cores)
        figures = (run.calling, run.total, run.idle, run.wall, run.others) if run is not None else ()
        measured = " | ".join([f"{figure:.1f}" for figure in figures] or ["–"] * 5)
        model = predicted(one, two, cores)
        print(f"| {cores} | {measured} | {model:.1f} | {predicted(one, two, 1) / model:.2f} |")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
