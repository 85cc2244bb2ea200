"""One bit of a byte of the repository changed, place after place: a full check finds it, or it makes no difference to anybody.

The quick test takes every 401st byte of the store; the slow one takes every byte.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from seedcorn.errors import SeedcornError
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.ops import access
from seedcorn.ops.browse import open_browser
from seedcorn.ops.check import CheckOptions, check
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import PASSPHRASE, SmallRepository, make_tree

STRIDE = 401


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallRepository]:
    folder = tmp_path_factory.mktemp("tiny")
    with SmallRepository(MemoryStore(), folder) as repository:
        repository.backup(make_tree(folder / "tree", {"a": b"seed", "b/c": b"corn" * 100}))
        yield repository


def places(store: MemoryStore, stride: int) -> Iterator[tuple[str, int]]:
    """(key, place) of every ``stride``-th byte of the store, its objects end to end."""
    at = 0
    for key, data in sorted(store.objects.items()):
        for place in range(-at % stride, len(data), stride):
            yield key, place
        at += len(data)


def found(repository: SmallRepository, store: MemoryStore, key: str) -> bool:
    """Whether opening the repository fails, or a full check names ``key``."""
    try:
        access.open_owner(store, PASSPHRASE)
        state = repository.new_state()
        try:
            browser = open_browser(repository.owner(store), state)
            return any(problem.object_name == key for problem in check(browser, CheckOptions(read_data=True), SystemClock(), VoidMonitor()).problems)
        finally:
            state.close()
    except SeedcornError:
        return True


def harmless(key: str, before: bytes, after: bytes) -> bool:
    """Spaces between the words of the header, and the case of its signature's digits, mean nothing."""
    return key == "seedcorn.json" and b"".join(before.split()).lower() == b"".join(after.split()).lower()


def undetected(repository: SmallRepository, stride: int) -> list[tuple[str, int, int]]:
    assert isinstance(repository.store, MemoryStore)
    missed = []
    for key, place in places(repository.store, stride):
        bit = place % 8
        store = MemoryStore(url=repository.store.url)
        store.objects.update(repository.store.objects)
        changed = store.objects[key] = flip_byte(store.objects[key], place, bit)
        if not harmless(key, repository.store.objects[key], changed) and not found(repository, store, key):
            missed.append((key, place, bit))
    return missed


def test_a_sample_of_all_bytes(tiny: SmallRepository) -> None:
    assert undetected(tiny, STRIDE) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_byte(tiny: SmallRepository) -> None:
    assert undetected(tiny, 1) == []
