"""One repository for the whole matrix: two hosts, three snapshots, two key slots, so that there is an undamaged object beside every damaged one."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from seedcorn.events import SystemClock
from seedcorn.ops import access
from seedcorn.testing.damage import Pristine
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import PASSPHRASE, SmallRepository, cheap_kdf, make_tree, read_tree

SECOND_PASSPHRASE = "another one"


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pristine]:
    folder = tmp_path_factory.mktemp("pristine")
    chosen = random.Random(2008)
    store = MemoryStore()
    with SmallRepository(store, folder) as repository:
        files = {f"old/{n}": chosen.randbytes(n * 3_000) for n in range(12)} | {f"old/sub/{n}.txt": b"seed %d\n" % n * 500 for n in range(12)}
        tree = make_tree(folder / "tree", files)
        repository.backup(tree)
        make_tree(folder / "tree", {f"new/{n}": chosen.randbytes(n * 2_000) for n in range(8)})
        repository.backup(tree)
        other = repository.machine("beta")
        other.backup(make_tree(folder / "other", {f"{n}/file": chosen.randbytes(20_000) for n in range(4)}))
        access.add_key(repository.owner(), SECOND_PASSPHRASE, "second", SystemClock(), kdf=cheap_kdf())
        browser = repository.browser()
        assert browser.problems == ()
        trees = {snapshot.key: read_tree(browser, snapshot.id.hex()) for snapshot in browser.snapshots}
        yield Pristine(repository, store, trees, (PASSPHRASE, SECOND_PASSPHRASE))
