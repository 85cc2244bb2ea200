"""Scrubbing: everything that is named by its hash, with no key at all."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedcorn.errors import RepositoryNotFoundError
from seedcorn.events import Counter, RecordingMonitor, SystemClock, VoidMonitor
from seedcorn.format.collection import VerifiedPack
from seedcorn.ops.check.choice import Part, Percentage
from seedcorn.ops.check.scrub import ScrubOptions, ScrubResult, scrub
from seedcorn.repo.roots.verified import publish_verified
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree

HASHED = ("packs/", "index/", "snapshots/", "verified/")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    store = MemoryStore()
    with SmallRepository(store, tmp_path / "machines") as repository:
        for n in range(3):
            repository.backup(make_tree(tmp_path / "tree", {f"f{n}": os.urandom(3_000)}))
        assert publish_verified(repository.owner(), [VerifiedPack(b"h" * 16, b"p" * 32, b"d" * 32)], 1)
        yield store


def run(store: MemoryStore, options: ScrubOptions = ScrubOptions(), monitor: RecordingMonitor | None = None) -> ScrubResult:  # noqa: B008  # frozen
    return scrub(store, options, SystemClock(), monitor or VoidMonitor())


def test_a_good_store(store: MemoryStore) -> None:
    store.put("packs/readme.txt", b"somebody's")
    monitor = RecordingMonitor()
    result = run(store, monitor=monitor)
    hashed = [key for key in store.objects if key.startswith(HASHED) and key != "packs/readme.txt"]
    assert (result.exit_code, result.objects, result.packs, result.skipped_packs) == (0, len(hashed), 6, 0)
    assert result.checked_bytes == sum(len(store.objects[key]) for key in hashed) == monitor.expected[Counter.CHECKED_BYTES]
    only_packs = run(store, ScrubOptions(packs_only=True))
    assert only_packs.objects == only_packs.packs == 6


def test_whatever_is_not_what_was_put_is_named(store: MemoryStore) -> None:
    pristine = dict(store.objects)
    for key in pristine:
        if key.startswith(HASHED):
            for place in (0, len(pristine[key]) // 2, len(pristine[key]) - 1):
                store.objects = pristine | {key: flip_byte(pristine[key], place)}
                result = run(store)
                assert (result.exit_code, [problem.object_name for problem in result.problems]) == (13, [key])


def test_what_is_too_large_is_not_read(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = next(key for key in store.objects if key.startswith("packs/"))
    store.objects[key] = bytes((80 << 20) + 1)
    get = store.get

    def careful(wanted: str) -> bytes:
        assert wanted != key
        return get(wanted)

    monkeypatch.setattr(store, "get", careful)
    assert [problem.object_name for problem in run(store).problems] == [key]


def test_some_packs_only(store: MemoryStore) -> None:
    parts = [run(store, ScrubOptions(packs_only=True, subset=Part(number, 3))) for number in (1, 2, 3)]
    assert sum(part.packs for part in parts) == 6
    assert all(part.packs + part.skipped_packs == 6 for part in parts)
    half = run(store, ScrubOptions(packs_only=True, subset=Percentage(50), rng=random.Random(1)))
    assert (half.packs, half.skipped_packs) == (3, 3)


def test_no_repository() -> None:
    with pytest.raises(RepositoryNotFoundError):
        run(MemoryStore())


def test_what_a_collection_takes_meanwhile_is_no_damage(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = next(key for key in store.objects if key.startswith("packs/"))
    listed = store.list

    def then_gone(prefix: str, **options: str) -> object:
        yield from list(listed(prefix, **options))
        store.objects.pop(key, None)

    monkeypatch.setattr(store, "list", then_gone)
    assert run(store).exit_code == 0
