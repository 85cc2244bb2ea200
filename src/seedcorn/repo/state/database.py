"""The database of one state directory: tables of rows in one LMDB environment. Sole importer of lmdb.

Owns the environment's files, its transactions, and what LMDB's errors mean. Must never know what a row means. Invariant: what is read is what was
written, else the whole database is thrown away, which is never authoritative, and whoever opens it next begins anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import lmdb

from seedcorn.errors import SeedcornError
from seedcorn.repo.state.mapping import FileMapping
from seedcorn.repo.state.table import DamagedRowError, Table, Transaction

__all__ = ["DamagedStateError", "Database", "View"]


_MAP_BYTES = 1 << 36  # address space, not disk
_READERS = 1024
_TABLES_LIMIT = 16
_LOCK_FILE_BYTES = (_READERS + 2) * 64  # LMDB's: one cache line for each reader, and its head
_IDENTITY = b"identity"
_DAMAGE = (
    lmdb.BadTxnError,  # what comes after one of the others
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.InvalidError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.ProblemError,
    lmdb.VersionMismatchError,
    DamagedRowError,
)
_FAILURES = (lmdb.Error, DamagedRowError)


class DamagedStateError(SeedcornError):
    """The database was not as it had been written, and has been emptied."""


class _Block:
    """A transaction for a ``with`` statement, at whose end LMDB's errors are what they mean. A generator would cost more than what it is for."""

    __slots__ = ("_database", "_env", "_is_writing", "_txn")

    def __init__(self, database: Database, env: Any, *, is_writing: bool) -> None:
        self._database = database
        self._env = env
        self._is_writing = is_writing

    def __enter__(self) -> Transaction:
        try:
            self._txn = self._env.begin(write=self._is_writing)
        except _FAILURES as error:
            raise self._database.meaning(error) from error
        return self._txn

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        failure = error if isinstance(error, _FAILURES) else None
        try:
            if kind is None and self._is_writing and not self._database.discard_writes:
                self._txn.commit()
            else:
                self._txn.abort()
        except _FAILURES as at_the_end:
            failure = at_the_end
        if failure is not None:
            raise self._database.meaning(failure) from failure


class View:
    """The state of things at one moment, until it is closed; as ``Database.reading``, for who can not do with a block."""

    __slots__ = ("_database", "_txn")

    def __init__(self, database: Database, txn: Transaction) -> None:
        self._database = database
        self._txn = txn

    def get(self, table: Table, key: bytes) -> bytes | None:
        """As ``Table.get``."""
        try:
            return table.get(self._txn, key)
        except _FAILURES as error:
            raise self._database.meaning(error) from error

    def require(self, table: Table, key: bytes) -> bytes:
        """As ``Table.require``."""
        try:
            return table.require(self._txn, key)
        except _FAILURES as error:
            raise self._database.meaning(error) from error

    def close(self) -> None:
        self._txn.abort()


class Database:
    """The open environment in ``folder / "index"``. Any number of processes may have it open, and any number of threads may read."""

    def __init__(self, folder: Path, identity: bytes) -> None:
        """Open it, or make it with mode 0700. One with another ``identity`` (of what it is the state of, and of its schema) is begun anew.

        Raises:
            DamagedStateError: it has been emptied: the next try makes a new one.
            SeedcornError: the folder can not be used.
        """
        self.discard_writes = False  # for a dry run: nothing that is learned is kept
        self.folder = folder
        self._path = folder / "index"
        try:
            self._open()
            if self._identity() not in (None, identity):
                self.close()
                shutil.rmtree(self._path)
                self._open()
            if self._identity() is None:
                with self.writing() as txn:
                    self.meta.put(txn, _IDENTITY, identity)
            self._env.reader_check()  # one that was killed would keep free pages from being used again
        except _DAMAGE as error:
            raise self.meaning(error) from error
        except (OSError, lmdb.Error) as error:
            raise SeedcornError(f"the state directory {folder} can not be used: {error}; give another place with SEEDCORN_STATE_DIR") from error

    def _open(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.mkdir(mode=0o700, exist_ok=True)  # lmdb would make it with the mode of its files
        _reserve_lock_file(self._path / "lock.mdb")
        self._env = lmdb.open(str(self._path), map_size=_MAP_BYTES, max_dbs=_TABLES_LIMIT, mode=0o600, readahead=False, max_readers=_READERS)
        self._reach_to_the_end()
        self.mapping = FileMapping(self._path / "data.mdb")
        self.meta = self.table(b"meta")

    def _identity(self) -> bytes | None:
        with self.reading() as txn:
            return self.meta.get(txn, _IDENTITY)

    def _reach_to_the_end(self) -> None:
        """To read beyond the end of a file that has been cut short would be a bus error instead of an exception: it gets zeros there. Never shrinks
        it, whoever writes at the same time; that LMDB itself has not yet written its last pages is nothing unusual."""
        with open(self._path / "data.mdb", "r+b") as file, suppress(OSError):
            size, due = os.fstat(file.fileno()).st_size, (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
            if size < due:
                os.posix_fallocate(file.fileno(), size, due - size)

    def close(self) -> None:
        self._env.close()

    def table(self, name: bytes, *, is_cache: bool = False, several: bool = False) -> Table:
        """The table of that name. ``is_cache``: a damaged row is none. ``several``: a key may have several values, all of one length."""
        with self._watched():
            return Table(self._env.open_db(name, dupsort=several, dupfixed=several), name, is_cache)

    def subfolder(self, name: str) -> Path:
        """A folder for files that belong to the database.

        Raises:
            SeedcornError: it can not be made.
        """
        path = self._path / name
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self.unwritable(error) from error
        return path

    # -- transactions ------------------------------------------------------------------------------------------------------------------------

    def reading(self) -> AbstractContextManager[Transaction]:
        """The state of things at this moment.

        Raises:
            DamagedStateError: what is read is not what was written.
        """
        return _Block(self, self._env, is_writing=False)

    def writing(self) -> AbstractContextManager[Transaction]:
        """One change; nothing of it is kept if the block is left by an exception.

        Raises:
            DamagedStateError: as ``reading``.
            SeedcornError: it can not be written.
        """
        return _Block(self, self._env, is_writing=True)

    def view(self) -> View:
        """As ``reading``, for longer."""
        with self._watched():
            return View(self, self._env.begin())

    def unwritable(self, error: Exception) -> SeedcornError:
        """What to raise for an error in writing to the folder."""
        return SeedcornError(f"the state directory {self.folder} can not be written: {error}; is its disk full?")

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise self.meaning(error) from error

    def meaning(self, error: Exception) -> SeedcornError:
        """An error of LMDB, or of a row, as what it means. Damage empties the database."""
        if isinstance(error, _DAMAGE):
            shutil.rmtree(self._path, ignore_errors=True)  # with all files in it: LMDB's lock file belongs to this database and to no other
            return DamagedStateError(
                f"the state directory {self.folder} was damaged and has been emptied ({error}): run the command again. What it held is read from "
                "the repository, and from the sources once more; that the store was set back before now would not be noticed"
            )
        if isinstance(error, lmdb.MapFullError):
            return SeedcornError(
                f"the state directory {self.folder} has reached its limit of {_MAP_BYTES >> 30} GiB: delete it and run the command again. What it "
                "held is read from the repository, and from the sources once more"
            )
        return self.unwritable(error)


def _reserve_lock_file(path: Path) -> None:
    """Give LMDB's lock file its blocks: it is mapped and written, which on a full disk would be a bus error instead of an exception."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_blocks == 0:
            os.posix_fallocate(descriptor, 0, _LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)
