"""The host file on disk: which one belongs to a repository, and that nobody else can read it.

docs/format.md, section "Host file".
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from seedcorn.errors import AccessDeniedError, CredentialError, RepositoryNotFoundError, UsageError
from seedcorn.events import Clock
from seedcorn.ids import RepositoryId
from seedcorn.jobs.environment import Environment
from seedcorn.jobs.private_files import create_private, read_private, replace_private, reserve_private, write_reserved
from seedcorn.ops import access
from seedcorn.ops.access import HostFile

__all__ = ["enroll_to_file", "has_host_file", "install_host_file", "load_host_file", "move_to_file", "save_host_file"]


def load_host_file(path: Path, place: str) -> HostFile:
    """This machine's host file for the repository at ``place``.

    Raises:
        CredentialError: there is none, others can read it, or it is none.
    """
    try:
        data = read_private(path)
    except FileNotFoundError as error:
        raise CredentialError(
            f"this machine is not enrolled in {place}: there is no {path}. The owner makes a host file with `seedcorn host add NAME --out FILE`, or, "
            "if this machine was enrolled and has lost its own, with `seedcorn host move NAME --domain D --out FILE` (as `seedcorn host list` shows "
            "them); bring it here and run `seedcorn host install FILE`"
        ) from error
    return HostFile.parse(data, source=str(path))


def has_host_file(store: access.Store, environment: Environment, given: str | None) -> bool:
    """Whether this machine is a host of what is in ``store``. Of no repository, or one whose header it may not read, it is not.

    Raises:
        CredentialError: a host file was ``given``, and is none.
    """
    if path := environment.given_host_file(given):
        load_host_file(path, store.url)
        return True
    try:
        return environment.host_file(None, access.repository_id(store)).exists()
    except (RepositoryNotFoundError, AccessDeniedError):
        return False


def save_host_file(path: Path, host_file: HostFile) -> None:
    """Write a new host file.

    Raises:
        UsageError: there is a file of that name.
    """
    create_private(path, host_file.serialize())


def enroll_to_file(owner: access.OwnerRepository, name: str, path: Path, clock: Clock, *, domain: str | None = None) -> HostFile:
    """Enrol a host and write its file, which must not exist.

    Raises:
        UsageError: there is a file, or a host of that name, or no such domain.
    """
    return _write_what_comes_of(lambda: access.add_host(owner, name, clock, domain=domain), path)


def move_to_file(owner: access.OwnerRepository, name_or_id: str, path: Path, clock: Clock, *, domain: str) -> HostFile:
    """Move a host to a dedup domain and write its new file, which must not exist.

    Raises:
        UsageError: there is a file, or no such host or domain.
    """
    return _write_what_comes_of(lambda: access.move(owner, name_or_id, clock, domain=domain), path)


def _write_what_comes_of(make: Callable[[], HostFile], path: Path) -> HostFile:
    """The file is there before the host's record is put, so that no host is without one."""
    descriptor = reserve_private(path)
    try:
        host_file = make()
    except BaseException:
        os.close(descriptor)
        path.unlink()
        raise
    write_reserved(descriptor, path, host_file.serialize())
    return host_file


def install_host_file(source: Path, environment: Environment, given: str | None) -> tuple[HostFile, Path]:
    """Put the host file ``source`` where ``backup`` looks for it; the file and its new place. However it was brought here, the new one is private.

    If the host has been moved, what this machine remembers of its last runs is of the domain before and goes: it names files, and saves no work now.

    Raises:
        CredentialError: it is none.
        UsageError: it can not be read, this machine is enrolled as another host already, or something else is in its place.
    """
    try:
        host_file = HostFile.parse(source.read_bytes(), source=str(source))
    except OSError as error:
        raise UsageError(f"{source} can not be read: {error.strerror}") from error
    path = environment.host_file(given, host_file.key.repository)
    try:
        installed = HostFile.parse(read_private(path), source=str(path))
    except FileNotFoundError:
        installed = None
    except CredentialError as error:
        raise UsageError(f"{path} is in the way, and is no host file that can be read: move it away, then install {source} again") from error
    if installed and installed.key.host != host_file.key.host:
        raise UsageError(f"this machine is enrolled as {installed.name} already ({path}): move that file away if {source} is to take its place")
    if installed and installed.key.secrets.domain != host_file.key.secrets.domain:
        _forget_listings(environment.state_dir, host_file.key.repository)
    replace_private(path, host_file.serialize())
    return host_file, path


def _forget_listings(folder: Path, repository: RepositoryId) -> None:
    state = access.open_state(folder, repository)
    try:
        state.forget_listings()
    finally:
        state.close()
