"""The cache of listings: in parts, consistent whatever is written meanwhile, and without leftovers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seedcorn.format.tree import Kind, Node, encode_nodes
from seedcorn.ids import HostId, RepositoryId, SessionId
from seedcorn.repo.state import listings
from seedcorn.repo.state.listings import CachedListing, CachedPart
from seedcorn.repo.state.state import FrameSet, SessionRecord, State

ALPHA = HostId(b"a" * 16)
KEY, OTHER = b"k" * 16, b"o" * 16


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "state", RepositoryId(b"R" * 16))
    yield opened
    opened.close()


def session(state: State, letter: bytes) -> int:
    number = state.begin_session(SessionRecord(SessionId(letter * 16), ALPHA, 0), b"")
    state.complete_session(number)
    return number


def nodes(*names: bytes) -> list[Node]:
    return [Node(name, Kind.FIFO, 0o600, 0, 0, 1, 1, 1, 1, 0) for name in names]


def write(state: State, key: bytes, number: int, *parts: list[Node], head: bool = True) -> None:
    cache = state.listings(0)
    for at, part in enumerate(parts):
        cache.put_part(key, number, at, CachedPart((encode_nodes(part),)))
    if head:
        cache.put(key, CachedListing(state.epoch, number, 5, b"", 0, FrameSet().serialize(), len(parts), sum(map(len, parts)), 0))
    cache.finish()


def names(state: State, key: bytes) -> list[bytes]:
    cache = state.listings(0)
    found = cache.get(key)
    return [node.name for node in cache.nodes(key, found)] if found is not None else []


def test_each_domain_has_its_own(state: State) -> None:
    """What was stored in one is of no use in another, also on a machine with hosts of both, and neither loses its memory by the other."""
    write(state, KEY, session(state, b"1"), nodes(b"a"))
    other = state.listings(1)
    assert other.get(KEY) is None
    other.put_part(KEY, 7, 0, CachedPart((encode_nodes(nodes(b"b")),)))
    other.put(KEY, CachedListing(state.epoch, 7, 5, b"", 0, FrameSet().serialize(), 1, 1, 0))
    other.forget(OTHER)
    other.finish()
    assert names(state, KEY) == [b"a"]
    cache = state.listings(1)
    found = cache.get(KEY)
    assert found is not None and [node.name for node in cache.nodes(KEY, found)] == [b"b"]
    cache.close()
    state.forget_listings()
    assert (names(state, KEY), state.listings(1).get(KEY), _entries(state)) == ([], None, 0)


def _entries(state: State) -> int:
    """How many parts there are, wanted or not."""
    with state._database.reading() as txn:
        return state._parts.count(txn)


def test_parts_come_back_in_order(state: State) -> None:
    number = session(state, b"1")
    write(state, KEY, number, nodes(b"a", b"b"), nodes(b"c"))
    write(state, OTHER, number, nodes(b"x"))
    assert names(state, KEY) == [b"a", b"b", b"c"]
    assert names(state, OTHER) == [b"x"]


def test_a_new_head_takes_the_parts_of_older_sessions_with_it(state: State) -> None:
    first, second = session(state, b"1"), session(state, b"2")
    write(state, KEY, first, *(nodes(b"%03d" % n) for n in range(300)))
    write(state, OTHER, first, nodes(b"x"))
    write(state, KEY, second, nodes(b"new"))
    assert names(state, KEY) == [b"new"]
    assert _entries(state) == 2


def test_parts_of_a_killed_run_are_never_met_and_go_with_the_next_head(state: State) -> None:
    first, killed, third = session(state, b"1"), session(state, b"2"), session(state, b"3")
    write(state, KEY, first, nodes(b"a"), nodes(b"b"))
    write(state, KEY, killed, nodes(b"half"), head=False)
    assert names(state, KEY) == [b"a", b"b"]
    write(state, KEY, third, nodes(b"c"))
    assert names(state, KEY) == [b"c"]
    assert _entries(state) == 1


def test_what_another_process_writes_meanwhile_is_not_seen(state: State) -> None:
    first, second = session(state, b"1"), session(state, b"2")
    write(state, KEY, first, nodes(b"a"), nodes(b"b"))
    cache = state.listings(0)
    found = cache.get(KEY)
    assert found is not None
    reading = cache.nodes(KEY, found)
    assert next(reading).name == b"a"
    write(state, KEY, second, nodes(b"new"))
    assert [node.name for node in reading] == [b"b"]
    cache.close()
    assert names(state, KEY) == [b"new"]


def test_forgetting_takes_everything(state: State) -> None:
    number = session(state, b"1")
    write(state, KEY, number, nodes(b"a"), nodes(b"b"))
    cache = state.listings(0)
    cache.forget(KEY)
    cache.finish()
    assert names(state, KEY) == []
    assert _entries(state) == 0


def test_writes_are_collected_up_to_a_limit(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "_FLUSH_BYTES", 5_000)
    number = session(state, b"1")
    cache = state.listings(0)
    cache.put_part(KEY, number, 0, CachedPart((b"x" * 1000,)))
    assert _entries(state) == 0
    cache.put_part(KEY, number, 1, CachedPart((b"x" * 5000,)))
    assert _entries(state) == 2
    cache.put_part(KEY, number, 2, CachedPart((b"x",)))
    cache.close()  # gives up what is not written
    assert _entries(state) == 2
