"""Chunk tables: what is found in them, merging, and that damage is never an answer."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from seedcorn.repo.state import chunk_table
from seedcorn.repo.state.chunk_table import ChunkPlace, ChunkTable, DamagedTableError, distinct, entry_ordinal, merge_tables, pack_entry, write_table

Copy = tuple[bytes, int, int, int]


def ids(count: int, *, seed: int = 1, begin: bytes = b"") -> list[bytes]:
    source = random.Random(seed)
    return [begin + source.randbytes(24 - len(begin)) for _ in range(count)]


def table(path: Path, copies: Iterable[Copy], *, block_entries: int = 1000) -> ChunkTable:
    entries = distinct(sorted(pack_entry(*copy) for copy in copies))
    write_table(path, (entries[at : at + block_entries] for at in range(0, len(entries), block_entries)), len(entries))
    return ChunkTable(path)


def all_entries(opened: ChunkTable) -> list[bytes]:
    return [entry for block in opened.blocks() for entry in block]


class CountedReads:
    """Stands for ``os.pread`` and remembers how much was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths: list[int] = []
        pread = os.pread

        def counted(descriptor: int, length: int, offset: int) -> bytes:
            self.lengths.append(length)
            return pread(descriptor, length, offset)

        monkeypatch.setattr(os, "pread", counted)


def test_an_empty_table(tmp_path: Path) -> None:
    empty = table(tmp_path / "t", [])
    assert (empty.count, empty.find(b"x" * 24), list(empty.copies(b"x" * 24)), list(empty.blocks()), empty.prefixes) == (0, None, [], [], None)


def test_one_entry_with_the_largest_numbers(tmp_path: Path) -> None:
    for chunk_id in (bytes(24), b"\xff" * 24):
        one = table(tmp_path / chunk_id.hex(), [(chunk_id, (1 << 64) - 1, (1 << 24) - 1, (1 << 24) - 1)])
        assert one.find(chunk_id) == (1 << 64) - 1
        assert list(one.copies(chunk_id)) == [ChunkPlace((1 << 64) - 1, (1 << 24) - 1, (1 << 24) - 1)]
        assert one.find(b"\x7f" * 24) is None
        assert entry_ordinal(all_entries(one)[0]) == (1 << 64) - 1


@pytest.mark.parametrize("count", [2, 47, 48, 4096, 20_000])
def test_every_entry_is_found_and_no_other(tmp_path: Path, count: int) -> None:
    known = ids(count)
    opened = table(tmp_path / "t", ((chunk_id, n, n % 7, n % 5) for n, chunk_id in enumerate(known)))
    assert opened.count == count
    assert [opened.find(chunk_id) for chunk_id in known] == list(range(count))
    assert [list(opened.copies(chunk_id)) for chunk_id in known[:100]] == [[ChunkPlace(n, n % 7, n % 5)] for n in range(min(count, 100))]
    assert {opened.find(chunk_id) for chunk_id in ids(1000, seed=2)} == {None}
    prefixes = opened.prefixes
    assert prefixes is not None
    assert set(prefixes) == {int.from_bytes(chunk_id[:3], "big") for chunk_id in known}


def test_a_lookup_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ids(50_000)
    opened = table(tmp_path / "t", ((chunk_id, 1, 0, 1) for chunk_id in known))
    reads = CountedReads(monkeypatch)
    for chunk_id in known[:1000]:
        opened.find(chunk_id)
    assert len(reads.lengths) == 1000
    assert max(reads.lengths) < 4096


def test_ids_that_somebody_chose_cost_a_binary_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ids(100_000, begin=b"same") + ids(1000, seed=3)
    opened = table(tmp_path / "t", ((chunk_id, n, 0, 1) for n, chunk_id in enumerate(known)))
    reads = CountedReads(monkeypatch)
    sample = random.Random(4).sample(range(len(known)), 300)
    assert [opened.find(known[n]) for n in sample] == sample
    assert {opened.find(chunk_id) for chunk_id in ids(300, seed=5, begin=b"same")} == {None}
    assert {opened.find(chunk_id) for chunk_id in (b"same".ljust(24, b"\0"), b"same".ljust(24, b"\xff"))} == {None}
    assert max(reads.lengths) <= 513 * 40
    assert len(reads.lengths) < 602 * 12


