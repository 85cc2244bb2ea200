"""Figures of what is stored, against sizes counted by hand."""

from __future__ import annotations

import os
from pathlib import Path

from seedcorn.ops.usage import StoredBytes, usage
from seedcorn.testing.damage import keys_by_kind
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree


def test_an_empty_repository(repository: SmallRepository, store: MemoryStore) -> None:
    found = usage(repository.browser(), ())
    assert (found.snapshots, found.frames, found.packs, found.raw_bytes) == (0, 0, 0, 0)
    assert (found.deduplication_ratio, found.compression_ratio, found.overhead_percent) == (1.0, 1.0, 100.0)
    assert found.stored.total == sum(map(len, store.objects.values()))


def test_the_same_content_twice(repository: SmallRepository, store: MemoryStore, tmp_path: Path) -> None:
    content = os.urandom(100_000)
    tree = make_tree(tmp_path / "tree", {"a": content, "b": content, "text": b"seed corn " * 40_000})
    repository.backup(tree)
    repository.backup(tree)
    browser = repository.browser()
    found = usage(browser, browser.snapshots)
    assert found.snapshots == 2
    assert found.logical_bytes == 2 * (2 * 100_000 + 400_000)
    assert 100_000 < found.raw_data_bytes < 100_000 + 400_000
    assert found.deduplication_ratio > 2.4
    assert found.compression_ratio > 1
    keys = keys_by_kind(store)
    sizes = {kind: sum(len(store.objects[key]) for key in found_keys) for kind, found_keys in keys.items()}
    assert found.stored == StoredBytes(
        data_packs=sizes["data pack"],
        listing_packs=sizes["listing pack"],
        index=sizes["segment"],
        snapshots=sizes["snapshot"],
        other=sizes["header"] + sizes["slot"] + sizes["host record"] + sizes["receipt"],
        objects=len(store.objects),
    )
    assert found.packs == len(keys["data pack"]) + len(keys["listing pack"])
    assert found.sealed_bytes + found.framing_bytes < found.stored.data_packs + found.stored.listing_packs
    assert 0 < found.overhead_percent < 100


def test_one_snapshot_of_several(repository: SmallRepository, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {"a": os.urandom(50_000)})
    repository.backup(tree)
    make_tree(tree, {"b": os.urandom(70_000)})
    repository.backup(tree)
    browser = repository.browser()
    first, second, both = (usage(browser, chosen) for chosen in (browser.snapshots[:1], browser.snapshots[1:], browser.snapshots))
    assert (first.raw_data_bytes, second.raw_data_bytes) == (50_000, 120_000)
    assert both.raw_data_bytes == 120_000
    assert both.logical_bytes == first.logical_bytes + second.logical_bytes == 170_000
    assert first.stored == second.stored == both.stored


def test_packs_of_nobody(repository: SmallRepository, store: MemoryStore) -> None:
    store.put(f"packs/{'ab' * 16}/{'cd' * 32}", b"left over")
    store.put("receipts/something", b"of later")
    found = usage(repository.browser(), ())
    assert found.stored.unreferenced_packs == 9
    assert found.stored.total == sum(map(len, store.objects.values()))
