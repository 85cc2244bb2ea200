"""The wrappers pass on what they should and hold back what they must."""

from __future__ import annotations

import pytest

from seedcorn.errors import AccessDeniedError, ObjectNotFoundError, StoreError
from seedcorn.store.api import Store
from seedcorn.store.wrappers import AppendOnlyStore, Call, DryRunStore, RecordingStore
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.store_contract import StoreContract


class TestRecordingStoreAsStore(StoreContract):
    large_bytes = 1 << 20

    @pytest.fixture
    def store(self) -> Store:
        return RecordingStore(MemoryStore())


def test_a_recording_tells_verb_key_and_bytes() -> None:
    store = RecordingStore(MemoryStore())
    store.put("packs/1", memoryview(b"12345"))
    store.get("packs/1")
    store.get_range("packs/1", 1, 2)
    store.head("packs/1")
    list(store.list("packs/"))
    with pytest.raises(ObjectNotFoundError):
        store.get("packs/2")
    store.delete(["packs/1", "packs/2"])
    assert store.calls == [
        Call("put", "packs/1", 5),
        Call("get", "packs/1", 5),
        Call("get_range", "packs/1", 2),
        Call("head", "packs/1"),
        Call("list", "packs/"),
        Call("delete", "packs/1"),
        Call("delete", "packs/2"),
    ]


def test_an_append_only_store_deletes_nothing() -> None:
    inner = MemoryStore()
    store = AppendOnlyStore(inner)
    store.put("packs/1", b"1")
    with pytest.raises(AccessDeniedError, match="packs/1"):
        store.delete(["packs/1"])
    assert inner.objects == {"packs/1": b"1"}


def test_a_dry_run_counts_and_writes_nothing() -> None:
    inner = MemoryStore()
    inner.put("packs/1", b"1")
    store = DryRunStore(inner)
    store.put("packs/2", b"12")
    store.delete(["packs/1"])
    assert store.get("packs/1") == b"1"
    assert (store.requests.put, store.requests.put_bytes, store.requests.delete, store.requests.get) == (1, 2, 1, 1)
    assert inner.objects == {"packs/1": b"1"}
    with pytest.raises(StoreError):
        store.put("../packs", b"")
