"""An opened repository as a front end holds it: a host that writes, or an owner who reads. Store, local state and clock belong to the session.

Both are context managers; what they return comes from ops.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypedDict, Unpack

from seedcorn.errors import UsageError
from seedcorn.events import Clock, Monitor, SystemClock, VoidMonitor
from seedcorn.fs.selection import read_exclude_file
from seedcorn.ops import access
from seedcorn.ops.backup import BackupOptions, BackupResult, backup, backup_stream
from seedcorn.ops.browse import Browser, Entry, Snapshot, SnapshotFilter, open_browser, split_reference
from seedcorn.ops.restore import Overwrite, RestoreOptions, RestoreResult, restore
from seedcorn.repo.packer import PackerOptions
from seedcorn.repo.writer import ReadInto, WriterOptions

__all__ = ["BackupArguments", "HostSession", "OwnerSession", "RestoreArguments", "snapshot_filter"]

LEVELS = range(1, 20)  # of zstd, without those that need much memory to read
_WORKERS_LIMIT = 8


class BackupArguments(TypedDict, total=False):
    """Keyword arguments of ``HostSession.backup``; whatever is left out has its usual value."""

    host_name: str  # what snapshots call this machine; usually as the owner enrolled it
    tags: Sequence[str]
    excludes: Sequence[str]  # patterns, later ones overrule earlier ones
    exclude_files: Sequence[str]  # files of patterns, read before ``excludes``
    exclude_caches: bool
    one_file_system: bool
    force: bool  # read every file
    dry_run: bool
    level: int  # of zstd, 1 to 19
    verify_seal: bool  # open every sealed frame again before it is sent
    monitor: Monitor


class RestoreArguments(TypedDict, total=False):
    """Keyword arguments of ``OwnerSession.restore``."""

    path: str | bytes | os.PathLike[str]  # absolute, in the snapshot; all of it if left out
    includes: Sequence[str]
    excludes: Sequence[str]
    dry_run: bool
    existing: bool  # the target need not be empty
    overwrite: Literal["always", "never"]  # what becomes of files that are there
    processes: int  # that write; 0: this one alone. Otherwise by the number of cores
    monitor: Monitor


class _Session:
    """Closes what it was given, last first."""

    def __init__(self, store: access.Store, state: access.State, clock: Clock) -> None:
        self.state = state
        self.clock = clock
        self._resources = ExitStack()
        self._resources.callback(store.close)
        self._resources.callback(state.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back connections and the state's files. The session is of no use afterwards."""
        self._resources.close()


class HostSession(_Session):
    """An enrolled machine: can add snapshots, can read none."""

    def __init__(self, repository: access.HostRepository, state: access.State, connections: int | None = None, clock: Clock | None = None) -> None:
        super().__init__(repository.store, state, clock or SystemClock())
        self.repository = repository
        self._connections = connections

    def backup(self, paths: Sequence[str | bytes | os.PathLike[str]], **arguments: Unpack[BackupArguments]) -> BackupResult:
        """Back up files and directories.

        Raises:
            UsageError: no path, a malformed pattern, an impossible level.
            SeedcornError: none of the paths can be read, the store fails, or this host has been revoked.
        """
        job = self._job(arguments)
        return backup(job.repository, self.state, [os.fsencode(path) for path in paths], job.options, self.clock, job.monitor)

    def backup_stream(self, read_into: ReadInto, file_name: str | bytes, **arguments: Unpack[BackupArguments]) -> BackupResult:
        """Back up what ``read_into`` puts into the views that it is given, until it returns 0, as one file called ``file_name``."""
        job = self._job(arguments)
        return backup_stream(job.repository, self.state, read_into, os.fsencode(file_name), job.options, self.clock, job.monitor)

    def _job(self, arguments: BackupArguments) -> _BackupJob:
        usual = PackerOptions()
        level = arguments.get("level", usual.level)
        if level not in LEVELS:
            raise UsageError(f"compression level {level}: give one from {LEVELS[0]} to {LEVELS[-1]}")
        dry_run = arguments.get("dry_run", False)
        from_files = [pattern for path in arguments.get("exclude_files", ()) for pattern in read_exclude_file(path)]
        packer = PackerOptions(
            workers=min(max(2, len(os.sched_getaffinity(0))), _WORKERS_LIMIT),
            connections=self._connections or usual.connections,
            level=level,
            verify_seal=arguments.get("verify_seal", True),
        )
        options = BackupOptions(
            host_name=arguments.get("host_name") or self.repository.host_name,
            excludes=tuple(from_files) + tuple(arguments.get("excludes", ())),
            exclude_caches=arguments.get("exclude_caches", False),
            one_file_system=arguments.get("one_file_system", False),
            force=arguments.get("force", False),
            dry_run=dry_run,
            tags=tuple(arguments.get("tags", ())),
            writer=WriterOptions(packer=packer),
        )
        repository = replace(self.repository, store=access.dry_run(self.repository.store)) if dry_run else self.repository
        return _BackupJob(repository, options, arguments.get("monitor") or VoidMonitor())


