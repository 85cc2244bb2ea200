"""A source tree, a repository and restores of it side by side, for the tests of the whole program.

Everything below goes through ``seedcorn.ops``, as a front end would; what a tree is, before and after, is judged by ``seedcorn.testing.trees``.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from seedcorn.events import RecordingMonitor, SystemClock
from seedcorn.ops.backup.backup import BackupOptions, BackupResult
from seedcorn.ops.browse import open_browser
from seedcorn.ops.restore.restore import RestoreOptions, RestoreResult, restore
from seedcorn.store.api import Requests, Store
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import Machine, SmallRepository
from seedcorn.testing.trees import Entry, describe, differences

__all__ = [
    "NOBODY",
    "Restored",
    "Run",
    "SettledClock",
    "Tree",
    "Workshop",
    "as_nobody",
    "is_root",
    "open_workshop",
    "remove_tree",
    "scratch",
]

NOBODY = 65534
Tree = dict[bytes, Entry]
_Result = TypeVar("_Result")


class SettledClock(SystemClock):
    """A clock that runs ahead of the file system's, so that files need not rest for seconds before they count as unchanged.

    Whoever edits a file around a backup with this clock must let the kernel's tick pass (some milliseconds) before and after it.
    """

    def now_ns(self) -> int:
        return super().now_ns() + 10 * 10**9


@dataclass(frozen=True)
class Run:
    """One backup: its result, what its monitor heard, and the requests that it alone made."""

    result: BackupResult
    monitor: RecordingMonitor
    requests: Requests

    @property
    def packs(self) -> int:
        return self.result.statistics.data_packs + self.result.statistics.listing_packs

    @property
    def id(self) -> str:
        """What to restore it by."""
        assert self.result.snapshot is not None
        return self.result.snapshot.hex()


@dataclass(frozen=True)
class Restored:
    """One restore: where it went and what came of it."""

    target: Path
    result: RestoreResult
    monitor: RecordingMonitor

    @property
    def errors(self) -> list[str]:
        return sorted(str(error) for error in self.result.errors)

    def tree(self) -> Tree:
        return describe(self.target)


class Workshop:
    """``source`` is backed up by ``machine`` to ``store``; every restore goes to a new directory."""

    def __init__(self, folder: Path, repository: SmallRepository) -> None:
        self.folder = folder
        self.repository = repository
        self.machine: Machine = repository.first
        self.source = folder / "source"
        self.source.mkdir(exist_ok=True)
        self._restores = 0

    @property
    def store(self) -> Store:
        return self.repository.store

    @property
    def objects(self) -> dict[str, bytes]:
        """The bytes of a store in memory, to look at or to damage."""
        assert isinstance(self.store, MemoryStore)
        return self.store.objects

    def backup(self, *paths: str | os.PathLike[str] | bytes, machine: Machine | None = None, **options: Any) -> Run:
        """Back up ``paths``, or the source, with fields of BackupOptions."""
        machine = machine or self.machine
        monitor = RecordingMonitor()
        before = replace(self.store.requests)
        chosen = BackupOptions(machine.host_file.name, **options)
        result = machine.backup(*(paths or (self.source,)), monitor=monitor, options=chosen)
        return Run(result, monitor, self.store.requests.since(before))

    def restore(
        self, reference: str = "latest", path: str | os.PathLike[str] | bytes | None = None, target: Path | None = None, **options: Any
    ) -> Restored:
        """Restore ``path`` (the source) as an owner who has never seen the repository, with fields of RestoreOptions."""
        self._restores += 1
        target = target or self.folder / f"restored-{self._restores}"
        monitor = RecordingMonitor()
        state = self.repository.new_state()
        try:
            browser = open_browser(self.repository.owner(), state)
            chosen = RestoreOptions(target, **options)
            result = restore(browser, browser.find(reference), os.fsencode(self.source if path is None else path), chosen, monitor)
        finally:
            state.close()
        return Restored(target, result, monitor)

    def assert_restores(self, reference: str, expected: Tree, **comparison: Any) -> None:
        """A snapshot of the source gives back the tree ``expected``, and nothing went wrong on the way."""
        restored = self.restore(reference)
        assert restored.errors == []
        assert differences(expected, restored.tree(), **comparison) == []
        remove_tree(restored.target)


@contextmanager
def scratch(*, on_disk: bool = False) -> Iterator[Path]:
    """An empty directory that everybody may write to. Not pytest's own: that is the test user's alone, and it trips over trees like ours.

    In memory where there is such a place, because every restore waits for its file system to have written everything that others wrote too.
    """
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="seedcorn-acceptance-", dir=None if on_disk or not memory.is_dir() else memory))
    path.chmod(0o777)
    try:
        yield path
    finally:
        remove_tree(path)


def remove_tree(path: Path) -> None:
    """Also a tree that is deeper than Python's stack, or has directories that are closed to their owner."""
    if not is_root():
        subprocess.run(["chmod", "-R", "u+rwx", path], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["rm", "-rf", path], check=True)


@contextmanager
def open_workshop(folder: Path, store: Store | None = None, *, trust_hosts: bool = False, settled: bool = False) -> Iterator[Workshop]:
    """A workshop in ``folder``. ``settled``: with a SettledClock."""
    clock = SettledClock() if settled else SystemClock()
    with SmallRepository(store or MemoryStore(), folder / "states", trust_hosts=trust_hosts, clock=clock) as repository:
        yield Workshop(folder, repository)


def is_root() -> bool:
    return os.geteuid() == 0


def as_nobody(body: Callable[[], _Result]) -> _Result:
    """Run ``body`` as an ordinary user in a child process; its result comes back, and so does what it raised, as text.

    Tests that are run by an ordinary user are that user already.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # xdist runs us beside a thread; the child needs nothing that it may hold
        child = os.fork()
    if not child:
        os.close(reading)
        outcome: tuple[object, str | None]
        try:
            if is_root():
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            outcome = body(), None
        except BaseException:
            outcome = None, traceback.format_exc()
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(outcome, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result, failure = pickle.load(pipe)
    os.waitpid(child, 0)
    if failure:
        raise AssertionError(failure)
    return result  # type: ignore[no-any-return]  # pickled by the child
