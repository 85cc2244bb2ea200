"""The local state: what it takes in, what it forgets, and what it no longer believes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroaring import BitMap64

from seedcorn.errors import SeedcornError
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackKind
from seedcorn.format.tree import pack_content
from seedcorn.ids import ChunkId, HostId, PackId, RepositoryId, SessionId
from seedcorn.repo.state.listings import CachedListing
from seedcorn.repo.state.state import ChunkPlace, FrameSet, SessionRecord, State, frame_ordinal

REPOSITORY = RepositoryId(b"R" * 16)
ALPHA, BETA = HostId(b"a" * 16), HostId(b"b" * 16)
S1, S2 = SessionId(b"1" * 16), SessionId(b"2" * 16)
A, B, C = (ChunkId(letter * 24) for letter in (b"A", b"B", b"C"))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "state", REPOSITORY)
    yield opened
    opened.close()


def entry(pack: bytes, session: bytes, *frames: tuple[int, list[tuple[bytes, int]]], kind: PackKind = PackKind.DATA) -> PackEntry:
    entries = []
    offset = 100
    for seq, chunks in frames:
        raw_bytes = sum(length for _, length in chunks)
        entries.append(FrameEntry(session, seq, offset, raw_bytes + 41, raw_bytes, pack_content(chunks)))
        offset += raw_bytes + 41
    return PackEntry(pack * 32, kind, tuple(entries))


def row(session: bytes) -> KeyRow:
    return KeyRow(session, ALPHA, 1, b"sealed " + session)


def add(state: State, key: str, host: HostId, session: SessionId, *packs: PackEntry) -> None:
    state.add_segment(key, host, 0, [row(session)], packs)


def test_a_segment_is_taken_in(state: State) -> None:
    assert state.find(A) is None
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10), (B, 20)]), (1, [(C, 5)])))
    assert state.segments() == {"index/one"}
    assert state.has_chunks
    (number,) = state.sessions()
    assert state.session(number) == SessionRecord(S1, ALPHA, 0)
    assert state.sealed_key(number) == b"sealed " + S1
    assert state.find(B) == frame_ordinal(number, 0)
    assert state.copies(B) == [ChunkPlace(frame_ordinal(number, 0), 10, 20)]
    assert state.first_copies([A, C, b"?" * 24]) == {
        A: ChunkPlace(frame_ordinal(number, 0), 0, 10),
        C: ChunkPlace(frame_ordinal(number, 1), 0, 5),
    }
    place = state.frame_places([frame_ordinal(number, 1), 99 << 32])[frame_ordinal(number, 1)]
    assert (place.host, place.pack, place.offset, place.sealed_bytes, place.raw_bytes, place.kind) == (ALPHA, b"p" * 32, 171, 46, 5, 1)
    (pack,) = state.packs()
    assert (pack.host, pack.pack, list(pack.ordinals())) == (ALPHA, b"p" * 32, [frame_ordinal(number, 0), frame_ordinal(number, 1)])
    assert list(pack.sealed_bytes) == [frame_bytes for _, _, frame_bytes, _ in state.frames()]
    both = state.frame_places([frame_ordinal(number, 0), frame_ordinal(number, 1)])
    assert state.frame_places_between(frame_ordinal(number, 0), (number + 1) << 32) == both
    assert state.frame_places_between(frame_ordinal(number, 1), frame_ordinal(number, 9)) == {frame_ordinal(number, 1): place}
    assert state.frame_places_between(frame_ordinal(number, 0), frame_ordinal(number, 1)).keys() == {frame_ordinal(number, 0)}
    assert [ordinal & 0xFFFFFFFF for ordinal, _, _, _ in state.frames()] == [0, 1]


def test_a_segment_is_taken_in_once(state: State) -> None:
    for _ in range(2):
        add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    assert len(list(state.packs())) == 1
    assert len(state.copies(A)) == 1


def test_a_segment_that_nobody_could_open_lists_nothing_until_somebody_can(state: State) -> None:
    state.note_closed_segment("index/one", 3)
    state.note_closed_segment("index/two", 4)
    assert (state.segments(), state.segment_domains()) == (set(), {"index/one": 3, "index/two": 4})
    assert state.segment_packs() == {}
    state.add_segment("index/one", ALPHA, 3, [row(S1)], [entry(b"p", S1, (0, [(A, 10)]))])
    assert (state.segments(), state.segment_packs()) == ({"index/one"}, {"index/one": [(ALPHA, b"p" * 32)]})
    assert state.find(A) is not None
    state.note_closed_segment("index/one", 3)  # by a process that has looked before the other had loaded it
    assert state.segments() == {"index/one"}
    state.remove_segments(["index/two"])
    assert (state.segment_domains(), state.epoch) == ({"index/one": 3}, 0)
    state.remove_segments(["index/one"])
    assert (state.segment_domains(), state.find(A)) == ({}, None)


def test_copies_in_several_sessions_and_in_one_frame(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10), (B, 1), (A, 10)])))
    add(state, "index/two", BETA, S2, entry(b"q", S2, (7, [(C, 3), (A, 10)])))
    copies = state.copies(A)
    assert {(place.ordinal & 0xFFFFFFFF, place.offset) for place in copies} == {(0, 0), (0, 11), (7, 3)}
    assert state.copies(ChunkId(b"?" * 24)) == []


def test_trust_only_hides_the_copies_of_others(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10), (B, 10)])))
    add(state, "index/two", BETA, S2, entry(b"q", S2, (0, [(A, 10), (C, 10)])))
    numbers = {record.host: number for number, record in state.sessions().items()}
    state.trust_only(BETA)
    assert state.find(A) == frame_ordinal(numbers[BETA], 0)
    assert state.find(B) is None
    assert state.find(C) == frame_ordinal(numbers[BETA], 0)
    state.trust_only(ALPHA)
    assert state.find(A) == frame_ordinal(numbers[ALPHA], 0)
    assert state.find(C) is None
    assert len(state.copies(A)) == 2  # readers verify what they read, and may use any


def test_forget_index_begins_a_new_epoch_and_keeps_session_numbers(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    before = state.sessions()
    state.forget_index()
    assert state.epoch == 1
    assert state.segments() == set()
    assert state.find(A) is None
    assert state.find(A) is None
    assert list(state.packs()) == []
    assert list(state.frames()) == []
    assert state.sessions() == before  # ordinals in cached listings must keep their meaning


def cached(state: State, number: int, *ordinals: int) -> CachedListing:
    return CachedListing(state.epoch, number, 5, b"content", 0, BitMap64(ordinals).serialize(), 0, 0, 0)


def remember(state: State, **listings: CachedListing) -> None:
    cache = state.listings(0)
    for name, listing in listings.items():
        cache.put(name.encode(), listing)
    cache.finish()


def recall(state: State, key: bytes) -> CachedListing | None:
    return state.listings(0).get(key)


def test_a_listing_of_this_epoch_and_a_complete_session_is_believed(state: State) -> None:
    number = state.begin_session(SessionRecord(S1, ALPHA, 0), b"")
    state.complete_session(number)
    remember(state, dir=cached(state, number, frame_ordinal(number, 3)))
    assert recall(state, b"dir") is not None
    assert recall(state, b"other") is None
    cache = state.listings(0)
    cache.forget(b"dir")
    cache.finish()
    assert recall(state, b"dir") is None


def test_a_listing_of_another_epoch_counts_only_if_all_its_frames_are_indexed(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)]), (1, [(B, 10)])))
    (number,) = state.sessions()
    whole = cached(state, number, frame_ordinal(number, 0))
    remember(state, whole=whole, lost=cached(state, number, frame_ordinal(number, 0), frame_ordinal(number, 1)))
    state.forget_index()
    assert recall(state, b"whole") is None
    add(state, "index/two", ALPHA, S1, entry(b"q", S1, (0, [(A, 10)])))
    assert recall(state, b"whole") == whole
    assert recall(state, b"lost") is None


def test_a_listing_of_a_session_that_was_killed_is_checked_after_reopening(tmp_path: Path) -> None:
    state = State(tmp_path / "state", REPOSITORY)
    killed = state.begin_session(SessionRecord(S1, ALPHA, 0), b"sealed " + S1)
    ended = state.begin_session(SessionRecord(S2, ALPHA, 0), b"sealed " + S2)
    for name, number in (("killed", killed), ("ended", ended)):
        remember(state, **{name: cached(state, number, frame_ordinal(number, 0))})
    state.complete_session(ended)
    state.close()
    state = State(tmp_path / "state", REPOSITORY)
    assert recall(state, b"killed") is None
    assert recall(state, b"ended") is not None
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    assert recall(state, b"killed") is not None
    state.close()


def test_small_facts_and_objects(state: State) -> None:
    assert state.fact("heads") is None
    state.remember("heads", b"x")
    assert state.fact("heads") == b"x"
    state.cache_object("snapshots/x", b"data")
    assert state.cached_object("snapshots/x") == b"data"


def test_a_session_is_named_by_its_key_too(state: State) -> None:
    """A host may say two things of one: others may rely on what is listed under the other key."""
    state.add_segment("index/lie", ALPHA, 0, [KeyRow(S1, ALPHA, 1, b"another key")], [entry(b"q", S1, (0, [(C, 10)]))])
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    assert [record.session for record in state.sessions().values()] == [S1, S1]
    places = state.frame_places([state.find(A) or 0, state.find(C) or 0])
    assert {place.pack for place in places.values()} == {b"p" * 32, b"q" * 32}


def test_a_frame_keeps_the_first_place_that_was_listed(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    add(state, "index/two", ALPHA, S1, entry(b"q", S1, (0, [(B, 10)])))
    (number,) = state.sessions()
    assert state.frame_places([frame_ordinal(number, 0)])[frame_ordinal(number, 0)].pack == b"p" * 32


def test_nothing_is_kept_while_writes_are_discarded(state: State) -> None:
    state.discard_writes = True
    state.remember("heads", b"x")
    state.cache_object("snapshots/x", b"data")
    assert state.fact("heads") is None
    assert state.cached_object("snapshots/x") is None


def test_everything_survives_reopening_and_a_new_repository_begins_anew(tmp_path: Path) -> None:
    state = State(tmp_path / "state", REPOSITORY)
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    state.forget_index()
    add(state, "index/two", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    state.close()
    state = State(tmp_path / "state", REPOSITORY)
    assert (state.epoch, state.segments()) == (1, {"index/two"})
    assert state.find(A) is not None
    state.close()
    state = State(tmp_path / "state", RepositoryId(b"X" * 16))
    assert (state.epoch, state.segments()) == (0, set())
    assert state.find(A) is None
    state.close()


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SeedcornError, match="state directory"):
        State(tmp_path / "file" / "state", REPOSITORY)


@pytest.mark.parametrize("pages", [2, 5, 9])
def test_a_damaged_state_is_told_once_and_begun_anew(tmp_path: Path, pages: int) -> None:
    state = State(tmp_path / "state", REPOSITORY)
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    state.close()
    os.truncate(tmp_path / "state" / "index" / "data.mdb", 4096 * pages)
    with pytest.raises(SeedcornError, match="was damaged and has been emptied"):
        State(tmp_path / "state", REPOSITORY)
    state = State(tmp_path / "state", REPOSITORY)
    assert (state.segments(), state.find(A)) == (set(), None)
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    assert state.find(A) is not None
    state.close()


def test_opening_what_is_there_writes_nothing(tmp_path: Path) -> None:
    """A machine whose disk is full may still read."""
    seen = []
    for _ in range(3):
        state = State(tmp_path / "state", REPOSITORY)
        seen.append(state._database._env.info()["last_txnid"])
        state.close()
    assert seen[1] == seen[2]


def test_a_lock_that_can_not_be_had_is_named(state: State) -> None:
    (state.folder / "commit.lock").mkdir()
    with pytest.raises(SeedcornError, match="can not be written"), state.locked():
        pass


def test_the_traces_of_a_killed_reader_are_removed(state: State) -> None:
    open_and = f"""if True:
        import os
        from pathlib import Path
        from seedcorn.repo.state.state import State
        state = State(Path({str(state.folder)!r}), {REPOSITORY!r})
        reading = state._database._env.begin()
        os._exit(0)"""
    state.segments()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", open_and], check=True)
    assert len(state._database._env.readers().splitlines()) == 1 + 1  # a heading, and the last that was killed


def test_private_to_its_user(state: State) -> None:
    assert state.folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state.folder / "index").iterdir())


def test_what_only_a_gone_segment_listed_is_gone(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])), entry(b"q", S1, (1, [(B, 10)])))
    number = next(iter(state.sessions()))
    add(state, "index/merged", ALPHA, S1, entry(b"q", S1, (1, [(B, 10)])))  # as a maintainer rewrites it
    state.remove_segments(["index/one"])
    assert state.segments() == {"index/merged"}
    assert state.find(A) is None
    assert state.copies(A) == []
    assert state.first_copies([A, B]).keys() == {B}
    assert state.find(B) == frame_ordinal(number, 1)
    assert [pack.pack for pack in state.packs()] == [b"q" * 32]
    assert state.epoch == 1


def test_a_segment_that_was_only_rewritten_costs_nothing(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    add(state, "index/two", ALPHA, S1, entry(b"q", S1, (1, [(B, 10)])))
    add(state, "index/merged", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])), entry(b"q", S1, (1, [(B, 10)])))
    state.remove_segments(["index/one", "index/two"])
    assert (state.epoch, len(list(state.packs())), len(state.copies(A))) == (0, 2, 1)
    assert None not in (state.find(A), state.find(B))


def test_a_dead_frame_comes_back_with_its_pack(state: State) -> None:
    many = [entry(bytes([n]), S1, (n, [(ChunkId(bytes([n]) * 24), 10)])) for n in range(10)]
    add(state, "index/one", ALPHA, S1, *many)
    add(state, "index/two", ALPHA, S1, entry(b"p", S1, (77, [(A, 10)])))
    state.remove_segments(["index/two"])
    assert state.find(A) is None
    add(state, "index/again", ALPHA, S1, entry(b"p", S1, (77, [(A, 10)])))
    assert state.find(A) is not None
    assert len(state.copies(A)) == 1


def test_numbers_of_packs_are_not_used_twice_at_once(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    add(state, "index/both", ALPHA, S1, entry(b"q", S1, (1, [(B, 10)])))
    state.remove_segments(["index/one"])
    add(state, "index/two", ALPHA, S1, entry(b"r", S1, (2, [(C, 10)])))
    (number,) = state.sessions()
    places = state.frame_places([frame_ordinal(number, 1), frame_ordinal(number, 2)])
    assert [place.pack for place in places.values()] == [b"q" * 32, b"r" * 32]


def test_what_is_avoided_is_not_found_unless_it_lies_elsewhere_too(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)]), (1, [(B, 10)])))
    add(state, "index/two", ALPHA, S1, entry(b"q", S1, (1, [(B, 10)])))
    (number,) = state.sessions()
    state.avoid({(ALPHA, PackId(b"p" * 32))})
    assert state.find(A) is None
    assert state.find(B) == frame_ordinal(number, 1)
    assert state.outside({(ALPHA, PackId(b"p" * 32))}) == FrameSet([frame_ordinal(number, 1)])
    assert state.outside({(ALPHA, PackId(b"p" * 32)), (ALPHA, PackId(b"q" * 32))}) == FrameSet()
    assert state.outside(set()) == FrameSet([frame_ordinal(number, 0), frame_ordinal(number, 1)])
    state.avoid(set())
    assert state.find(A) is not None


def test_packs_of_others_that_are_believed_are_found(state: State) -> None:
    add(state, "index/one", ALPHA, S1, entry(b"p", S1, (0, [(A, 10)])))
    add(state, "index/two", BETA, S2, entry(b"q", S2, (0, [(B, 10)])), entry(b"r", S2, (1, [(C, 10)])))
    state.trust_only(ALPHA, lambda pack: pack.pack == b"q" * 32)
    assert None not in (state.find(A), state.find(B))
    assert state.find(C) is None


def test_a_second_list_of_a_frame_makes_the_verified_one_doubtful(state: State) -> None:
    """A lying host has a pack verified, and then says that the same frame holds a chunk that others will want."""
    add(state, "index/one", BETA, S2, entry(b"q", S2, (0, [(B, 10)])))
    add(state, "index/two", BETA, S2, entry(b"r", S2, (0, [(A, 10)])))
    state.trust_only(ALPHA, lambda pack: pack.pack == b"q" * 32)
    assert (state.find(A), state.find(B)) == (None, None)
