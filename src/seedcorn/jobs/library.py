"""The public API of the package: make a repository, open it as a host or as its owner.

What is not given is found as the command line finds it: host file, state directory and the stores' credentials by the environment. A passphrase and
the recovery words are never looked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from seedcorn.errors import UsageError
from seedcorn.events import SystemClock
from seedcorn.ids import RepositoryId
from seedcorn.jobs.environment import Environment
from seedcorn.jobs.founding import FoundingOptions, NewRepository, found_repository
from seedcorn.jobs.host_files import load_host_file
from seedcorn.jobs.host_session import HostSession
from seedcorn.jobs.maintain_files import load_maintain_file
from seedcorn.jobs.maintain_session import MaintainSession
from seedcorn.jobs.owner_session import OwnerSession
from seedcorn.ops import access

__all__ = ["HostSession", "MaintainSession", "NewRepository", "OwnerSession", "init", "open", "open_maintainer", "open_owner"]

AnyPath = str | os.PathLike[str]


def init(
    url: AnyPath,
    *,
    passphrase: str,
    host_name: str | None = None,
    host_file: AnyPath | None = None,
    credentials: Mapping[str, str] | None = None,
) -> NewRepository:
    """Make a repository at ``url`` (a directory, ``s3://…``, ``gs://…``, ``az://…``) and enrol this machine as its first host.

    Raises:
        UsageError: there is a repository already, the host file exists, or the passphrase is empty.
        StoreError: the store can not be reached or written.
    """
    environment = Environment.of_process()
    store = _open_store(environment, url, credentials)
    try:
        options = FoundingOptions(host_name or environment.host_name, _text(host_file))
        return found_repository(store, passphrase, options, environment, SystemClock())
    finally:
        store.close()


def open(  # noqa: A001  # it is called as seedcorn.open
    url: AnyPath, *, host_file: AnyPath | None = None, state_dir: AnyPath | None = None, credentials: Mapping[str, str] | None = None
) -> HostSession:
    """Open for backing up, with this machine's host file.

    Raises:
        RepositoryNotFoundError: there is none at ``url``.
        CredentialError: this machine is not enrolled in it.
    """
    environment = Environment.of_process()
    with _opening(environment, url, credentials) as store:
        repository = access.open_host_with(store, lambda found: load_host_file(environment.host_file(_text(host_file), found), store.url))
        return HostSession(repository, _state(environment, state_dir, repository.repository))


def open_maintainer(
    url: AnyPath, *, maintain_file: AnyPath, state_dir: AnyPath | None = None, credentials: Mapping[str, str] | None = None
) -> MaintainSession:
    """Open for forgetting and pruning, with a maintain file.

    Raises:
        RepositoryNotFoundError: there is none at ``url``.
        CredentialError: the file is none, others can read it, or it is another repository's.
    """
    environment = Environment.of_process()
    with _opening(environment, url, credentials) as store:
        repository = access.open_maintainer(store, load_maintain_file(environment.cwd / Path(maintain_file)))
        return MaintainSession(repository, _state(environment, state_dir, repository.repository))


def open_owner(
    url: AnyPath,
    *,
    passphrase: str | None = None,
    words: str | None = None,
    state_dir: AnyPath | None = None,
    credentials: Mapping[str, str] | None = None,
) -> OwnerSession:
    """Open for reading, with the passphrase or the 24 recovery words.

    Raises:
        UsageError: not exactly one of the two is given.
        RepositoryNotFoundError: there is none at ``url``.
        CredentialError: it does not open this repository.
    """
    if (passphrase is None) == (words is None):
        raise UsageError("give either the passphrase or the recovery words")
    environment = Environment.of_process()
    with _opening(environment, url, credentials) as store:
        repository = access.open_owner(store, passphrase) if passphrase is not None else access.open_owner_with_words(store, words or "")
        return OwnerSession(repository, _state(environment, state_dir, repository.repository))


@contextmanager
def _opening(environment: Environment, url: AnyPath, credentials: Mapping[str, str] | None) -> Iterator[access.Store]:
    """The store, which belongs to the session that comes of it; closed if none does."""
    store = _open_store(environment, url, credentials)
    try:
        yield store
    except BaseException:
        store.close()
        raise


def _open_store(environment: Environment, url: AnyPath, credentials: Mapping[str, str] | None) -> access.Store:
    given = environment.credentials if credentials is None else credentials
    return access.open_at(environment.repository(os.fspath(url)), given, environment.store_options())


def _state(environment: Environment, folder: AnyPath | None, repository: RepositoryId) -> access.State:
    return access.open_state(Path(folder) if folder is not None else environment.state_dir, repository)


def _text(path: AnyPath | None) -> str | None:
    return None if path is None else os.fspath(path)
