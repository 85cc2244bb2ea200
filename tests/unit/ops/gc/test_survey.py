"""ops/gc/survey.py: what is loaded before anything is decided."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.ops.surveys import survey as made_up

from seedcorn.errors import IntegrityError
from seedcorn.events import RecordingMonitor
from seedcorn.format.collection import CollectionRecord, Stage
from seedcorn.format.names import parse_pack_key
from seedcorn.ops.gc.survey import Survey, Surveyor, refuse_unsound
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.roots.collections import build_collection
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree


class Ground:
    """Two backups of one host."""

    def __init__(self, repository: SmallRepository, store: MemoryStore, folder: Path) -> None:
        self.store = store
        self.repository = repository
        for number in range(2):
            repository.backup(make_tree(folder, {f"f{number}": os.urandom(5_000)}))

    def survey(self) -> Survey:
        return Surveyor(maintained_by_owner(self.repository.owner()), self.repository.new_state()).survey()

    def keys(self, room: str) -> list[str]:
        return sorted(key for key in self.store.objects if key.startswith(room + "/"))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    store = MemoryStore()
    with SmallRepository(store, tmp_path / "machines") as repository:
        yield Ground(repository, store, tmp_path / "tree")


def test_packs_and_segments_as_they_are_stored(ground: Ground) -> None:
    found = ground.survey()
    assert found.problems == ()
    packs = {parse_pack_key(key): ground.store.head(key) for key in ground.keys("packs")}
    assert set(found.packs) == set(packs)
    for name, pack in found.packs.items():
        info = packs[name]
        assert (pack.host, pack.stored_ns, pack.size_bytes, pack.present) == (name[0], info.modified_ns, info.size_bytes, True)
        assert [record.pack for record in pack.records] == [name[1]]
    assert found.total_bytes == sum(info.size_bytes for info in packs.values())
    assert {(key, segment.size_bytes) for key, segment in found.segments.items()} == {
        (key, len(ground.store.objects[key])) for key in ground.keys("index")
    }
    assert sorted(pack for segment in found.segments.values() for pack in segment.packs) == sorted(found.packs)


def test_packs_that_are_missing_and_packs_that_nobody_lists(ground: Ground) -> None:
    lost, *_ = ground.keys("packs")
    del ground.store.objects[lost]
    stray = lost[:-64] + "00" * 32
    ground.store.put(stray, b"stray")
    ground.store.put("packs/something", b"?")
    found = ground.survey()
    names = [parse_pack_key(key) for key in (lost, stray)]
    assert None not in names
    missing, unlisted = (found.packs[name] for name in names if name)
    assert (missing.stored_ns, missing.size_bytes, missing.present, len(missing.records)) == (0, 0, False, 1)
    assert missing.host == unlisted.host == ground.repository.first.host_file.key.host
    assert (unlisted.size_bytes, unlisted.present, unlisted.records) == (5, True, ())
    assert len(found.packs) == len(ground.keys("packs"))
    assert found.total_bytes == sum(len(ground.store.objects[key]) for key in ground.keys("packs") if key != "packs/something")
    assert found.problems  # a snapshot needs what it held


def test_the_time_is_that_of_the_newest_object(ground: Ground) -> None:
    newest = max(ground.store.head(key).modified_ns for room in ("packs", "snapshots") for key in ground.keys(room))
    assert ground.survey().now_ns == newest
    owner = ground.repository.owner()
    key, data = build_collection(
        CollectionRecord(repository=owner.repository, number=1, collection=b"m" * 8, stage=Stage.MARK, relocations=()), owner.key.maintain_key().sign
    )
    ground.store.put(key, data)
    assert ground.survey().now_ns == ground.store.head(key).modified_ns > newest
    ground.store.put(ground.keys("packs")[0][:-64] + "00" * 32, b"stray")
    assert ground.survey().now_ns > ground.store.head(key).modified_ns


def test_a_segment_of_which_nothing_is_known(ground: Ground) -> None:
    """Its packs would look like garbage."""
    key = ground.keys("index")[0]
    ground.store.objects[key] = ground.store.objects[key][:-1] + b"?"
    found = ground.survey()
    assert key in {problem.object_name for problem in found.problems}


def test_what_is_unsound_is_refused_with_its_first_problem() -> None:
    sound = made_up({}, [])
    refuse_unsound(sound, "nothing is done")
    one, two = IntegrityError("is damaged", object_name="index/1"), IntegrityError("is gone", object_name="gc/2")
    with pytest.raises(IntegrityError, match=r"^index/1: is damaged; nothing is done as long as this is so$"):
        refuse_unsound(replace(sound, problems=(one,)), "nothing is done")
    with pytest.raises(IntegrityError, match=r"^index/1: is damaged; nothing is done as long as this is so \(2 problems in all\)$"):
        refuse_unsound(replace(sound, problems=(one, two)), "nothing is done")
    monitor = RecordingMonitor()
    with pytest.raises(IntegrityError, match=r"^index/1: is damaged; nothing is done") as refused:
        refuse_unsound(replace(sound, problems=(one, two)), "nothing is done", monitor)
    assert monitor.errors == [one, two]
    assert refused.value.when_told == "nothing is done as long as this is so (2 problems in all)"
