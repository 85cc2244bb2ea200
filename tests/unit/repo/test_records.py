"""repo/records.py: where the bytes of a small object come from, and which of them are believed and remembered."""

from __future__ import annotations

from functools import partial

import pytest

from seedcorn.errors import AccessDeniedError, IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Magic
from seedcorn.format.names import spare_key
from seedcorn.repo.records import fetch_spare, read_small
from seedcorn.repo.state.state import State
from seedcorn.store.api import ObjectInfo
from seedcorn.store.wrappers import RecordingStore, WrappedStore
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository

KEY, GOOD = "receipts/object", b"good"


def open_one(data: bytes) -> str:
    if data != GOOD:
        raise IntegrityError("is not good")
    return "opened"


def read(store: MemoryStore | WrappedStore, state: State | None = None) -> str:
    return read_small(store, state, ObjectInfo(KEY, 4, 0), Magic.RECEIPT, open_one)


@pytest.fixture
def state(repository: SmallRepository) -> State:
    return repository.new_state()


@pytest.fixture
def empty() -> MemoryStore:
    return MemoryStore()


def test_what_is_good_is_fetched_once(empty: MemoryStore, state: State) -> None:
    empty.put(KEY, GOOD)
    recording = RecordingStore(empty)
    assert [read(recording, state), read(recording, state)] == ["opened", "opened"]
    assert [(call.verb, call.key) for call in recording.calls] == [("get", KEY)]


def test_what_is_damaged_is_named_and_not_remembered(empty: MemoryStore, state: State) -> None:
    empty.put(KEY, b"bad")
    with pytest.raises(IntegrityError, match=rf"^{KEY}: is not good$"):
        read(empty, state)
    assert state.cached_object(KEY) is None


@pytest.mark.parametrize("size_bytes", [4, Magic.RECEIPT.limit_bytes + 1])
def test_the_spare_of_a_damaged_object_is_as_good_as_the_object(size_bytes: int, empty: MemoryStore, state: State) -> None:
    empty.put(KEY, b"bad")
    empty.put(spare_key(KEY), GOOD)
    assert read_small(empty, state, ObjectInfo(KEY, size_bytes, 0), Magic.RECEIPT, open_one) == "opened"
    assert state.cached_object(KEY) == GOOD


def test_a_spare_is_not_asked_for_as_long_as_the_object_is_good(empty: MemoryStore) -> None:
    empty.put(KEY, GOOD)
    empty.put(spare_key(KEY), b"bad")
    assert read(empty) == "opened"


def test_a_spare_stands_for_no_object_that_is_not_there(empty: MemoryStore) -> None:
    empty.put(spare_key(KEY), GOOD)
    with pytest.raises(ObjectNotFoundError):
        read(empty)


def test_of_two_damaged_ones_the_object_is_named(empty: MemoryStore) -> None:
    empty.put(KEY, b"bad")
    empty.put(spare_key(KEY), b"bad, too")
    with pytest.raises(IntegrityError, match=rf"^{KEY}: is not good$"):
        read(empty)


def test_a_spare_that_is_too_large_is_not_read(empty: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    empty.put(spare_key(KEY), GOOD)
    assert fetch_spare(empty, KEY, Magic.RECEIPT) == GOOD
    monkeypatch.setattr(Magic.RECEIPT, "limit_bytes", 3)
    assert fetch_spare(empty, KEY, Magic.RECEIPT) is None


class _Refusing(WrappedStore):
    """Does not tell a host whether there is a spare."""

    def head(self, key: str) -> ObjectInfo:
        raise AccessDeniedError("no", key=key)


def test_a_host_that_may_not_ask_for_spares_is_told_of_the_damage(empty: MemoryStore) -> None:
    empty.put(KEY, b"bad")
    with pytest.raises(IntegrityError, match="is not good"):
        read(_Refusing(empty))


def test_what_is_remembered_and_does_not_pass_any_more_is_not_fetched_again(empty: MemoryStore, state: State) -> None:
    """A host whose own record is damaged has signed nothing that can be judged, as long as this is so: that is no reason to fetch all of it."""
    empty.put(KEY, GOOD)
    read(empty, state)
    recording = RecordingStore(empty)
    with pytest.raises(IntegrityError, match=KEY):
        read_small(recording, state, ObjectInfo(KEY, 4, 0), Magic.RECEIPT, partial(_refuse, "its host is not known"))
    assert recording.calls == []


def _refuse(reason: str, _data: bytes) -> None:
    raise IntegrityError(reason)