@pytest.mark.parametrize("copies", [511, 512, 513, 5000])
def test_many_copies_of_one_chunk(tmp_path: Path, copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk_id, low, high = b"m" * 24, b"m" * 23 + b"l", b"m" * 23 + b"n"
    opened = table(tmp_path / "t", [*((chunk_id, n, 3, 4) for n in range(copies)), (low, 1, 0, 1), (high, 2, 0, 1)])
    reads = CountedReads(monkeypatch)
    assert {place.ordinal for place in opened.copies(chunk_id)} == set(range(copies))
    assert sum(1 for _ in opened.copies(chunk_id)) == copies
    assert opened.find(chunk_id) in range(copies)
    assert (opened.find(low), opened.find(high)) == (1, 2)
    assert max(reads.lengths) <= 513 * 40


def test_an_id_that_stands_across_two_entries_is_not_found(tmp_path: Path) -> None:
    first = pack_entry(b"a" * 24, 7, 1, 1)
    second = pack_entry(b"a" * 23 + b"b", 8, 1, 1)
    across = (first + second)[20:44]
    opened = table(tmp_path / "t", [(b"a" * 24, 7, 1, 1), (b"a" * 23 + b"b", 8, 1, 1)])
    assert opened.find(across) is None
    assert list(opened.copies(across)) == []
    both = table(tmp_path / "u", [(b"a" * 24, 7, 1, 1), (b"a" * 23 + b"b", 8, 1, 1), (across, 9, 1, 1)])
    assert both.find(across) == 9


def merged(path: Path, tables: Sequence[ChunkTable]) -> ChunkTable:
    write_table(path, merge_tables(tables), sum(table.count for table in tables))
    return ChunkTable(path)


def test_merging_keeps_every_copy_once(tmp_path: Path) -> None:
    shared, own = ids(3000), ids(9000, seed=2)
    parts = [
        [(chunk_id, 1, 0, 1) for chunk_id in shared] + [(chunk_id, 1, 0, 1) for chunk_id in own],
        [(chunk_id, 1, 0, 1) for chunk_id in shared[:2000]] + [(chunk_id, 2, 0, 1) for chunk_id in shared],
        [],
        [(b"\xff" * 24, 3, 0, 1)],
    ]
    whole = merged(tmp_path / "all", [table(tmp_path / str(n), part) for n, part in enumerate(parts)])
    assert all_entries(whole) == sorted({pack_entry(*copy) for part in parts for copy in part})
    assert {place.ordinal for place in whole.copies(shared[0])} == {1, 2}
    assert [whole.find(chunk_id) for chunk_id in own] == [1] * len(own)
    assert whole.find(b"\xff" * 24) == 3


def test_merging_tables_of_one_prefix_needs_no_more_memory(tmp_path: Path) -> None:
    tables = [table(tmp_path / str(n), ((chunk_id, n, 0, 1) for chunk_id in ids(20_000, seed=n, begin=b"same"))) for n in range(3)]
    assert max(len(block) for block in merge_tables(tables)) <= 3 * chunk_table.BLOCK_ENTRIES
    assert merged(tmp_path / "all", tables).count == 60_000


def test_a_large_table_has_no_set_of_prefixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_table, "_FILTERED_ENTRIES", 99)
    assert table(tmp_path / "small", ((chunk_id, 1, 0, 1) for chunk_id in ids(99))).prefixes is not None
    assert table(tmp_path / "large", ((chunk_id, 1, 0, 1) for chunk_id in ids(100))).prefixes is None


def test_a_table_is_private_and_never_replaced(tmp_path: Path) -> None:
    opened = table(tmp_path / "t", [(b"a" * 24, 1, 0, 1)])
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        table(tmp_path / "t", [])
    (tmp_path / "t").unlink()
    assert opened.find(b"a" * 24) == 1  # whoever has it open goes on


def test_no_damaged_byte_is_an_answer(tmp_path: Path) -> None:
    """Each bit of a small file: an error, or a chunk that is not found, which is only stored again; never another place."""
    known = ids(3)
    path = tmp_path / "t"
    truth = {chunk_id: n for n, chunk_id in enumerate(known)}
    table(path, ((chunk_id, n, 5, 6) for chunk_id, n in truth.items()))
    whole = path.read_bytes()
    missed = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            damaged = ChunkTable(path)
            for chunk_id, n in truth.items():
                copies = list(damaged.copies(chunk_id))
                assert copies in ([ChunkPlace(n, 5, 6)], [])
                missed += not copies
        except DamagedTableError:
            continue
    assert missed == 3 * 24


@pytest.mark.parametrize("length", [0, 1, 40, 4000, -37, -1])
def test_a_truncated_table_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "t"
    table(path, ((chunk_id, 1, 0, 1) for chunk_id in ids(1000)))
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    with pytest.raises(DamagedTableError):
        ChunkTable(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedTableError):
        ChunkTable(path)


def test_a_table_that_is_cut_short_or_can_not_be_read_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = sorted(ids(1000))
    opened = table(tmp_path / "t", ((chunk_id, 1, 0, 1) for chunk_id in known))
    os.truncate(tmp_path / "t", 100)
    with pytest.raises(DamagedTableError, match="cut short"):
        opened.find(known[-1])
    with pytest.raises(DamagedTableError, match="cut short"):
        list(opened.blocks())

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(DamagedTableError, match="Input/output error"):
        opened.find(known[0])
