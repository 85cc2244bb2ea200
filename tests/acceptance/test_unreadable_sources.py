"""Files that can not be read: the rest is stored, the run says which and ends with status 3, the snapshot remembers."""

from __future__ import annotations

import os
from pathlib import Path

from tests.acceptance.workshop import Workshop, as_nobody, open_workshop

from seedcorn.store.local import LocalStore
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe

_CLOSED = ("closed directory", "closed file", "no search", "some/closed too")


def test_by_an_ordinary_user(folder: Path) -> None:
    def body() -> None:
        with open_workshop(folder, LocalStore(folder / "repository"), settled=True) as workshop:
            make_tree(
                workshop.source,
                {
                    "open": b"1",
                    "closed file": b"2",
                    "closed directory/inside": b"3",
                    "no search/inside": b"4",
                    "some/closed too": b"5",
                    "some/x": b"6",
                },
            )
            for name, mode in (("closed file", 0o000), ("closed directory", 0o000), ("no search", 0o600), ("some/closed too", 0o200)):
                (workshop.source / name).chmod(mode)
            for _ in range(2):
                _assert_named_and_left_out(workshop)
            for name in _CLOSED:
                (workshop.source / name).chmod(0o700)
            run = workshop.backup()
            assert run.result.exit_code == 0
            workshop.assert_restores(run.id, describe(workshop.source), owners=False)

    as_nobody(body)


def _assert_named_and_left_out(workshop: Workshop) -> None:
    run = workshop.backup()
    assert run.result.exit_code == 3
    assert {os.path.relpath(os.fsdecode(error.path), workshop.source) for error in run.result.errors} == {
        *_CLOSED[:2],
        "no search/inside",
        _CLOSED[3],
    }
    snapshot = workshop.repository.browser(fresh=True).find(run.id)
    assert snapshot.owner.error_count == len(run.result.errors) == len(snapshot.owner.errors)
    assert {path for path, _ in snapshot.owner.errors} == {error.path for error in run.result.errors}
    assert all(message == "Permission denied" for _, message in snapshot.owner.errors)
    assert not snapshot.maintain.complete
    restored = workshop.restore(run.id)
    assert restored.errors == []
    found = {os.fsdecode(path) for path in restored.tree()}
    assert found == {".", "open", "some", "some/x", "closed directory", "no search"}


def test_a_directory_that_is_closed_for_a_day_keeps_what_was_known(folder: Path) -> None:
    """Its files are missing in that day's snapshot only, and are not stored again afterwards."""

    def body() -> None:
        with open_workshop(folder, LocalStore(folder / "repository"), settled=True) as workshop:
            make_tree(workshop.source, {"directory/file": os.urandom(50_000)})
            tree = describe(workshop.source)
            workshop.backup()
            (workshop.source / "directory").chmod(0o000)
            assert workshop.backup().result.exit_code == 3
            (workshop.source / "directory").chmod(0o755)
            run = workshop.backup()
            assert run.result.statistics.raw_delta_size == 0
            workshop.assert_restores(run.id, tree, owners=False)
            workshop.assert_restores("latest~2", tree, owners=False)

    as_nobody(body)


def test_below_a_directory_that_can_be_passed_but_not_listed(folder: Path) -> None:
    """As ``/home`` on many machines."""
    home, mine = folder / "home", folder / "home" / "mine"
    for path in (home, mine):
        path.mkdir()
        path.chmod(0o777)

    def body() -> None:
        with open_workshop(folder, LocalStore(folder / "repository"), settled=True) as workshop:
            make_tree(mine, {"file": b"1", "below/file": b"2"})
            (mine / "link").symlink_to("file")
            for paths in ((mine,), (mine / "file", mine / "link", mine / "below")):
                run = workshop.backup(*paths)
                assert run.result.exit_code == 0
                restored = workshop.restore(run.id, mine)
                assert restored.errors == []
                assert restored.tree().keys() == describe(mine).keys()
                assert (restored.target / "below" / "file").read_bytes() == b"2"

    home.chmod(0o311)
    try:
        as_nobody(body)
    finally:
        home.chmod(0o777)
