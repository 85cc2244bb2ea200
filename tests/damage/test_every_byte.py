"""One bit of a byte of the repository changed, place after place: a full check finds it, or it makes no difference to anybody.

The store holds one object of every kind. The quick test takes every 401st byte of it; the slow one takes every byte. How each kind fared goes into
pytest's report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.unit.ops.check.test_records import RECORDS, Recorded

from seedcorn.errors import SeedcornError
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.ops import access
from seedcorn.ops.browse import open_browser
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.testing.damage import flip_byte, keys_by_kind
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import PASSPHRASE, SmallRepository, make_tree
from seedcorn.testing.simulation.world import scratch_parent

STRIDE = 401
WHOLE = CheckOptions(read_data=True, connections=1, readers=1)  # in the caller's thread: there is too little of everything for more

Report = Callable[[str, object], None]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallRepository]:
    folder, store = tmp_path_factory.mktemp("tiny"), MemoryStore()
    with SmallRepository(store, folder) as repository:
        recorded = Recorded(repository, store, make_tree(folder / "tree", {"a": b"seed", "b/c": b"corn" * 100}))
        for kind in RECORDS:
            recorded.put(kind)
        store.put(*recorded.forget(2, [], [recorded.snapshot]))  # of what is given up nobody needs to hear
        yield repository


def kinds(store: MemoryStore) -> dict[str, str]:
    """What each key holds."""
    found = {key: key.partition("/")[0] for key in store.objects}  # records, by their room
    return found | {key: kind for kind, keys in keys_by_kind(store).items() for key in keys}


def places(store: MemoryStore, stride: int) -> Iterator[tuple[str, int]]:
    """(key, place) of every ``stride``-th byte of the store, its objects end to end."""
    at = 0
    for key, data in sorted(store.objects.items()):
        for place in range(-at % stride, len(data), stride):
            yield key, place
        at += len(data)


def found(store: MemoryStore, key: str) -> bool:
    """Whether an owner on a new machine can not open the repository, or a full check names ``key``."""
    try:
        owner = access.open_owner(store, PASSPHRASE)
        with TemporaryDirectory(dir=scratch_parent()) as machine, closing(access.open_state(Path(machine), owner.repository)) as state:
            problems = check(open_browser(owner, state), WHOLE, SystemClock(), VoidMonitor()).problems
    except SeedcornError:
        return True
    return any(problem.object_name == key for problem in problems)


def harmless(key: str, before: bytes, after: bytes) -> bool:
    """Spaces between the words of the header, and the case of its signature's digits, mean nothing."""
    return key == "seedcorn.json" and b"".join(before.split()).lower() == b"".join(after.split()).lower()


def flip_all(repository: SmallRepository, stride: int, report: Report) -> list[tuple[str, int, int]]:
    """The flips that were neither detected nor harmless; all are counted in the report."""
    assert isinstance(repository.store, MemoryStore)
    kind_of, missed = kinds(repository.store), []
    counts = Counter({f"{kind}: detected": 0 for kind in kind_of.values()})
    for key, place in places(repository.store, stride):
        bit = place % 8
        store = MemoryStore(url=repository.store.url)
        store.objects.update(repository.store.objects)
        changed = store.objects[key] = flip_byte(store.objects[key], place, bit)
        outcome = "harmless" if harmless(key, repository.store.objects[key], changed) else "detected" if found(store, key) else "missed"
        if outcome == "missed":
            missed.append((key, place, bit))
        counts[f"{kind_of[key]}: {outcome}"] += 1
    for name, count in counts.items():
        report(name, count)
    return missed


def test_a_sample_of_all_bytes(tiny: SmallRepository, record_property: Report) -> None:
    assert flip_all(tiny, STRIDE, record_property) == []


def test_objects_of_every_kind_are_there(tiny: SmallRepository) -> None:
    assert isinstance(tiny.store, MemoryStore)
    assert set(kinds(tiny.store).values()) == {*keys_by_kind(tiny.store), "checkpoints", "gc", "forget", "verified", "relocations"}


@pytest.mark.slow
@pytest.mark.timeout(3600)  # some minutes of one core, which may be a busy one
def test_every_byte(tiny: SmallRepository, record_property: Report) -> None:
    assert flip_all(tiny, 1, record_property) == []
