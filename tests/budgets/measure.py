"""What each step of a fixed workload asks of the store. As a program it writes the table (``make budgets``)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from tests.acceptance.workshop import Workshop, open_workshop, scratch
from tests.budgets.tree import CHANGES, SMALL_FILE, make_tree

from seedcorn.crypto import primitives
from seedcorn.events import RecordingMonitor
from seedcorn.format.pack import PackKind, parse_pack_head
from seedcorn.jobs.maintain_session import MaintainSession
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.ops.restore.restore import RestoreOptions, restore
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.store.api import Store
from seedcorn.store.wrappers import RecordingStore
from seedcorn.testing.memory_store import MemoryStore

__all__ = ["TABLE", "Cost", "Costs", "Row", "measure", "read_table"]

TABLE = Path(__file__).with_name("budgets.txt")
_HEAD = """\
# Requests and bytes of tests/budgets, by step, verb and kind of object. A step without a line for something does none of it.
# Written by `make budgets`: look at the difference before you commit it.
"""
_ONE_WORKER = WriterOptions(PackerOptions(workers=1))  # two would put frames into packs in an order of chance
_PACKS = {PackKind.DATA: "data pack", PackKind.LISTING: "listing pack"}
_ROOMS = {
    "seedcorn.json": "header",
    "keys": "key slot",
    "hosts": "host record",
    "index": "index segment",
    "snapshots": "snapshot",
    "receipts": "receipt",
    "checkpoints": "checkpoint",
    "gc": "collection",
    "forget": "forget record",
    "verified": "verified set",
    "relocations": "relocation",
    "spares": "spare",
}


@dataclass(frozen=True, order=True)
class Row:
    """In this step, requests of this verb for this kind of object."""

    step: str
    verb: str
    kind: str

    def __str__(self) -> str:
        return f"{self.step}: {self.verb} {self.kind}"


@dataclass(frozen=True)
class Cost:
    """How many requests, and how many bytes those that put have carried."""

    requests: int = 0
    put_bytes: int = 0


Costs = dict[Row, Cost]


class Ledger:
    """Books what a store is asked. ``enter`` ends a step."""

    def __init__(self, inner: Store) -> None:
        self.store = RecordingStore(inner)
        self.costs: Costs = {}
        self._inner = inner
        self._pack_kinds: dict[str, str] = {}

    def enter(self, step: str) -> None:
        """Everything since the last step was this one."""
        calls, self.store.calls = self.store.calls, []
        for call in calls:
            row = Row(step, call.verb.removesuffix("_range"), self._kind(call.key))
            before = self.costs.get(row, Cost())
            self.costs[row] = Cost(before.requests + 1, before.put_bytes + (call.carried_bytes if call.verb == "put" else 0))

    def skip(self) -> None:
        """What has been done since the last step is no part of any; but packs are known from then on."""
        for call in self.store.calls:
            if call.verb == "put":
                self._kind(call.key)
        self.store.calls = []

    def _kind(self, key: str) -> str:
        room, _, name = key.partition("/")
        if room != "packs" or not name:
            return _ROOMS.get(room, room)
        if key not in self._pack_kinds:
            self._pack_kinds[key] = _PACKS[parse_pack_head(self._inner.get(key))[0].kind]
        return self._pack_kinds[key]


def measure(store: Store, other_store: Store, folder: Path) -> Costs:
    """What every step costs. The stores are empty: each gets a repository of its own, with keys that are always the same, so that cuts are."""
    with mock.patch.object(primitives, "random_bytes", random.Random(5).randbytes):
        return _measure(store, other_store, folder)


def _measure(store: Store, other_store: Store, folder: Path) -> Costs:
    tree = folder / "source"
    make_tree(tree)
    ledger, other = Ledger(store), Ledger(other_store)
    with open_workshop(folder, ledger.store, settled=True) as workshop:
        ledger.enter("init")
        _host_works(workshop, ledger, tree)
        _owner_works(workshop, ledger, tree)
        _maintainer_works(workshop, ledger, tree)
    (folder / "other").mkdir()
    with open_workshop(folder / "other", other.store, settled=True, trust_hosts=True) as workshop:
        workshop.backup(tree, writer=_ONE_WORKER)
        other.skip()
        second = workshop.repository.machine("second")
        other.enter("host add")
        workshop.backup(tree, machine=second, writer=_ONE_WORKER)
        other.enter("second host, same files")
    return ledger.costs | other.costs


def _host_works(workshop: Workshop, ledger: Ledger, tree: Path) -> None:
    for step in ("first backup", "nothing changed"):
        workshop.backup(tree, writer=_ONE_WORKER)
        ledger.enter(step)
    for step, change in CHANGES.items():
        change(tree)
        workshop.backup(tree, writer=_ONE_WORKER)
        ledger.enter(step)


def _owner_works(workshop: Workshop, ledger: Ledger, tree: Path) -> None:
    """The first step fetches the index, which the owner's state then remembers."""
    repository, monitor = workshop.repository, RecordingMonitor()
    assert len(repository.browser().snapshots) == 2 + len(CHANGES)
    ledger.enter("snapshots")
    browser = repository.browser()
    assert list(browser.children(browser.entry(browser.find("latest"), bytes(tree))))
    ledger.enter("ls")
    _restore(repository.browser(), tree / SMALL_FILE, workshop.folder / "one")
    ledger.enter("restore one file")
    _restore(repository.browser(), tree, workshop.folder / "all")
    ledger.enter("restore all")
    for step, options in {"check": CheckOptions(), "check --read-data": CheckOptions(read_data=True)}.items():
        assert not check(repository.browser(), options, repository.clock, monitor).problems
        ledger.enter(step)


