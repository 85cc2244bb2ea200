"""The chunk index of one state directory: its tables together, as one thing to look up in. When to merge them is decided here.

Knows the folder and not the list of the tables that count: that is the state's, which changes it in the transaction that makes their frames known.
A file that is not in that list is nothing, whoever left it. Invariant: every table is at least four times as large as all smaller ones together, so
there are few, and what has been added is rewritten a few times for each doubling.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from pyroaring import BitMap64

from seedcorn.crypto.primitives import random_bytes
from seedcorn.repo.state.chunk_table import (
    BLOCK_ENTRIES,
    ChunkPlace,
    ChunkTable,
    distinct,
    entry_ordinal,
    merge_tables,
    write_table,
)

__all__ = ["ChunkIndex"]

_RATIO = 4  # fewer tables to look up in, or less to rewrite: ADR 0003
_NEW_TABLE_ENTRIES = 1 << 16  # sorted in memory, about 90 bytes each


class ChunkIndex:
    """The open tables in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: tuple[ChunkTable, ...] = ()  # by size; replaced as a whole, since other threads may be looking up

    def __len__(self) -> int:
        """How many entries there are."""
        return sum(table.count for table in self._tables)

    def use(self, names: Collection[str]) -> None:
        """Look up in these tables from now on, and in no others.

        Raises:
            FileNotFoundError: one is not there.
            DamagedTableError: one is not as it was written.
        """
        open_already = {table.path.name: table for table in self._tables}
        if open_already.keys() == set(names):
            return
        tables = (open_already.get(name) or ChunkTable(self._folder / name) for name in names)
        self._tables = tuple(sorted(tables, key=lambda table: table.count))

    # -- looking up --------------------------------------------------------------------------------------------------------------------------

    def find(self, chunk_id: bytes) -> int | None:
        """The ordinal of a frame that holds the chunk; None if there is none.

        Raises:
            DamagedTableError: as all that looks up.
        """
        prefix = int.from_bytes(chunk_id[:3], "big")
        for table in self._tables:
            if table.prefixes is not None and prefix not in table.prefixes:
                continue
            ordinal = table.find(chunk_id)
            if ordinal is not None:
                return ordinal
        return None

    def copies(self, chunk_id: bytes) -> Iterator[ChunkPlace]:
        """Every copy of the chunk; one that was listed twice may come twice."""
        for table in self._tables:
            yield from table.copies(chunk_id)

    def first_copies(self, chunk_ids: Iterable[bytes]) -> dict[bytes, ChunkPlace]:
        """One copy of each chunk that has any. Sorted, so that each table is read from its begin to its end."""
        found: dict[bytes, ChunkPlace] = {}
        missing = sorted(set(chunk_ids))
        for table in reversed(self._tables):
            for chunk_id in missing:
                place = next(table.copies(chunk_id), None)
                if place is not None:
                    found[chunk_id] = place
            missing = [chunk_id for chunk_id in missing if chunk_id not in found]
        return found

    # -- changing ----------------------------------------------------------------------------------------------------------------------------

    def write(self, entries: Iterator[bytes]) -> Iterator[str]:
        """Write entries, in any order and any number, to new tables; yields the name of each."""
        while batch := list(islice(entries, _NEW_TABLE_ENTRIES)):
            batch.sort()
            batch = distinct(batch)
            yield self._write((batch[at : at + BLOCK_ENTRIES] for at in range(0, len(batch), BLOCK_ENTRIES)), len(batch))

    def outgrown(self) -> Sequence[ChunkTable]:
        """The tables that have to become one."""
        count = smaller = 0
        for position, table in enumerate(self._tables):
            if position and table.count < _RATIO * smaller:
                count = position + 1
            smaller += table.count
        return self._tables[:count]

    def merge(self, tables: Sequence[ChunkTable]) -> str:
        """Write what these tables hold to a new one; its name."""
        return self._write(merge_tables(tables), sum(table.count for table in tables))

    def write_without(self, lost: BitMap64) -> str:
        """Write all but the entries with these ordinals to a new table; its name."""
        kept = ([entry for entry in block if entry_ordinal(entry) not in lost] for block in merge_tables(self._tables))
        return self._write(filter(None, kept), len(self))

    def _write(self, blocks: Iterable[list[bytes]], most: int) -> str:
        name = random_bytes(8).hex()
        write_table(self._folder / name, blocks, most)
        return name

    def sweep(self, names: Iterable[str]) -> None:
        """Remove every file but these tables."""
        for path in set(self._folder.iterdir()) - {self._folder / name for name in names}:
            path.unlink(missing_ok=True)