@dataclass(frozen=True, slots=True)
class _BackupJob:
    repository: access.HostRepository
    options: BackupOptions
    monitor: Monitor


class OwnerSession(_Session):
    """The owner: can read everything."""

    def __init__(self, repository: access.OwnerRepository, state: access.State, clock: Clock | None = None) -> None:
        super().__init__(repository.store, state, clock or SystemClock())
        self.repository = repository

    @cached_property
    def browser(self) -> Browser:
        """All snapshots and the index as they are now; ``problems`` are what is wrong with them. Read once for each session."""
        return open_browser(self.repository, self.state)

    def snapshots(self, chosen: SnapshotFilter = SnapshotFilter()) -> list[Snapshot]:  # noqa: B008  # frozen
        """Every good snapshot that ``chosen`` accepts, oldest first."""
        return self.browser.select(chosen)

    def browse(self, reference: str | Snapshot = "latest", path: str | bytes | os.PathLike[str] = "/") -> Entry:
        """What is at ``path`` in a snapshot; ``browser.children`` and ``browser.walk`` lead on from there.

        Raises:
            UsageError: no such snapshot, or nothing is there.
        """
        return self.browser.entry(self._snapshot(reference), os.fsencode(path))

    def restore(self, reference: str | Snapshot, target: str | os.PathLike[str], **arguments: Unpack[RestoreArguments]) -> RestoreResult:
        """Restore a snapshot (``latest``, ``latest~1``, the beginning of an id, each with ``:/path`` if only that is wanted) into ``target``.

        Raises:
            UsageError: no such snapshot, nothing at that path, or the target is not empty and ``existing`` is not set.
        """
        path = os.fsencode(arguments.get("path", b"/"))
        if isinstance(reference, str) and ":" in reference:
            reference, path = split_reference(reference)
        usual = RestoreOptions(Path(target))
        options = replace(
            usual,
            includes=tuple(arguments.get("includes", ())),
            excludes=tuple(arguments.get("excludes", ())),
            dry_run=arguments.get("dry_run", False),
            existing=arguments.get("existing", False),
            overwrite=Overwrite(arguments.get("overwrite", usual.overwrite)),
            processes=arguments.get("processes", usual.processes),
        )
        return restore(self.browser, self._snapshot(reference), path, options, arguments.get("monitor") or VoidMonitor())

    def _snapshot(self, reference: str | Snapshot) -> Snapshot:
        return self.browser.find(reference) if isinstance(reference, str) else reference


def snapshot_filter(host: str | None = None, tags: Sequence[str] | None = None, paths: Sequence[str | bytes] | None = None) -> SnapshotFilter:
    """The filter that asks for what is given; relative paths are taken from the current directory, as they were when they were backed up."""
    return SnapshotFilter(host or "", tuple(tags or ()), tuple(os.fsencode(os.path.abspath(path)) for path in paths or ()))