def _maintainer_works(workshop: Workshop, ledger: Ledger, tree: Path) -> None:
    """On the owner's machine, which has seen everything. The snapshot that goes has two packs of its own."""
    repository = workshop.repository
    other_tree = tree.with_name("other source")
    other_tree.mkdir()
    (other_tree / "noise").write_bytes(random.Random(7).randbytes(3 << 20))
    gone = workshop.backup(other_tree, writer=_ONE_WORKER)
    workshop.backup(tree, writer=_ONE_WORKER)
    assert len(repository.browser().snapshots) == 4 + len(CHANGES)
    ledger.skip()
    session = MaintainSession(maintained_by_owner(repository.owner()), repository.owner_state(), repository.clock)
    plan = session.plan_forget([gone.id])
    ledger.enter("forget -n")
    session.forget(plan)
    ledger.enter("forget, the record")
    session.plan_prune(grace_seconds=0)
    ledger.enter("prune -n")
    assert session.prune(grace_seconds=0, allow_large=True).deleted_packs == 2
    ledger.enter("prune --grace 0")
    session.prune()
    ledger.enter("prune, nothing to do")
    assert len(repository.browser().snapshots) == 3 + len(CHANGES)
    ledger.skip()


def _restore(browser: Browser, path: Path, target: Path) -> None:
    assert not restore(browser, browser.find("latest"), bytes(path), RestoreOptions(target), RecordingMonitor()).errors


def read_table() -> Costs:
    """The budgets."""
    costs = {}
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            step, verb, kind, requests, put_bytes = (cell.strip() for cell in line.split("|"))
            costs[Row(step, verb, kind)] = Cost(int(requests), int(put_bytes or 0))
    return costs


def _lines(costs: Costs) -> Iterator[str]:
    before = ""
    steps = list(dict.fromkeys(row.step for row in costs))
    for row in sorted(costs, key=lambda row: (steps.index(row.step), row)):
        cost = costs[row]
        if row.step != before:
            yield ""
            before = row.step
        yield f"{row.step:24}| {row.verb:5}| {row.kind:14}| {cost.requests:6} | {cost.put_bytes or '':>10}".rstrip()


def main() -> None:
    """Write the table."""
    with scratch() as folder:
        costs = measure(MemoryStore(), MemoryStore(), folder)
    TABLE.write_text(_HEAD + "\n".join(_lines(costs)) + "\n")


if __name__ == "__main__":
    main()
