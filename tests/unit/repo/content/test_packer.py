"""When memory runs out or the store fails, whichever thread meets it: an error, and never a snapshot that lacks something."""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import pytest

from seedcorn.errors import SeedcornError, StoreUnavailableError
from seedcorn.repo.content import packer
from seedcorn.repo.content.writer import Writer
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree

MIB = 1024 * 1024


def without_the_nth_mapping(nth: int, monkeypatch: pytest.MonkeyPatch) -> itertools.count[int]:
    """The kernel refuses the nth mapping of memory from now on; counts them."""
    asked_for = itertools.count(1)

    class Scarce(mmap.mmap):
        def __new__(cls, *arguments: Any, **options: Any) -> Self:
            if next(asked_for) == nth:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            return super().__new__(cls, *arguments, **options)

    monkeypatch.setattr(mmap, "mmap", Scarce)
    return asked_for


def test_wherever_memory_runs_out_the_backup_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of a file, it would pass for a file that can not be read; and its chunks for stored, in the next file that has them."""
    content = os.urandom(6 * MIB)
    tree = make_tree(tmp_path / "tree", {"first": content, "second": content, "small": b"text"})
    for nth in itertools.count(1):
        with SmallRepository(MemoryStore(), tmp_path / str(nth)) as repository, monkeypatch.context() as patch:
            asked_for = without_the_nth_mapping(nth, patch)
            with suppress(SeedcornError):
                repository.backup(tree)
                assert next(asked_for) <= nth, "a mapping was refused and nobody heard of it"
                break
            assert repository.browser(fresh=True).snapshots == ()
    assert nth > 6


def test_memory_that_runs_out_is_named(tmp_path: Path, repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_nth_mapping(1, monkeypatch)
    with pytest.raises(SeedcornError, match=r"no memory for a buffer of 3 MiB .* run it again"):
        repository.backup(make_tree(tmp_path / "tree", {"file": b"text"}))


# -- threads ---------------------------------------------------------------------------------------------------------------------------------


def refuse(key: str, data: object) -> None:
    raise StoreUnavailableError("no answer", key=key)


def fill(writer: Writer, mebibytes: int) -> None:
    for _ in range(mebibytes):
        writer.store_content(BytesIO(os.urandom(MIB)).readinto, MIB)


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("seedcorn-")]


def test_who_writes_hears_of_a_failure_before_the_end(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while waiting for a buffer that no thread will ever give back."""
    monkeypatch.setattr(repository.store, "put", refuse)
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 2 * MIB)
    with closing(repository.first.writer()) as writer, pytest.raises(StoreUnavailableError):
        fill(writer, 100)


def test_a_failure_is_not_forgotten_by_who_goes_on(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 2 * MIB)
    with closing(repository.first.writer()) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(repository.store, "put", refuse)
            with pytest.raises(StoreUnavailableError):
                fill(writer, 100)
        steps: tuple[Callable[[], object], ...] = (lambda: fill(writer, 8), writer.checkpoint, writer.finish)
        for go_on in steps:
            with pytest.raises(StoreUnavailableError):
                go_on()


def test_threads_end_when_a_writer_is_closed_in_the_midst(repository: SmallRepository) -> None:
    writer = repository.first.writer()
    fill(writer, 5)
    assert own_threads()
    writer.close()
    for thread in own_threads():
        thread.join(10)
    assert own_threads() == []
