"""Which chunk tables count: the part of the database that makes the files of ``ChunkIndex`` known, and unknown again.

The database has the list of the files that count, so that one transaction makes a segment's frames and chunks known. Whoever changes that list holds
the index lock, and at the end removes every file that is not in it. Chunks of frames that are gone stay in the files for a while: the set of dead
frames tells them from the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from seedcorn.repo.state.chunk_index import ChunkIndex
from seedcorn.repo.state.chunk_table import DamagedTableError
from seedcorn.repo.state.database import Database
from seedcorn.repo.state.file_lock import file_lock
from seedcorn.repo.state.indexed import FrameSet
from seedcorn.repo.state.table import Transaction

__all__ = ["ChunkCatalog"]

_DEAD = b"dead-frames"
_DEAD_SHARE = 4  # one frame in so many may be dead before the chunk tables are written anew
_EPOCH = b"epoch"


class ChunkCatalog:
    """``chunks``, the frames that are ``dead``, and the ``epoch`` of the index, as they were at the last ``renew``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables = database.table(b"tables")  # name of a chunk table -> nothing
        self._lock = database.folder / "index.lock"
        self.chunks = ChunkIndex(database.subfolder("chunks"))
        self.dead = FrameSet()
        self.epoch = 0

    def renew(self) -> None:
        """Let lookups see what has been committed since.

        Raises:
            DamagedTableError: a table is not there, or not as it was written.
        """
        while True:
            names = self._names()
            try:
                self.chunks.use(names)
                break
            except FileNotFoundError as error:
                if names == self._names():  # else it has been merged meanwhile
                    raise DamagedTableError(f"{error.filename} is missing") from error
        with self._database.reading() as txn:
            self.dead = self._dead_frames(txn)
            self.epoch = self._epoch(txn)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Exclusive among those who change the list of tables."""
        with file_lock(self._lock):
            try:
                yield
            finally:
                self._sweep()

    def sweep_leftovers(self) -> None:
        """Remove what a killed process left; not while another one may be about to commit it."""
        with suppress(OSError), file_lock(self._lock, wait=False):
            self._sweep()

    def _sweep(self) -> None:
        names = self._names()
        with suppress(OSError):  # the files count for nothing, and the next one who sweeps removes them
            self.chunks.sweep(names)

    def _names(self) -> list[str]:
        with self._database.reading() as txn:
            return [name.decode("ascii") for name, _ in self._tables.items(txn)]

    # -- in a transaction of the caller's, who holds the lock --------------------------------------------------------------------------------

    def add(self, txn: Transaction, entries: Iterator[bytes]) -> None:
        """Write the entries of chunks to new tables that count."""
        for name in self.chunks.write(entries):
            self._tables.put(txn, name.encode("ascii"), b"")

    def revive(self, txn: Transaction, placed: FrameSet) -> None:
        """These frames have a place now, whether or not they had lost the one before."""
        dead = self._dead_frames(txn)
        if dead & placed:
            self._database.meta.put(txn, _DEAD, (dead - placed).serialize())

    def bury(self, txn: Transaction, lost: FrameSet, left: int) -> None:
        """Note frames that have no place any more, beside so many that are ``left``. Once many are dead, they are taken out of the tables."""
        if not lost:
            return
        self._next_epoch(txn)
        dead = self._dead_frames(txn) | lost
        if len(dead) * _DEAD_SHARE > left:
            self._tables.clear(txn)
            self._tables.put(txn, self.chunks.write_without(dead).encode("ascii"), b"")
            dead = FrameSet()
        self._database.meta.put(txn, _DEAD, dead.serialize())

    def clear(self, txn: Transaction) -> None:
        """Begin anew without any chunk."""
        self._tables.clear(txn)
        self._database.meta.delete(txn, _DEAD)
        self._next_epoch(txn)

    def merge(self) -> bool:
        """Merge the tables that have to become one, if there are any. Writing it may take long, and is no part of the transaction."""
        outgrown = self.chunks.outgrown()
        if not outgrown or self._database.discard_writes:
            return False
        merged = self.chunks.merge(outgrown)
        with self._database.writing() as txn:
            for table in outgrown:
                self._tables.delete(txn, table.path.name.encode("ascii"))
            self._tables.put(txn, merged.encode("ascii"), b"")
        return True

    def _dead_frames(self, txn: Transaction) -> FrameSet:
        packed = self._database.meta.get(txn, _DEAD)
        return FrameSet.deserialize(packed) if packed is not None else FrameSet()

    def _epoch(self, txn: Transaction) -> int:
        return int(self._database.meta.get(txn, _EPOCH) or b"0")

    def _next_epoch(self, txn: Transaction) -> None:
        self._database.meta.put(txn, _EPOCH, b"%d" % (self._epoch(txn) + 1))
