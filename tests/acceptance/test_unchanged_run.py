"""The second run over an unchanged tree: nothing read, no pack, eight requests, whatever the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.workshop import open_workshop

from seedcorn.events import Counter
from seedcorn.store.api import Requests, Store
from seedcorn.store.local import LocalStore
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.servers import Ministack, S3Server, SeaweedFS
from seedcorn.testing.trees import describe

FreshStore = Callable[[S3Server], Store]


def test_in_memory(folder: Path) -> None:
    _assert_little_is_asked(folder, MemoryStore())


def test_in_a_directory(folder: Path) -> None:
    _assert_little_is_asked(folder, LocalStore(folder / "repository"))


def test_on_seaweedfs(folder: Path, seaweedfs: SeaweedFS, fresh_store: FreshStore) -> None:
    _assert_little_is_asked(folder, fresh_store(seaweedfs))


def test_on_ministack(folder: Path, ministack: Ministack, fresh_store: FreshStore) -> None:
    _assert_little_is_asked(folder, fresh_store(ministack))


def _assert_little_is_asked(folder: Path, store: Store) -> None:
    with open_workshop(folder, store, settled=True) as workshop:
        files = {f"d{number % 7}/f{number}": os.urandom(number * 311) for number in range(60)}
        make_tree(workshop.source, files | {"text": b"line\n" * 300_000, "empty": b""})
        tree = describe(workshop.source)
        first = workshop.backup()
        assert first.packs == 2
        # header, host record · collections, hosts, index, snapshots, verified set, collections · data pack, listing pack, segment, snapshot, receipt
        assert _kinds(first.requests) == Requests(get=2, list=6, put=5)

        for _ in range(2):
            again = workshop.backup()
            assert again.packs == 0
            assert again.monitor.counted[Counter.READ_BYTES] == 0
            # header · collections, hosts, index, snapshots, collections · snapshot, receipt
            assert _kinds(again.requests) == Requests(get=1, list=5, put=2)
            assert again.requests.put_bytes < 5_000
            workshop.assert_restores(again.id, tree)


def _kinds(requests: Requests) -> Requests:
    return Requests(requests.put, requests.get, requests.head, requests.list, requests.delete)
