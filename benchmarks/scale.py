"""The sections of `make benchmark-scale`: one big file, many hosts in one repository, one directory of a million files.

The index of a very large repository is measured by a program of its own, ``benchmarks.scale_index``.
"""

from __future__ import annotations

import shutil

from benchmarks import workloads
from benchmarks.peers import OURS, Seedcorn
from benchmarks.runner import Plan, Round, Section, apart

__all__ = ["FEW_FILES", "MANY_FILES", "scale_sections"]

BIG_FILE, HOSTS, MANY_FILES, FEW_FILES = "one big file", "many hosts", "a large directory", "a small directory"  # sections
FIRST, EDITED, RESTORE = "first backup", "1 % edited", "restore"  # steps
ONE_MORE = "one file more"
FIRST_HOST, FURTHER_HOST = "first host", "each further host"

_HOSTS = 8
_BIG_BYTES, _SMALL_BIG_BYTES = 4 << 30, 256 << 20
_HOST_BYTES, _SMALL_HOST_BYTES = 300 << 20, 30 << 20  # what the hosts have in common
_SLOW_AT_MANY_FILES = ("borg", "duplicity")  # minutes each, and no target depends on them


def scale_sections(plan: Plan) -> list[Section]:
    """What `make benchmark-scale` runs."""
    return [
        Section(BIG_FILE, 1, big_file_round),
        Section(HOSTS, 1, hosts_round),
        Section(FEW_FILES, 1, few_files_round),
        Section(MANY_FILES, 1, many_files_round),
    ]


def big_file_round(this: Round) -> None:
    """Store it, edit a hundredth of it in many places, store it again, restore it."""
    tree = this.plan.work / "big"
    with this.programs(this.plan.programs) as programs:
        for program in programs:
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir()
            apart(workloads.make_big_file, tree / "image", _SMALL_BIG_BYTES if this.plan.small else _BIG_BYTES)
            this.init(program)
            this.back_up(program, FIRST, tree)
            apart(workloads.edit_big_file, tree / "image")
            this.back_up(program, EDITED, tree)
            this.restore(program, RESTORE, tree, this.plan.work)
    shutil.rmtree(tree)


def hosts_round(this: Round) -> None:
    """Each host stores its own tree in one repository. Ours is told to trust its hosts, as the others always do."""
    folder = this.plan.work / "hosts"
    shutil.rmtree(folder, ignore_errors=True)
    trees = apart(workloads.make_host_trees, this.plan.tree, folder, _HOSTS, _SMALL_HOST_BYTES if this.plan.small else _HOST_BYTES)
    with this.programs(this.plan.programs) as programs:
        for program in programs:
            if program.deduplicates_hosts:
                if isinstance(program, Seedcorn):
                    program.trust_hosts = True
                this.init(program)
                for number, tree in enumerate(trees):
                    this.back_up(program, FURTHER_HOST if number else FIRST_HOST, tree, host=f"host-{number}")
    shutil.rmtree(folder)


def few_files_round(this: Round) -> None:
    """What the large directory's memory is compared with."""
    _flat_directory(this, 10_000, (OURS,))


def many_files_round(this: Round) -> None:
    """A directory whose listing is a large file itself."""
    names = tuple(name for name in this.plan.programs if name not in _SLOW_AT_MANY_FILES)
    _flat_directory(this, 100_000 if this.plan.small else 1_000_000, names)


def _flat_directory(this: Round, files: int, names: tuple[str, ...]) -> None:
    """Store it, add a file, store it again."""
    tree = this.plan.work / "flat"
    apart(shutil.rmtree, tree, ignore_errors=True)
    apart(workloads.make_flat_directory, tree, files)
    with this.programs([name for name in names if name in this.plan.programs]) as programs:
        for program in programs:
            this.init(program)
            this.back_up(program, FIRST, tree)
        (tree / "one more").write_bytes(b"new")
        for program in programs:
            this.back_up(program, ONE_MORE, tree)
    apart(shutil.rmtree, tree)  # which lists it
