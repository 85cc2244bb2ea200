"""The chunk index as the state keeps it: killed and damaged between any two steps, and changed by several processes at once."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from seedcorn.errors import SeedcornError
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackKind
from seedcorn.format.tree import pack_content
from seedcorn.ids import ChunkId, HostId, RepositoryId
from seedcorn.repo.state import chunk_index, chunk_table
from seedcorn.repo.state.state import State, frame_ordinal

REPOSITORY = RepositoryId(b"R" * 16)
HOST = HostId(b"h" * 16)
SESSION = b"s" * 16
CHUNKS = 20  # in a segment


def chunk(segment: int, n: int = 0) -> ChunkId:
    return ChunkId(bytes([segment]) * 12 + bytes([n]) * 12)


def add(state: State, segment: int, *, chunks_of: int | None = None) -> None:
    """Segment number n: one pack with one frame, number n."""
    of = segment if chunks_of is None else chunks_of
    records = pack_content([(chunk(of, n), 10) for n in range(CHUNKS)])
    frame = FrameEntry(SESSION, segment, 0, 300, 10 * CHUNKS, records)
    packs = [PackEntry(bytes([segment]) * 32, PackKind.DATA, (frame,))]
    state.add_segment(f"index/{segment}", HOST, 0, [KeyRow(SESSION, HOST, 1, b"sealed")], packs)


def tables(state: State) -> set[str]:
    return {path.name for path in (state.folder / "index" / "chunks").iterdir()}


def indexed(state: State, segment: int) -> bool:
    found = {state.find(chunk(segment, n)) for n in range(CHUNKS)}
    assert found in ({None}, {frame_ordinal(0, segment)})
    return found != {None}


def reopen(state: State) -> State:
    state.close()
    return State(state.folder, REPOSITORY)


def in_a_process(folder: Path, code: str) -> subprocess.Popen[bytes]:
    program = f"""
import os, sys
from pathlib import Path
from seedcorn.repo.state.chunk_index import ChunkIndex
from tests.unit.repo.state.test_state_index import *
state = State(Path({str(folder)!r}), REPOSITORY)
{code}
"""
    return subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[4])


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "state", REPOSITORY)
    yield opened
    opened.close()


def test_what_was_not_committed_is_not_found_and_its_file_is_removed(state: State) -> None:
    add(state, 1)
    before = tables(state)
    code = """
write = ChunkIndex.write
ChunkIndex.write = lambda self, entries: (os._exit(9) for name in write(self, entries))
add(state, 2)
"""
    assert in_a_process(state.folder, code).wait() == 9
    assert len(tables(state) - before) == 1
    reopened = reopen(state)
    assert tables(reopened) == before
    assert indexed(reopened, 1)
    assert not indexed(reopened, 2)
    assert reopened.segments() == {"index/1"}
    reopened.close()


def test_killed_while_merging(state: State) -> None:
    add(state, 1)
    code = """
