"""One run of one command: its options, its output, and the repository opened in the way that the command needs. Closes what it opened.

Opening loads most of the program, so it is imported where it happens: ``--help`` and a mistyped option answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Self

from seedcorn.cli.output import Output
from seedcorn.errors import EXIT_INTEGRITY, IntegrityError, SeedcornError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from seedcorn.cli.parser import Namespace
    from seedcorn.ids import RepositoryId
    from seedcorn.jobs.environment import Environment
    from seedcorn.jobs.host_session import HostSession
    from seedcorn.jobs.maintain_session import Maintaining
    from seedcorn.jobs.owner_session import OwnerSession
    from seedcorn.jobs.passphrase import PassphraseSources, Prompt
    from seedcorn.ops.access import HostFile, Store
    from seedcorn.ops.browse import SnapshotFilter

__all__ = ["Invocation"]


class Invocation:
    """What a command function is given. ``environment`` stands in for the process's own."""

    def __init__(self, options: Namespace, environment: Environment | None = None) -> None:
        self.options = options
        self._environment = environment
        self.output = Output(as_json=options.json, quiet=options.quiet, verbose=options.verbose)
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._resources.close()

    @cached_property
    def environment(self) -> Environment:
        """The variables and usual places. Whatever a command does with a repository or a secret begins here, so the process is prepared for it."""
        from seedcorn.jobs.environment import Environment
        from seedcorn.jobs.process import prepare_process

        prepare_process()
        return self._environment or Environment.of_process()

    @cached_property
    def place(self) -> str:
        """The repository's address."""
        return self.environment.repository(self.options.repo)

    @cached_property
    def store(self) -> Store:
        """The repository's store, not yet asked anything."""
        from seedcorn.ops.access import open_at

        options = self.environment.store_options(connections=self.options.connections, ca_certificate=self.options.ca_certificate)
        store = open_at(self.place, self.environment.credentials, options)
        self._resources.callback(store.close)
        return store

    def host(self) -> HostSession:
        """Open for backing up. Needs no passphrase, and never asks for one."""
        from seedcorn.jobs.host_files import load_host_file
        from seedcorn.jobs.host_session import HostSession
        from seedcorn.ops import access

        def find(repository: RepositoryId) -> HostFile:
            return load_host_file(self.environment.host_file(self.options.host_file, repository), self.place)

        repository = access.open_host_with(self.store, find)
        state = access.open_state(self.environment.state_dir, repository.repository)
        return self._resources.enter_context(HostSession(repository, state, self.options.connections))

    def owner(self, *, remembering: bool = False) -> OwnerSession:
        """Open for reading, with a passphrase from wherever there is one. ``remembering``: only with what this machine has seen before."""
        from seedcorn.jobs.owner_session import OwnerSession
        from seedcorn.jobs.passphrase import read_passphrase, read_words
        from seedcorn.ops import access

        if self.options.words_file:
            repository = access.open_owner_with_words(self.store, read_words(self.path(self.options.words_file)))
        else:
            repository = access.open_owner_with(self.store, lambda: read_passphrase(self.passphrase_sources, self.prompt, self.output.warn))
        try:
            state = access.open_state(self.environment.state_dir, repository.repository)
        except SeedcornError as error:  # reading must be possible on a machine whose disk is full or read-only
            if remembering:
                raise
            self.output.warn(f"{error}; going on with a temporary one, so nothing that was seen before can be compared")
            state = access.open_state(self._temporary_folder(), repository.repository)
        return self._resources.enter_context(OwnerSession(repository, state))

    def maintainer(self) -> Maintaining:
        """Open for forgetting and pruning: with a maintain file if there is one, else as the owner."""
        from seedcorn.jobs.maintain_files import load_maintain_file
        from seedcorn.jobs.maintain_session import MaintainSession
        from seedcorn.ops import access

        path = self.environment.maintain_file(self.options.maintain_file)
        if path is None:
            return self.owner(remembering=True)  # who deletes has to notice what has gone
        repository = access.open_maintainer(self.store, load_maintain_file(path))
        state = access.open_state(self.environment.state_dir, repository.repository)
        return self._resources.enter_context(MaintainSession(repository, state))

    def _temporary_folder(self) -> Path:
        from pathlib import Path
        from tempfile import TemporaryDirectory

        return Path(self._resources.enter_context(TemporaryDirectory(prefix="seedcorn-state-")))

    @property
    def snapshot_filter(self) -> SnapshotFilter:
        """What ``declare_filter`` was given."""
        from seedcorn.jobs.owner_session import snapshot_filter

        return snapshot_filter(self.options.host, self.options.tag, self.options.path)

    @property
    def passphrase_sources(self) -> PassphraseSources:
        """Where the passphrase may come from."""
        from seedcorn.jobs.passphrase import PassphraseSources

        return PassphraseSources(self.environment, self.place, self.options.passphrase_file, self.options.passphrase_command)

    @property
    def prompt(self) -> Prompt | None:
        """Asks for a secret on the terminal, if there is one."""
        if not sys.stdin.isatty():
            return None
        from getpass import getpass

        return getpass

    def path(self, given: str) -> Path:
        """A path of the command line."""
        return self.environment.cwd / given

    def finish(self, problems: Sequence[IntegrityError], exit_code: int = 0) -> int:
        """The exit status of a command that reads: whatever else it found, damage in the history or the index is reported and rules."""
        for problem in problems:
            self.output.error(problem)
        return EXIT_INTEGRITY if problems else exit_code
