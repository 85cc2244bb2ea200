"""The sections of `make benchmark`: the job that a backup program is for, on a tree of real files.

Every program sees the identical states of one tree at one path: all of them store the first day of a round before the second day comes, and the tree
is its first day again before the next round. The order rotates by one program a round. The floors are measured in every round beside the programs.

Not measured: initialising in a cold state, restoring from a cold one, and what `Program.restores_every_round` leaves out: no target depends on them.
"""

from __future__ import annotations

import filecmp
import json
import shutil
import tempfile
from pathlib import Path

from benchmarks import workloads
from benchmarks.measure import warm
from benchmarks.peers import OURS, Program, Seedcorn
from benchmarks.results import COLD
from benchmarks.runner import FLOOR, Plan, Round, Section, WrongRestoreError, apart
from seedcorn.testing.servers import SeaweedFS

__all__ = [
    "AGAIN", "CPU_FLOOR", "CREATE_FLOOR", "CREATE_TMPFS_FLOOR", "FIRST", "MEDIA", "ONE_FILE", "PLAN", "PLANNING", "PLAN_SECONDS", "RESTORE",
    "RESTORE_SECOND", "RESTORE_TMPFS", "S3", "SECOND", "TREE", "WALK_FLOOR", "main_sections",
]  # fmt: skip

TREE, S3, MEDIA, PLANNING = "tree", "s3", "media", "planning"  # sections
FIRST, AGAIN, SECOND = "first backup", "nothing changed", "second day"  # steps
RESTORE, RESTORE_TMPFS, RESTORE_SECOND = "restore all to disk", "restore all to tmpfs", "restore the second day to disk"
ONE_FILE = "one small file"
PLAN, PLAN_SECONDS = "plan forget and prune", "plan_seconds"
CPU_FLOOR, WALK_FLOOR = "read, BLAKE3, zstd-3 on all cores", "bare scandir and lstat"
CREATE_FLOOR, CREATE_TMPFS_FLOOR = "create the files on disk", "create the files on tmpfs"

_SMALL_FILES = 5  # that are restored one by one
_MEDIA_BYTES, _SMALL_MEDIA_BYTES = 1 << 30, 128 << 20


def main_sections(plan: Plan) -> list[Section]:
    """What `make benchmark` runs; the last three are of our own program alone."""
    everybody = [Section(TREE, plan.rounds, tree_round)]
    own = [Section(S3, 1, s3_round), Section(MEDIA, 1, media_round), Section(PLANNING, 1, planning_round)]
    return everybody + (own if OURS in plan.programs else [])


def tree_round(this: Round) -> None:
    """Both days, and restores."""
    tree, saved = this.plan.tree, this.plan.work / "saved"
    workloads.undo_second_day(tree, saved)
    names = this.plan.programs_of(this.number)
    _floors(this)
    if this.is_cold_measured:
        _cold_first_backups(this, names)
    with this.programs(names) as programs:
        for program in programs:
            _first_day(this, program)
        apart(workloads.come_second_day, tree, saved)
        for program in programs:
            this.back_up(program, SECOND, tree)
            if program.name == OURS:
                this.restore(program, RESTORE_SECOND, tree, this.plan.work)
        workloads.undo_second_day(tree, saved)


def _floors(this: Round) -> None:
    tree = this.plan.tree
    warm(tree)
    this.record(FLOOR, WALK_FLOOR, this.module("floors", "walk", tree))
    this.record(FLOOR, CPU_FLOOR, this.module("floors", "cpu", tree))
    with this.tmpfs() as folder:
        for step, place in ((CREATE_FLOOR, this.plan.work), (CREATE_TMPFS_FLOOR, folder)):
            if place is not None:
                this.record(FLOOR, step, this.module("floors", "create", tree, place / "created"))
                shutil.rmtree(place / "created")


def _cold_first_backups(this: Round, names: list[str]) -> None:
    """Of those programs that are quick enough to run once more."""
    with this.programs(names) as programs:
        for program in programs:
            if program.restores_every_round:
                program.init()
                this.back_up(program, FIRST, this.plan.tree, cache=COLD)


def _first_day(this: Round, program: Program) -> None:
    tree = this.plan.tree
    this.init(program)
    this.back_up(program, FIRST, tree)
    this.back_up(program, AGAIN, tree)
    if this.is_cold_measured:
        this.back_up(program, AGAIN, tree, cache=COLD)
    if isinstance(program, Seedcorn):
        this.stats(program)
    if program.restores_every_round or this.number == 0:
        this.restore(program, RESTORE, tree, this.plan.work)
    if program.restores_every_round:
        with this.tmpfs() as folder:
            if folder is not None:
                this.restore(program, RESTORE_TMPFS, tree, folder)


def s3_round(this: Round) -> None:
    """Our program against a real S3 server on the loopback address: requests, and single files."""
    tree, work = this.plan.tree, this.plan.work
    workloads.undo_second_day(tree, work / "saved")
    home = work / "s3"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    tempfile.tempdir = str(home)  # where the server keeps its data
    try:
        with SeaweedFS() as server:
            server.make_bucket("benchmark")
            program = Seedcorn(home / OURS, server.address("benchmark", "main"), server.credentials)
            this.init(program)
            this.back_up(program, FIRST, tree)
            this.back_up(program, AGAIN, tree)
            this.restore(program, RESTORE, tree, work)
            for path in apart(workloads.some_small_files, tree, _SMALL_FILES):
                _one_file(this, program, tree / path, home / "one-file")
    finally:
        tempfile.tempdir = None
        shutil.rmtree(home, ignore_errors=True)


def _one_file(this: Round, program: Seedcorn, path: Path, target: Path) -> None:
    arguments = [program.place, program.environment["SEEDCORN_STATE_DIR"], program.unlock()[1], path, target]
    cost = this.module("one_file", *arguments, more=dict(program.more_environment))
    requests = json.loads(cost.output)
    if not filecmp.cmp(path, target / path.name, shallow=False):
        raise WrongRestoreError(f"{target / path.name} is not {path}")
    shutil.rmtree(target)
    this.record(program.name, ONE_FILE, cost, requests=requests["file"], extra={"opening_gets": requests["opening"]["get"]})


def media_round(this: Round) -> None:
    """Our program on large files that do not compress: how much is stored beside them."""
    media = this.plan.work / "media"
    shutil.rmtree(media, ignore_errors=True)
    apart(workloads.make_media, media, _SMALL_MEDIA_BYTES if this.plan.small else _MEDIA_BYTES)
    with this.programs([OURS]) as programs:
        for program in programs:
            assert isinstance(program, Seedcorn)
            this.init(program)
            this.back_up(program, FIRST, media)
            this.stats(program)
    shutil.rmtree(media)


def planning_round(this: Round) -> None:
    """How long a collection and a policy think; a thousand snapshots are made up for it."""
    cost = this.module("planning")
    this.record(OURS, PLAN, cost, extra={PLAN_SECONDS: json.loads(cost.output)["seconds"]})
