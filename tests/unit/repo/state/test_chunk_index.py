"""The tables of a chunk index together: against a model, and how many tables there get to be."""

from __future__ import annotations

import random
import struct
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pyroaring import BitMap64

from seedcorn.repo.state import chunk_index, chunk_table
from seedcorn.repo.state.chunk_index import ChunkIndex
from seedcorn.repo.state.chunk_table import ChunkPlace, DamagedTableError, pack_entry


def add(index: ChunkIndex, names: set[str], copies: list[tuple[bytes, int]]) -> None:
    names.update(index.write(pack_entry(chunk_id, ordinal, 1, 2) for chunk_id, ordinal in copies))
    index.use(names)


def merge(index: ChunkIndex, names: set[str]) -> None:
    outgrown = index.outgrown()
    if outgrown:
        names.difference_update(table.path.name for table in outgrown)
        names.add(index.merge(outgrown))
        index.use(names)


def test_an_empty_index(tmp_path: Path) -> None:
    index = ChunkIndex(tmp_path)
    assert (len(index), index.find(b"x" * 24), list(index.copies(b"x" * 24)), index.first_copies([b"x" * 24])) == (0, None, [], {})
    assert list(index.write(iter(()))) == []
    assert list(index.outgrown()) == []


def test_there_are_few_tables_and_little_is_rewritten(tmp_path: Path) -> None:
    index, names, source = ChunkIndex(tmp_path), set[str](), random.Random(1)
    most = written = 0
    for _ in range(150):
        add(index, names, [(source.randbytes(24), 1) for _ in range(source.randrange(1, 60))])
        written += sum(table.count for table in index.outgrown())
        merge(index, names)
        counts = [table.count for table in index._tables]
        assert all(count >= 4 * sum(counts[:n]) for n, count in enumerate(counts))
        most = max(most, len(counts))
    assert most <= 6
    assert written < 15 * len(index)


def test_a_large_addition_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_index, "_NEW_TABLE_ENTRIES", 100)
    index, names = ChunkIndex(tmp_path), set[str]()
    copies = [(random.Random(n).randbytes(24), n) for n in range(950)]
    add(index, names, copies)
    assert len(names) == 10
    merge(index, names)
    assert [table.count for table in index._tables] == [950]
    assert [index.find(chunk_id) for chunk_id, _ in copies] == list(range(950))


def test_chunks_that_are_new_are_not_looked_up_in_small_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_table, "_FILTERED_ENTRIES", 100)
    index, names = ChunkIndex(tmp_path), set[str]()
    for n, count in enumerate((2000, 60, 40, 30)):
        add(index, names, [(random.Random(100 * n + m).randbytes(24), n) for m in range(count)])
    assert [table.count for table in index._tables if table.prefixes is None] == [2000]
    asked: list[int] = []
    find = chunk_table.ChunkTable.find

    def noted(table: chunk_table.ChunkTable, chunk_id: bytes) -> int | None:
        asked.append(table.count)
        return find(table, chunk_id)

    monkeypatch.setattr(chunk_table.ChunkTable, "find", noted)
    for n in range(500):
        assert index.find(b"new" + random.Random(n).randbytes(21)) is None
    assert asked == [2000] * 500
    del asked[:]
    assert index.find(random.Random(201).randbytes(24)) == 2
    assert asked == [40]


def test_tables_that_do_not_count_are_swept(tmp_path: Path) -> None:
    index, names = ChunkIndex(tmp_path), set[str]()
    add(index, names, [(b"a" * 24, 1)])
    list(index.write(iter([pack_entry(b"b" * 24, 1, 0, 1)])))
    (tmp_path / "0123456789abcdef").write_bytes(b"half a table")
    index.sweep(names)
    assert {path.name for path in tmp_path.iterdir()} == names
    assert index.find(b"a" * 24) == 1


def test_use_says_what_is_missing_and_stays_as_it_was(tmp_path: Path) -> None:
    index, names = ChunkIndex(tmp_path), set[str]()
    add(index, names, [(b"a" * 24, 1)])
    with pytest.raises(FileNotFoundError):
        index.use([*names, "gone"])
    (tmp_path / "bad").write_bytes(b"x" * 100)
    with pytest.raises(DamagedTableError):
        index.use(["bad"])
    assert index.find(b"a" * 24) == 1


# Few ids, close together, so that they meet in blocks, buckets and tables.
IDS = st.builds(lambda head, tail: head + tail * 20, st.sampled_from([b"\0\0\0\0", b"same", b"\xff\xff\xff\xff"]), st.binary(min_size=1, max_size=1))
COPIES = st.lists(st.tuples(IDS, st.integers(0, 5)), max_size=40)


class IndexMachine(RuleBasedStateMachine):
    """An index against a dict of sets, with blocks, reads and tables small enough to have many of them."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(chunk_table, "_READ_ENTRIES", 4)
        self.patch.setattr(chunk_table, "_BUCKET_ENTRIES", 2)
        self.patch.setattr(chunk_table, "BLOCK_ENTRIES", 3)
        self.patch.setattr(chunk_table, "_BLOCK", struct.Struct("40s40s40s"))
        self.patch.setattr(chunk_index, "BLOCK_ENTRIES", 3)
        self.patch.setattr(chunk_index, "_NEW_TABLE_ENTRIES", 16)
        self.patch.setattr(chunk_table, "_FILTERED_ENTRIES", 24)
        self.names: set[str] = set()
        self.model: dict[bytes, set[int]] = defaultdict(set)
        self.index = ChunkIndex(Path(self.folder.name))

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()
            self.folder.cleanup()

    @rule(copies=COPIES)
    def add(self, copies: list[tuple[bytes, int]]) -> None:
        add(self.index, self.names, copies)
        for chunk_id, ordinal in copies:
            self.model[chunk_id].add(ordinal)

    @rule()
    def merge(self) -> None:
        merge(self.index, self.names)

    @rule(lost=st.sets(st.integers(0, 5), max_size=2))
    def forget(self, lost: set[int]) -> None:
        self.names = {self.index.write_without(BitMap64(lost))}
        self.index.use(self.names)
        for ordinals in self.model.values():
            ordinals -= lost

    @rule()
    def sweep_and_reopen(self) -> None:
        self.index.sweep(self.names)
        self.index = ChunkIndex(Path(self.folder.name))
        self.index.use(self.names)

    @rule(chunk_id=IDS)
    def look_up(self, chunk_id: bytes) -> None:
        self.agree(chunk_id)

    @invariant()
    def all_is_found(self) -> None:
        for chunk_id in getattr(self, "model", ()):
            self.agree(chunk_id)

    def agree(self, chunk_id: bytes) -> None:
        expected = self.model.get(chunk_id, set())
        assert set(self.index.copies(chunk_id)) == {ChunkPlace(ordinal, 1, 2) for ordinal in expected}
        found = self.index.find(chunk_id)
        assert found in expected if expected else found is None
        first = self.index.first_copies([chunk_id, chunk_id]).get(chunk_id)
        assert first is not None and first.ordinal in expected if expected else first is None


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
