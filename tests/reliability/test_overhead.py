"""reliability.overhead: the arithmetic over a repository whose sizes are known otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from reliability.overhead import bytes_of_safety, make_tree
from seedcorn.testing.damage import keys_by_kind
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_tree_is_the_same_each_time_and_as_large_as_asked(tmp_path: Path) -> None:
    make_tree(tmp_path / "one", 3_000_000)
    make_tree(tmp_path / "two", 3_000_000)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert sum(map(len, files(tmp_path / "one").values())) == 3_000_000


def test_sums_are_those_of_the_objects(tmp_path: Path) -> None:
    store = MemoryStore()
    with SmallRepository(store, tmp_path / "machines") as repository:
        make_tree(tmp_path / "tree", 500_000)
        repository.backup(os.fsencode(tmp_path / "tree"))
        places = [place for _, place in repository.browser().state.frame_places(range(1000)).items()]
    keys = keys_by_kind(store)
    found = bytes_of_safety(store.objects)
    signed = sum(len(keys[kind]) for kind in ("host record", "segment", "snapshot", "receipt"))
    assert found["signatures"] == 64 * signed
    assert found["salts and tags of frames"] == 40 * len(places)
    assert found["receipts"] == sum(len(store.objects[key]) - 64 for key in keys["receipt"])
    rows = sum(len(keys[kind]) for kind in ("data pack", "listing pack", "segment"))  # one session: one row in each
    assert rows * 1168 <= found["session keys, sealed to the owner"] <= rows * 1300
    assert sum(found.values()) < sum(map(len, store.objects.values()))
