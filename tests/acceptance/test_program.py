"""The whole way as a user goes it: init, backup, second day, snapshots, restore, check; as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.acceptance.program import Program
from tests.acceptance.workshop import as_nobody, is_root

from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe, differences, make_every_kind


@pytest.mark.parametrize("as_user", [False, True], ids=["as root", "as an ordinary user"])
def test_every_kind(disk_folder: Path, as_user: bool) -> None:
    source, target = disk_folder / "source", disk_folder / "mine" / "restored"
    as_root = is_root() and not as_user

    def make() -> None:
        source.mkdir()
        make_every_kind(source, as_root=as_root)
        if not as_root:  # what its owner has closed to himself is in test_unreadable_sources
            shutil.rmtree(source / "modes", onerror=_open_and_retry)

    as_nobody(make) if as_user else make()
    program = Program(disk_folder / "mine", disk_folder / "repository", as_user=as_user)
    made = program.run("init", "--recovery-file", program.home / "words", secret=True)
    assert made.code == 0, made
    assert len((program.home / "words").read_text().split()) == 24
    assert program.run("init", secret=True).code == 2, "a repository is never made twice"

    tree = describe(source)
    first = program.run("backup", source, "--json").summary
    assert first["source_files"] > 3000 and first["errors"] == 0
    again = program.run("backup", source, "--json").summary
    assert sum(again["requests"][verb] for verb in ("put", "get", "head", "list", "delete")) <= 8

    with open(source / "sizes" / "text-1048576", "ab") as file:
        file.write(b"of the second day")
    program.give(source / "sizes" / "text-1048576")
    second_tree = describe(source)
    second = program.run("backup", source, "--json").summary
    assert len({first["snapshot_id"], again["snapshot_id"], second["snapshot_id"]}) == 3

    listed = program.run("snapshots", "--json", secret=True)
    assert listed.code == 0
    for summary, expected in ((first, tree), (second, second_tree)):
        restored = program.run("restore", f"{summary['snapshot_id']}:{source}", "--target", target, secret=True)
        assert restored.code == 0, restored
        assert differences(expected, describe(target), owners=as_root) == []
        shutil.rmtree(target)
    assert program.run("check", "--read-data", secret=True).code == 0


def test_two_runs_at_once(folder: Path) -> None:
    """Of one machine, with one local state: both end well, in one line of history."""
    files = {f"{number}": os.urandom(30_000) for number in range(50)}
    sources = [make_tree(folder / name, {**files, name: b"own"}) for name in ("one", "two")]
    program = Program(folder / "machine", folder / "repository")
    assert program.run("init", secret=True).code == 0
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda source: program.run("backup", source, "--json"), sources))
    for source, finished in zip(sources, runs, strict=True):
        target = folder / f"restored {source.name}"
        restored = program.run("restore", f"{finished.summary['snapshot_id']}:{source}", "--target", target, secret=True)
        assert restored.code == 0, restored
        assert differences(describe(source), describe(target)) == []
    checked = program.run("check", "--read-data", secret=True)
    assert checked.code == 0, checked


def _open_and_retry(call: object, path: str, _: object) -> None:
    os.chmod(os.path.dirname(path), 0o700)
    if os.path.isdir(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path, onerror=_open_and_retry)
    elif os.path.lexists(path):
        os.unlink(path)
