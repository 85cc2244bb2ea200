"""Capture and apply are each other's inverse on every kind of file: without any difference as root, and as a user but for what is root's alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seedcorn.errors import TargetError
from seedcorn.testing.trees import describe, differences, make_every_kind

CopyTree = Callable[..., list[TargetError]]


def test_every_kind_of_file_survives_as_root(scratch: Path, copy_tree: CopyTree) -> None:
    (scratch / "source").mkdir()
    assert make_every_kind(scratch / "source", as_root=True) == []
    before = describe(scratch / "source")

    assert copy_tree(scratch / "source", scratch / "target", as_root=True) == []

    assert differences(before, describe(scratch / "target")) == []
    assert differences(before, describe(scratch / "source")) == []


def test_everything_that_an_ordinary_user_may_do_is_done(scratch: Path, copy_tree: CopyTree, as_nobody: Callable[..., Any]) -> None:
    def body() -> tuple[list[str], list[bytes], list[str]]:
        (scratch / "source").mkdir()
        refused = make_every_kind(scratch / "source", as_root=False)
        before = describe(scratch / "source")
        problems = copy_tree(scratch / "source", scratch / "target", as_root=False)
        after = describe(scratch / "target")
        unreadable = {problem.path for problem in problems}
        return refused, sorted(unreadable), differences({path: entry for path, entry in before.items() if path not in unreadable}, after)

    refused, unreadable, different = as_nobody(body)
    assert refused == []
    assert unreadable == [b"modes/directory 0000", b"modes/directory 0111", b"modes/file 0000", b"modes/file 0111"]
    assert different == []


def test_what_root_owned_belongs_to_the_user_who_restores_it(scratch: Path, copy_tree: CopyTree, as_nobody: Callable[..., Any]) -> None:
    (scratch / "source").mkdir()
    make_every_kind(scratch / "source", as_root=True)
    for name in ("modes", "special", "names/directories"):  # closed to others
        os.chmod(scratch / "source" / name, 0o755)  # so that it can be read
    before = describe(scratch / "source")

    problems = as_nobody(lambda: [(problem.path, problem.message) for problem in copy_tree(scratch / "source", scratch / "target", as_root=False)])

    failed = dict(problems)
    assert failed.pop(b"special/char") == "only root can restore a device"
    assert all(message == "not read: Permission denied" for path, message in failed.items() if not path.startswith(b"special/"))
    after = describe(scratch / "target")
    assert {entry.uid for entry in after.values()} == {65534}
    assert not [path for path, entry in after.items() if entry.mode & 0o6000 and entry.kind == "file"]
    known = {path: entry for path, entry in before.items() if path in after}
    assert len(known) > 3_000
    assert [line for line in differences(known, after, owners=False) if "link_group" not in line] == []
