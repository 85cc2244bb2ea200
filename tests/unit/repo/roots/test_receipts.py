"""repo/roots/receipts.py: a receipt counts for the snapshot that its name and its host's signature say, and for no other."""

from __future__ import annotations

import pytest

from seedcorn.format.codec import Magic
from seedcorn.format.collection import Receipt, ReceiptState, SnapshotRef
from seedcorn.format.names import receipt_key
from seedcorn.ids import SnapshotId
from seedcorn.ops import access
from seedcorn.repo.records import build_record
from seedcorn.repo.roots.receipts import Receipts, build_receipt, read_receipts
from seedcorn.repo.state.state import State
from seedcorn.store.wrappers import WrappedStore
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import Machine, SmallRepository

ONE = SnapshotId(b"1" * 32)


def read(repository: SmallRepository, state: State | None = None, store: WrappedStore | None = None) -> Receipts:
    owner = repository.owner()
    return read_receipts(store or repository.store, state or repository.new_state(), owner.repository, access.registry(owner))


def ref(machine: Machine, seq: int) -> SnapshotRef:
    return SnapshotRef(machine.host_file.key.host, seq, ONE)


def test_receipts_and_void_records(repository: SmallRepository, store: MemoryStore) -> None:
    host = repository.first.repository
    for seq, void in ((1, False), (2, False), (2, True), (3, True)):
        store.put(*build_receipt(host, seq, ONE, void=void))
        store.put(*build_receipt(host, seq, ONE, void=void))  # the same bytes each time
    store.put("receipts/something", b"")
    found = read(repository)
    one, two, three, four = (ref(repository.first, seq) for seq in range(1, 5))
    assert found == Receipts(frozenset({one, two}), frozenset({two, three}))
    assert [found.confirms(snapshot) for snapshot in (one, two, three, four)] == [True, False, False, False]


@pytest.mark.parametrize(
    "harm", ["a void one as a receipt", "a receipt as a void one", "another number", "another snapshot", "another host", "signer", "cut"]
)
def test_a_receipt_in_the_place_of_another(harm: str, repository: SmallRepository, store: MemoryStore) -> None:
    host, other = repository.first.repository, repository.machine("beta").repository
    key = receipt_key(host.host, 2, ONE, void=harm == "a receipt as a void one")
    data = {
        "a void one as a receipt": build_receipt(host, 2, ONE, void=True),
        "a receipt as a void one": build_receipt(host, 2, ONE),
        "another number": build_receipt(host, 1, ONE),
        "another snapshot": build_receipt(host, 2, SnapshotId(b"2" * 32)),
        "another host": build_receipt(other, 2, ONE),
        "signer": ("", build_record(Magic.RECEIPT, Receipt(host.repository, host.host, 2, ONE, ReceiptState.RECEIPT), other.key.sign)),
        "cut": build_receipt(host, 2, ONE),
    }[harm][1]
    store.put(key, data[:-1] if harm == "cut" else data)
    store.put(*build_receipt(host, 3, ONE))
    state = repository.new_state()
    for _ in range(2):
        found = read(repository, state)
        assert (found.receipted, found.void) == (frozenset({ref(repository.first, 3)}), frozenset())
        assert [problem.object_name for problem in found.problems] == [key]
        assert found.doubtful == {ref(repository.first, 2)}
    assert state.cached_object(key) is None


def test_a_receipt_of_another_repository(repository: SmallRepository, store: MemoryStore) -> None:
    """Well signed by the same host."""
    host = repository.first.repository
    elsewhere = Receipt(b"another one.....", host.host, 1, ONE, ReceiptState.RECEIPT)
    store.put(receipt_key(host.host, 1, ONE), build_record(Magic.RECEIPT, elsewhere, host.key.sign))
    found = read(repository)
    assert found.receipted == frozenset() and len(found.problems) == 1


def test_each_is_fetched_once(repository: SmallRepository, store: MemoryStore) -> None:
    store.put(*build_receipt(repository.first.repository, 1, ONE))
    state = repository.new_state()
    first = read(repository, state)
    owner, registry = repository.owner(), access.registry(repository.owner())
    before = store.requests.get
    assert read_receipts(store, state, owner.repository, registry) == first
    assert store.requests.get == before


def test_one_that_is_collected_as_it_is_read(repository: SmallRepository, store: MemoryStore) -> None:
    class Collected(WrappedStore):
        def get(self, key: str) -> bytes:
            store.delete([key])
            return super().get(key)

    store.put(*build_receipt(repository.first.repository, 1, ONE))
    found = read(repository, store=Collected(store))
    assert (found.receipted, found.void, found.problems) == (frozenset(), frozenset(), ())
