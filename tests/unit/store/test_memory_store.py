"""The times of the memory store; all else is in the contract."""

from __future__ import annotations

from seedcorn.testing.memory_store import MemoryStore


def test_times_come_from_the_given_clock() -> None:
    store = MemoryStore(now_ns=iter([50, 70]).__next__)
    store.put("one", b"1")
    store.put("one", b"1")  # again the same: its time stays
    store.put("two", b"2")
    assert [info.modified_ns for info in store.list("")] == [50, 70]


def test_without_a_clock_each_put_is_a_second_later() -> None:
    store = MemoryStore()
    store.put("one", b"1")
    store.put("two", b"2")
    assert [info.modified_ns // 10**9 for info in store.list("")] == [1, 2]
