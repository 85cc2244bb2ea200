"""Makes the golden repository of a format version: ``PYTHONPATH=src python -m tests.golden.make VERSION`` from the top folder.

It holds an object of every kind and a snapshot of every standing, all of them written by the program itself: what a day brings about that is not
planned (a kill, a collection at a bad moment) is brought about here by stores that do something before a certain put. Run it once for each version,
on a file system with extended attributes and holes, and never again once that version is released: a golden repository is what programs of that day
wrote, and every later one has to read it. Until then, remove the folder and make it anew.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from tests.collections.interrupted import BeforePutStore, Crash
from tests.golden.tree import change_tree, make_day, make_tree, make_work, thin_work, to_json

from seedcorn.crypto.slots import KdfParameters
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.names import parse_numbered_key
from seedcorn.ids import SnapshotId
from seedcorn.ops import access
from seedcorn.ops.backup.backup import BackupOptions
from seedcorn.ops.browse import Standing
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.ops.check.put_back import PutBack, SmallObjects
from seedcorn.ops.deep.deep import Deep, DeepOptions
from seedcorn.ops.deep.plan import plan_deep
from seedcorn.ops.gc.plan import CollectionOptions, MaxUnused
from seedcorn.ops.gc.survey import Surveyor
from seedcorn.ops.gc.sweep import Collector
from seedcorn.ops.retention.forget import choose_snapshots, forget_snapshots, undelete_snapshots
from seedcorn.ops.revoke import plan_revocation, revoke
from seedcorn.repo.content import packer, writer
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.repo.maintenance import MaintainRepository, maintained_by_owner
from seedcorn.store.api import Store
from seedcorn.store.local import LocalStore
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import PASSPHRASE, Machine, SmallRepository

__all__ = ["make"]

SECOND_PASSPHRASE = "golden grain, weighed twice"
DAYS = 6  # together with what alpha has stored before enough small segments to be merged
NOW = CollectionOptions(grace_ns=0, allow_large=True)
MARK_ONLY = CollectionOptions(max_unused=MaxUnused(0.0))  # and move everything that is needed out of packs that are needed in part
_SYNCHRONOUS = WriterOptions(PackerOptions(workers=0, connections=1))


class _Time(SystemClock):
    """That of every machine and of the store; it can be made to pass."""

    def __init__(self) -> None:
        self.passed_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.passed_ns


class _SlowTime(_Time):
    """So little is done in half an hour that every directory is worth a checkpoint."""

    def elapsed_ns(self) -> int:
        self.passed_ns += 31 * 60 * 10**9
        return super().elapsed_ns() + self.passed_ns


@dataclass
class _Making:
    """The repository as far as it is. ``snapshots``: of each that was ever put, what was backed up, and what that was then."""

    folder: Path
    store: MemoryStore
    time: _Time
    repository: SmallRepository
    trees: list[dict[str, Any]] = field(default_factory=list)
    snapshots: dict[SnapshotId, dict[str, Any]] = field(default_factory=dict)

    def back_up(self, machine: Machine, path: Path, *, through: Store | None = None, clock: SystemClock | None = None) -> SnapshotId | None:
        """Back up ``path`` as ``machine``; the last snapshot that this has put. It may be killed by the store that it goes ``through``."""
        machine.store, machine.clock = through or self.store, clock or self.time
        with suppress(Crash):
            machine.backup(path, options=BackupOptions(machine.host_file.name, tags=("golden",), writer=_SYNCHRONOUS))
        tree = to_json(path)
        if tree not in self.trees:
            self.trees.append(tree)
        names = filter(None, map(parse_numbered_key, sorted(key for key in self.store.objects if key.startswith("snapshots/"))))
        new = [snapshot for name in names if (snapshot := SnapshotId(name.object_id)) not in self.snapshots]
        self.snapshots.update({snapshot: {"path": str(path), "tree": self.trees.index(tree)} for snapshot in new})
        return new[-1] if new else None

    def killed_at(self, part: str, store: Store | None = None) -> Store:
        """A store whose user dies before its first put of a key that contains ``part``."""
        return BeforePutStore(store or self.store, part, _die)

    def publish(self) -> None:
        """Verify everything as the owner, and say so."""
        result = check(self.repository.browser(), CheckOptions(read_data=True, publish=True), self.time, VoidMonitor())
        assert not result.problems, result.problems
        assert result.published_packs

    def forget(self, *snapshots: SnapshotId | None) -> None:
        roots = Surveyor(self._maintainer, self.repository.new_state()).survey().roots
        forget_snapshots(self._maintainer, roots, choose_snapshots(roots, [snapshot.hex() for snapshot in snapshots if snapshot]), self.time)

    def take_back(self, snapshot: SnapshotId | None) -> None:
        assert snapshot is not None
        undelete_snapshots(self._maintainer, self.repository.new_state(), [snapshot.hex()], self.time)

    def collect(self, options: CollectionOptions = NOW) -> None:
        collector = Collector(self._maintainer, self.repository.new_state(), options, VoidMonitor())
        collector.carry_out(collector.plan())

    def deep(self, store: Store) -> None:
        """Write anew what is used of frames that are about half dead, through ``store``."""
        owner, state = self.repository.owner(store), self.repository.new_state()
        survey = Surveyor(maintained_by_owner(owner), state).survey()
        Deep(owner, state, survey, plan_deep(owner, state, survey, 0.4), DeepOptions(_SYNCHRONOUS.packer), self.time, VoidMonitor()).carry_out()

    @property
    def _maintainer(self) -> MaintainRepository:
        return maintained_by_owner(self.repository.owner())


def _die() -> NoReturn:
    raise Crash


def main(version: str) -> None:
    """Write ``tests/golden/VERSION``."""
    make(Path(__file__).parent / version)


def make(folder: Path) -> None:
    """Write a repository, who may open it, and what each of its snapshots must restore to."""
    folder.mkdir()
    time = _Time()
    store = MemoryStore(time.now_ns)
    with tempfile.TemporaryDirectory(prefix="seedcorn-golden-") as name, SmallRepository(store, Path(name) / "states", clock=time) as repository:
        making = _Making(Path(name), store, time, repository)
        _live(making)
        _write(folder, making)


def _live(making: _Making) -> None:
    """Everything that happens, in an order in which no later step removes what an earlier one has left."""
    owner = making.repository.owner()
    alpha, beta, gamma = making.repository.first, making.repository.machine("beta"), making.repository.machine("gamma")
    access.add_key(owner, SECOND_PASSPHRASE, "second", making.time, kdf=KdfParameters.fresh(memory_kib=16 << 10, iterations=2, lanes=2))
    _share_and_repack(making, alpha, beta)
    days = _expire_and_merge(making, alpha, gamma)
    _relocate(making, alpha)
    _lose_to_collections(making, alpha, beta)
    making.publish()
    _interrupt(making, alpha, beta)
    making.forget(days[0], _leave_a_part(making, alpha))
    revoke(owner, plan_revocation(owner, making.repository.new_state(), "gamma"), making.time)
    making.time.passed_ns += 25 * 3600 * 10**9
    making.collect(MARK_ONLY)
    _damage_a_sweep(making)
    making.store.put(f"doctor/{bytes(16).hex()}/probe", b"left by a probe that was not allowed to delete\n")


def _share_and_repack(making: _Making, alpha: Machine, beta: Machine) -> None:
    """Beta stores only what alpha has not stored and the owner verified. The first snapshots are forgotten and collected, another one is taken back;
    what is still needed of the first packs is moved out of them."""
    tree = making.folder / "tree"
    make_tree(tree)
    first = making.back_up(alpha, tree)
    making.publish()
    shared = making.back_up(beta, tree)
    change_tree(tree)
    second = making.back_up(alpha, tree)
    making.publish()
    making.back_up(beta, tree)
    making.back_up(beta, make_day(making.folder, "of-beta"))
    making.forget(first, shared, second)
    making.take_back(second)
    making.collect()


def _expire_and_merge(making: _Making, alpha: Machine, gamma: Machine) -> list[SnapshotId | None]:
    """A snapshot without a receipt and a checkpoint, both given up, expire; many small segments become one. The snapshots of those days."""
    days = [making.back_up(alpha, make_day(making.folder, f"day-{number}")) for number in range(DAYS)]
    making.back_up(gamma, make_day(making.folder, "given-up"), through=making.killed_at("receipts/"))
    _leave_checkpoint(making, gamma, "given-up")
    making.collect()
    return days


def _relocate(making: _Making, alpha: Machine) -> None:
    """Twice half of a frame is used no more, and the other half is written anew: the first time by an owner who dies before that is done, and then by
    another one. The next collections take the old frames."""
    for name, store in (("moved", making.killed_at(".done")), ("moved-again", making.store)):
        work = make_work(making.folder, name)
        whole = making.back_up(alpha, work)
        thin_work(work)
        making.back_up(alpha, work)
        making.forget(whole)
        with suppress(Crash):
            making.deep(store)
        making.deep(making.store)


def _lose_to_collections(making: _Making, alpha: Machine, beta: Machine) -> None:
    """Each relies on packs that nothing else needs, and a collection takes them while it runs. Beta dies before it can say so; alpha takes its
    snapshot back and begins anew."""
    lost = make_day(making.folder, "lost")
    making.forget(making.back_up(beta, lost))
    making.back_up(beta, lost, through=BeforePutStore(making.killed_at(".void"), "snapshots/", making.collect))
    redone = make_day(making.folder, "redone")
    making.forget(making.back_up(alpha, redone))
    making.back_up(alpha, redone, through=BeforePutStore(making.store, "snapshots/", making.collect))


def _interrupt(making: _Making, alpha: Machine, beta: Machine) -> None:
    """Killed runs: one that a later one has superseded, one that may still be confirmed, and one that is only a checkpoint."""
    tree = making.folder / "tree"
    making.back_up(beta, tree, through=making.killed_at("receipts/"))
    making.back_up(beta, tree)
    making.back_up(alpha, make_day(making.folder, "late"), through=making.killed_at("receipts/"))
    _leave_checkpoint(making, alpha, "unfinished")


def _leave_checkpoint(making: _Making, machine: Machine, name: str) -> None:
    """A run that had put some packs, segments and checkpoints when it died. Its packs are small, so that it has some."""
    with patch.object(writer, "FRAME_TARGET_BYTES", 8 << 10), patch.object(packer, "PACK_TARGET_BYTES", 16 << 10):
        making.back_up(machine, make_work(making.folder, name), through=making.killed_at("snapshots/"), clock=_SlowTime())


def _leave_a_part(making: _Making, machine: Machine) -> SnapshotId | None:
    """A snapshot, and a later one that needs half of the frames in its pack."""
    work = make_work(making.folder, "thinned")
    with patch.object(writer, "FRAME_TARGET_BYTES", 8 << 10):
        whole = making.back_up(machine, work)
    thin_work(work)
    making.back_up(machine, work)
    return whole


def _damage_a_sweep(making: _Making) -> None:
    """And put it back, from a machine that remembers it."""
    browser = making.repository.browser()
    key = next(key for key in sorted(making.store.objects) if key.endswith(".sweep"))
    good = making.store.objects[key]
    making.store.objects[key] = flip_byte(good, len(good) - 1)
    SmallObjects(browser).put_back(PutBack(key, len(good)))


def _write(folder: Path, making: _Making) -> None:
    owner = making.repository.owner()
    standings = {snapshot.id: snapshot.standing for snapshot in making.repository.browser(fresh=True).all_snapshots}
    assert set(standings.values()) == set(Standing) - {Standing.UNREADABLE}, standings
    store = LocalStore(folder / "repository")
    for key, data in making.store.objects.items():
        store.put(key, data)
    (folder / "host.json").write_bytes(making.repository.made.host_file.serialize())
    (folder / "maintain.json").write_bytes(access.maintain_file(owner).serialize())
    secrets = {"passphrases": [PASSPHRASE, SECOND_PASSPHRASE], "words": making.repository.words}
    (folder / "secrets.json").write_text(json.dumps(secrets, indent=1) + "\n")
    snapshots = {snapshot.hex(): {"standing": standing.value, **making.snapshots[snapshot]} for snapshot, standing in standings.items()}
    (folder / "expected.json").write_text(json.dumps({"snapshots": snapshots, "trees": making.trees}, indent=0) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
