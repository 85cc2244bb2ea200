"""One suite for all stores: in memory, in a directory, on an S3 emulator, and on a real S3 engine."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seedcorn.errors import StoreError
from seedcorn.store.api import Store
from seedcorn.store.local import LocalStore
from seedcorn.testing.fixtures import FreshStore
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.servers import Ministack, SeaweedFS
from seedcorn.testing.store_contract import BasicStoreContract, CreateOnlyContract, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestLocalStore(StoreContract):
    races = 20

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(tmp_path / "not" / "yet" / "there")


class TestLocalStoreWithoutHardLinks(StoreContract):
    """As on FAT and some network file systems."""

    races = 20

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("os.link", refuse)
        return LocalStore(tmp_path)


class TestMinistack(StoreContract):
    @pytest.fixture
    def store(self, ministack: Ministack, fresh_store: FreshStore) -> Store:
        return fresh_store(ministack)


class TestSeaweedFS(BasicStoreContract, CreateOnlyContract):
    races = 1  # a race takes it seconds

    @pytest.fixture
    def store(self, seaweedfs: SeaweedFS, fresh_store: FreshStore) -> Store:
        return fresh_store(seaweedfs)

    def test_its_order_of_folders_is_refused_where_it_is_not_ours(self, store: Store) -> None:
        store.put("a/1", b"")
        store.put("a-b", b"")
        with pytest.raises(StoreError, match="order"):
            list(store.list(""))


def test_what_seaweedfs_acknowledged_outlives_a_kill_and_a_put_outlasts_the_restart(fresh_store: FreshStore) -> None:
    """The library's own defaults give up two seconds after a server has gone."""
    with SeaweedFS() as server:
        store = fresh_store(server)
        expected = {f"packs/{number:02}": bytes([number]) * 50_000 for number in range(20)}
        for key, data in expected.items():
            store.put(key, data)
        server.stop()
        with ThreadPoolExecutor(1) as pool:
            putting = pool.submit(store.put, "packs/during", b"during")
            time.sleep(3)
            assert not putting.done()
            server.start()
            putting.result(timeout=60)
        expected["packs/during"] = b"during"
        assert {info.key: store.get(info.key) for info in store.list("packs/")} == expected
