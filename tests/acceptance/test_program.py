"""The whole way as a user goes it: init, backup, second day, snapshots, restore, check; as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.acceptance.program import Program
from tests.acceptance.workshop import as_nobody, is_root

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


def _open_and_retry(call: object, path: str, _: object) -> None:
    os.chmod(os.path.dirname(path), 0o700)
    if os.path.isdir(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path, onerror=_open_and_retry)
    elif os.path.lexists(path):
        os.unlink(path)