merge = ChunkIndex.merge
ChunkIndex.merge = lambda self, tables: os._exit(9) if merge(self, tables) else None
add(state, 2)
"""
    assert in_a_process(state.folder, code).wait() == 9
    assert len(tables(state)) == 3
    reopened = reopen(state)
    assert len(tables(reopened)) == 2
    assert indexed(reopened, 1) and indexed(reopened, 2)
    add(reopened, 3)
    assert len(tables(reopened)) == 1
    assert all(indexed(reopened, n) for n in (1, 2, 3))
    reopened.close()


def test_files_stay_while_somebody_may_be_about_to_commit_them(state: State) -> None:
    stray = state.folder / "index" / "chunks" / "0123456789abcdef"
    stray.write_bytes(b"being written")
    with (state.folder / "index.lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = reopen(state)
        assert stray.exists()
    reopen(state).close()
    assert not stray.exists()


def test_several_processes_change_the_index_at_once(state: State) -> None:
    code = "[add(state, n) for n in range({0}, {0} + 40)]"
    processes = [in_a_process(state.folder, code.format(begin)) for begin in (0, 40, 80)]
    while any(process.poll() is None for process in processes):
        for key in state.segments():  # whatever was taken in is found from now on, while tables come and go
            assert indexed(state, int(key.removeprefix("index/")))
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert state.segments() == {f"index/{n}" for n in range(120)}
    assert all(indexed(state, n) for n in range(120))
    assert sum(1 for _ in state.packs()) == 120
    assert len(tables(state)) < 6


def test_threads_look_up_while_the_index_changes(state: State) -> None:
    add(state, 0)
    missing: list[ChunkId] = []
    ended = threading.Event()

    def look_up() -> None:
        while not ended.is_set():
            missing.extend(chunk(0, n) for n in range(CHUNKS) if len(state.copies(chunk(0, n))) != 1)

    thread = threading.Thread(target=look_up)
    thread.start()
    for n in range(1, 60):
        add(state, n)
    ended.set()
    thread.join()
    assert missing == []


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-10] + bytes([path.read_bytes()[-10] ^ 1]) + path.read_bytes()[-9:]),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_table_makes_the_index_begin_anew(state: State, damage: str) -> None:
    add(state, 1)
    (table,) = (state.folder / "index" / "chunks").iterdir()
    DAMAGE[damage](table)
    reopened = reopen(state)
    assert (reopened.segments(), reopened.epoch, reopened.has_chunks) == (set(), 1, False)
    assert not indexed(reopened, 1)
    assert tables(reopened) == set()
    add(reopened, 1)
    assert indexed(reopened, 1)
    reopened.close()


@pytest.mark.parametrize("look_up", ["find", "copies", "first_copies"])
def test_damage_met_while_looking_up_drops_the_index_and_says_so(state: State, look_up: str) -> None:
    add(state, 1)
    (table,) = (state.folder / "index" / "chunks").iterdir()
    data = bytearray(table.read_bytes())
    data[24] ^= 1  # the ordinal of the first entry
    table.write_bytes(data)
    with pytest.raises(SeedcornError, match="run the command again"):
        getattr(state, look_up)([chunk(1)] if look_up == "first_copies" else chunk(1))
    assert state.segments() == set()
    assert tables(state) == set()
    assert state.find(chunk(1)) is None


def test_damage_met_while_merging(state: State) -> None:
    add(state, 1)
    (table,) = (state.folder / "index" / "chunks").iterdir()
    table.write_bytes(table.read_bytes()[:100])
    with pytest.raises(SeedcornError, match="run the command again"):
        add(state, 2)
    assert state.segments() == set()
    assert tables(state) == set()


@pytest.mark.parametrize(("position", "bit", "is_noticed"), [(0, 1, False), (0, 128, True), (7, 1, True), (19, 1, True), (19, 128, False)])
def test_a_damaged_id_met_while_merging(state: State, position: int, bit: int, is_noticed: bool) -> None:
    """Out of its place it would lead astray who merges by order; in its place it only is a chunk that is not found."""
    add(state, 1)
    (table,) = (state.folder / "index" / "chunks").iterdir()
    data = bytearray(table.read_bytes())
    data[40 * position] ^= bit
    table.write_bytes(data)
    with pytest.raises(SeedcornError, match="run the command again") if is_noticed else nullcontext():
        add(state, 2)
    assert indexed(state, 2) is not is_noticed
    add(state, 2)
    assert indexed(state, 2)


def test_a_full_disk_is_named_and_leaves_nothing(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    add(state, 1)
    before = tables(state)
    write_table = chunk_table.write_table

    def fill_disk(path: Path, blocks: Iterator[list[bytes]], most: int) -> None:
        write_table(path, blocks, most)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(chunk_index, "write_table", fill_disk)
    with pytest.raises(SeedcornError, match="is its disk full"):
        add(state, 2)
    assert tables(state) == before
    assert state.segments() == {"index/1"}
    monkeypatch.undo()
    add(state, 2)
    assert indexed(state, 2)


def test_a_dry_run_leaves_no_table(state: State) -> None:
    add(state, 1)
    before = tables(state)
    state.discard_writes = True
    add(state, 2)
    assert tables(state) == before
    assert state.segments() == {"index/1"}
    assert not indexed(state, 2)


def test_packs_go_with_the_last_segment_that_lists_them(state: State) -> None:
    for n in (1, 2, 3):
        add(state, n)
    add(state, 4, chunks_of=1)
    assert {place.ordinal for place in state.copies(chunk(1))} == {frame_ordinal(0, 1), frame_ordinal(0, 4)}
    state.remove_segments(["index/1", "index/2"])
    assert state.epoch == 1
    assert [place.ordinal for place in state.copies(chunk(1))] == [frame_ordinal(0, 4)]
    assert not indexed(state, 2)
    assert indexed(state, 3)
    state.remove_segments(["index/3", "index/4"])
    assert not state.has_chunks
    add(state, 5)
    assert indexed(state, 5)


def test_a_segment_that_another_process_took_in_is_found(state: State) -> None:
    assert in_a_process(state.folder, "add(state, 1); add(state, 2)").wait() == 0
    add(state, 2)  # has it already
    assert indexed(state, 1)
    assert in_a_process(state.folder, "add(state, 3)").wait() == 0
    assert state.segments() == {"index/1", "index/2", "index/3"}
    assert indexed(state, 3)
