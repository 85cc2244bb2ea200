"""One suite for all stores: in memory, in a directory, on an S3 emulator, and on a real S3 engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seedcorn.store.api import Store
from seedcorn.store.local import LocalStore
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.servers import Ministack, S3Server, SeaweedFS
from seedcorn.testing.store_contract import StoreContract

FreshStore = Callable[[S3Server], Store]


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


class TestSeaweedFS(StoreContract):
    races = 1  # a race takes it seconds

    @pytest.fixture
    def store(self, seaweedfs: SeaweedFS, fresh_store: FreshStore) -> Store:
        return fresh_store(seaweedfs)


def test_seaweedfs_holds_what_it_acknowledged_before_a_kill(fresh_store: FreshStore) -> None:
    with SeaweedFS() as server:
        store = fresh_store(server)
        for number in range(20):
            store.put(f"packs/{number:02}", bytes([number]) * 50_000)
        server.stop()
        server.start()
        assert [info.key for info in store.list("packs/")] == [f"packs/{number:02}" for number in range(20)]
        assert all(store.get(f"packs/{number:02}") == bytes([number]) * 50_000 for number in range(20))


def test_a_store_outlives_a_restart_of_its_server_in_the_middle(fresh_store: FreshStore) -> None:
    """The library's own defaults give up after two seconds."""
    import threading

    with SeaweedFS() as server:
        store = fresh_store(server)
        store.put("packs/before", b"before")
        server.stop()
        restart = threading.Timer(4.0, lambda: None)  # for four seconds nothing answers
        restart.start()
        putting = threading.Thread(target=lambda: store.put("packs/during", b"during"))
        putting.start()
        restart.join()
        server.start()
        putting.join(60)
        assert store.get("packs/during") == b"during"
