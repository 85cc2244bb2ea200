"""Choosing snapshots."""

from __future__ import annotations

from pathlib import Path

from seedcorn.ops.backup.backup import BackupOptions
from seedcorn.ops.browse import SnapshotFilter
from seedcorn.testing.repositories import SmallRepository, make_tree


def test_the_name_of_another_host_is_not_one_to_be_found_by(repository: SmallRepository, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": b"a"})
    repository.backup(tree)
    liar, named = repository.machine("liar"), SnapshotFilter(host="alpha")
    liar.backup(tree, options=BackupOptions("alpha"))
    browser = repository.browser()
    assert [snapshot.host for snapshot in browser.select(named)] == [repository.first.host_file.key.host]
    assert browser.find("latest", named).host == repository.first.host_file.key.host
    assert browser.find("latest").host == liar.host_file.key.host
    assert [snapshot.host for snapshot in browser.select(SnapshotFilter(host=liar.host_file.key.host.hex()[:8]))] == [liar.host_file.key.host]


def test_a_host_may_call_itself_what_nobody_else_is_called(repository: SmallRepository, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": b"a"})
    for name in ("blog", "alpha"):
        repository.backup(tree, options=BackupOptions(name))
    browser = repository.browser()
    assert [len(browser.select(SnapshotFilter(host=name))) for name in ("blog", "alpha", "web")] == [1, 1, 0]


def test_a_name_that_two_enrolments_have_had_is_that_of_both(repository: SmallRepository, tmp_path: Path) -> None:
    """A machine that was revoked, and enrolled anew."""
    tree = make_tree(tmp_path / "tree", {"a": b"a"})
    repository.backup(tree)
    repository.revoke("alpha")
    repository.machine("alpha").backup(tree)
    assert len(repository.browser().select(SnapshotFilter(host="alpha"))) == 2
