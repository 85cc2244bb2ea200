"""ops/backup/entries.py: what becomes of an entry that changes, vanishes, or can not be read whole."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.workshop import Workshop, open_workshop, scratch

from seedcorn.fs import walk
from seedcorn.fs.metadata import XattrReader
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    with scratch() as folder, open_workshop(folder, settled=True) as opened:
        yield opened


@pytest.fixture
def at_opening(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, Callable[[], object]], None]:
    """Do something once, between the listing of a directory and the opening of its entry of that name."""
    real = os.open

    def arrange(name: bytes, work: Callable[[], object]) -> None:
        pending = [work]

        def opening(path: object, *arguments: Any, **options: Any) -> int:
            if path == name and pending:
                pending.pop()()
            return real(path, *arguments, **options)  # type: ignore[arg-type]  # passed on as it comes

        monkeypatch.setattr(walk.os, "open", opening)

    return arrange


def settle() -> None:
    time.sleep(0.02)  # longer than the kernel's tick


def test_a_name_that_another_file_takes_over_says_nothing_of_the_other_names(
    workshop: Workshop, at_opening: Callable[[bytes, Callable[[], object]], None]
) -> None:
    """A rename changes the time of both files in the same tick: only the inode tells them apart."""
    make_tree(workshop.source, {"1/first": b"the file with two names", "new": b"another file"})
    for folder in ("2", "3"):
        (workshop.source / folder).mkdir()
        os.link(workshop.source / "1/first", workshop.source / folder / "other")

    first, new, kept = workshop.source / "1/first", workshop.source / "new", workshop.folder / "kept"
    os.link(first, kept)

    def replace() -> None:
        new.rename(first)
        while first.stat().st_ctime_ns != kept.stat().st_ctime_ns:  # the clock went on between the two
            first.rename(new)
            os.link(kept, first)
            new.rename(first)

    at_opening(b"first", replace)
    restored = workshop.restore(workshop.backup().id)
    assert (restored.target / "2/other").read_bytes() == (restored.target / "3/other").read_bytes() == b"the file with two names"
    assert (restored.target / "1/first").read_bytes() == b"another file"
