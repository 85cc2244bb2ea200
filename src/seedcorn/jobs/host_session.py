"""A repository opened for backing up, as a front end holds it. Owns what the arguments of a backup mean where none is given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack

from seedcorn.errors import UsageError
from seedcorn.events import Clock, Monitor, SystemClock, VoidMonitor
from seedcorn.fs.selection import read_exclude_file
from seedcorn.jobs.sessions import Session
from seedcorn.ops import access
from seedcorn.ops.backup.backup import BackupOptions, BackupResult, backup, backup_stream
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.writer import ReadInto, WriterOptions
from seedcorn.store.address import parse_address

__all__ = ["BackupArguments", "HostSession"]

LEVELS = range(1, 20)  # of zstd, without those that need much memory to read
_WORKERS_LIMIT = 8
_DISK_PUTS = 1  # at a time: each holds a pack in memory, and a disk takes one after the other anyway


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


class HostSession(Session):
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

    def writer_options(self, *, level: int | None = None, verify_seal: bool = True) -> WriterOptions:
        """How this machine writes; ``level`` is zstd's, 1 to 19.

        Raises:
            UsageError: an impossible level.
        """
        usual = PackerOptions()
        level = usual.level if level is None else level
        if level not in LEVELS:
            raise UsageError(f"compression level {level}: give one from {LEVELS[0]} to {LEVELS[-1]}")
        packer = PackerOptions(
            workers=min(max(2, len(os.sched_getaffinity(0))), _WORKERS_LIMIT),
            connections=self._connections or (_DISK_PUTS if parse_address(self.repository.store.url).kind == "local" else usual.connections),
            level=level,
            verify_seal=verify_seal,
        )
        return WriterOptions(packer=packer)

    def _job(self, arguments: BackupArguments) -> _BackupJob:
        writer = self.writer_options(level=arguments.get("level"), verify_seal=arguments.get("verify_seal", True))
        dry_run = arguments.get("dry_run", False)
        from_files = [pattern for path in arguments.get("exclude_files", ()) for pattern in read_exclude_file(path)]
        options = BackupOptions(
            host_name=arguments.get("host_name") or self.repository.host_name,
            excludes=tuple(from_files) + tuple(arguments.get("excludes", ())),
            exclude_caches=arguments.get("exclude_caches", False),
            one_file_system=arguments.get("one_file_system", False),
            force=arguments.get("force", False),
            dry_run=dry_run,
            tags=tuple(arguments.get("tags", ())),
            writer=writer,
        )
        repository = replace(self.repository, store=access.dry_run(self.repository.store)) if dry_run else self.repository
        return _BackupJob(repository, options, arguments.get("monitor") or VoidMonitor())


@dataclass(frozen=True, slots=True)
class _BackupJob:
    repository: access.HostRepository
    options: BackupOptions
    monitor: Monitor
