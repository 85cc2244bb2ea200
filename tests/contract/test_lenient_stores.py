"""Stores that call themselves S3 and do not enforce create-only puts: what still holds, and exactly what is lost.

Seedcorn's correctness must not rest on conditional writes; ``seedcorn doctor`` tells a user on which side a store is. These tests pin both sides.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from seedcorn.errors import ObjectExistsError
from seedcorn.store.api import Store
from seedcorn.store.options import StoreOptions
from seedcorn.store.probe import race
from seedcorn.testing.fixtures import FreshStore
from seedcorn.testing.servers import RcloneServe
from seedcorn.testing.store_contract import BasicStoreContract, KeyOrderContract
from seedcorn.testing.swift import Swift


class TestRclone(BasicStoreContract, KeyOrderContract):
    @pytest.fixture
    def store(self, rclone_serve: RcloneServe, fresh_store: FreshStore) -> Store:
        return fresh_store(rclone_serve, StoreOptions(retries=2, first_retries=2))  # it answers 500 for ever to a key beside a folder of its name

    def test_a_taken_key_is_overwritten_without_a_word(self, store: Store) -> None:
        store.put("snapshots/1", b"first")
        store.put("snapshots/1", b"other")
        assert store.get("snapshots/1") == b"other"

    def test_every_racer_is_told_that_it_won(self, store: Store) -> None:
        assert len(race(store, "snapshots/race")) > 1

    def test_ranges_are_cut_from_whole_objects(self, store: Store) -> None:
        store.put("packs/1", bytes(100_000))
        before = store.requests.get_bytes
        assert store.get_range("packs/1", 10, 5) == bytes(5)
        assert store.requests.get_bytes - before == 100_000


class TestSwift(BasicStoreContract, KeyOrderContract):
    large_bytes = 8 << 20
    many_keys = 60  # it makes thirty objects a second

    @pytest.fixture
    def store(self, swift: Swift, fresh_store: FreshStore) -> Store:
        return fresh_store(swift)

    def test_a_taken_key_is_refused_when_nobody_races(self, store: Store) -> None:
        store.put("snapshots/1", b"first")
        with pytest.raises(ObjectExistsError):
            store.put("snapshots/1", b"other")
        assert store.get("snapshots/1") == b"first"

    def test_a_race_may_have_several_winners_but_never_none(self, store: Store) -> None:
        winners = [race(store, f"snapshots/race-{number}", racers=8) for number in range(5)]
        assert all(winners)
        assert any(len(each) > 1 for each in winners)
        for number, each in enumerate(winners):
            assert store.get(f"snapshots/race-{number}") in each

    def test_a_race_with_the_same_bytes_has_only_winners(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: store.put("packs/same", b"same"), range(8)))
        assert store.get("packs/same") == b"same"
