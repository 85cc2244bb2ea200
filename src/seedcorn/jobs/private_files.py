"""Files that hold a secret: made so that nobody else can read them, and read only if nobody else could.

Owns modes and atomic replacement. Invariant: a secret is never in a file, not even a temporary one, that is open to others for an instant.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from seedcorn.errors import CredentialError, SeedcornError, UsageError

__all__ = ["create_private", "read_private", "refuse_existing_file", "replace_private", "reserve_private", "write_reserved"]

SIZE_LIMIT_BYTES = 1 << 20
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not make us wait
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def read_private(path: Path) -> bytes:
    """The content of a file that is private.

    Raises:
        FileNotFoundError: there is none.
        CredentialError: others can read it, or it is not a readable file.
    """
    try:
        descriptor = os.open(path, _READ)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CredentialError(f"{path} can not be read: {error.strerror}") from error
    try:
        _check_private(path, os.fstat(descriptor))
        return os.read(descriptor, SIZE_LIMIT_BYTES)
    finally:
        os.close(descriptor)


def _check_private(path: Path, st: os.stat_result) -> None:
    if not stat.S_ISREG(st.st_mode):
        raise CredentialError(f"{path} is not a file")
    if st.st_uid != os.geteuid():
        raise CredentialError(f"{path} belongs to another user: who can change it decides who can read what is backed up; `chown` it")
    if st.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CredentialError(f"{path} can be read by others, and it holds a secret: `chmod 600 {path}`")


def refuse_existing_file(path: Path) -> None:
    """Raises:
    UsageError: there is a file of that name.
    """
    if path.exists():
        raise _taken(path)


def _taken(path: Path) -> UsageError:
    return UsageError(f"{path} exists already, and what is in it may still be needed: choose another name, or move it away")


def reserve_private(path: Path) -> int:
    """A descriptor of a new, empty file of mode 0600; its directory is made if need be.

    Raises:
        UsageError: there is a file already; it stays as it is.
        SeedcornError: it can not be made.
    """
    try:
        _make_directory(path.parent)
        return os.open(path, _CREATE, 0o600)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise SeedcornError(f"{path} can not be written: {error.strerror}") from error


def create_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 that must not exist yet. Raises as ``reserve_private`` does."""
    write_reserved(reserve_private(path), path, data)


def replace_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 in one step, whether there was one or not.

    Raises:
        SeedcornError: it can not be written.
    """
    try:
        _make_directory(path.parent)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # of mode 0600
    except OSError as error:
        raise SeedcornError(f"{path} can not be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        write_reserved(descriptor, temporary, data)
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise SeedcornError(f"{path} can not be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_reserved(descriptor: int, path: Path, data: bytes) -> None:
    """Write what a reserved file was reserved for, durably, and close it.

    Raises:
        SeedcornError: it can not be written.
    """
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(path.parent)
    except OSError as error:
        raise SeedcornError(f"{path} can not be written: {error.strerror}") from error


def _make_directory(folder: Path) -> None:
    """Like ``mkdir -p`` with mode 0700 for every directory that has to be made."""
    if not folder.is_dir():
        _make_directory(folder.parent)
        with suppress(FileExistsError):  # made meanwhile, or not a directory: the next step tells
            folder.mkdir(mode=0o700)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
