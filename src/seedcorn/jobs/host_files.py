"""The host file on disk: which one belongs to a repository, and that nobody else can read it.

docs/format.md, section "Host file".
"""

from __future__ import annotations

from pathlib import Path

from seedcorn.errors import CredentialError, UsageError
from seedcorn.jobs.private_files import create_private, read_private, replace_private
from seedcorn.ops.access import HostFile

__all__ = ["install_host_file", "load_host_file", "save_host_file"]


def load_host_file(path: Path, place: str) -> HostFile:
    """This machine's host file for the repository at ``place``.

    Raises:
        CredentialError: there is none, others can read it, or it is none.
    """
    try:
        data = read_private(path)
    except FileNotFoundError as error:
        raise CredentialError(
            f"this machine is not enrolled in {place}: there is no {path}. The owner makes a host file with `seedcorn host add NAME --out FILE`; "
            "bring it here and run `seedcorn host install FILE` (`seedcorn init` enrols the machine that it runs on)"
        ) from error
    return HostFile.parse(data, source=str(path))


def save_host_file(path: Path, host_file: HostFile) -> None:
    """Write a new host file.

    Raises:
        UsageError: there is a file of that name.
    """
    create_private(path, host_file.serialize())


def install_host_file(source: Path, path: Path, host_file: HostFile) -> None:
    """Put ``host_file``, which was read from ``source``, where ``backup`` looks for it.

    Raises:
        UsageError: this machine is enrolled as another host already.
    """
    try:
        installed = HostFile.parse(read_private(path), source=str(path))
    except FileNotFoundError:
        installed = None
    if installed and installed.key.host != host_file.key.host:
        raise UsageError(f"this machine is enrolled as {installed.name} already ({path}): move that file away if {source} is to take its place")
    replace_private(path, host_file.serialize())
