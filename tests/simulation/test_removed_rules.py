"""Each rule of the protocol, removed: the simulator must find that within ``SEEDS`` seeds. The rules are those of docs/format.md, "Order of writing
and reading"; patches stand here, so that production code has no switches."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.simulation.races import violation_in

from seedcorn.format.collection import CollectionRecord, SnapshotRef, Stage
from seedcorn.ids import SnapshotId
from seedcorn.ops.backup import commit
from seedcorn.ops.backup import run as backup_run
from seedcorn.ops.backup.commit import is_torn
from seedcorn.ops.backup.run import BackupRun
from seedcorn.ops.gc import survey as gc_survey
from seedcorn.ops.gc import sweep as gc_sweep
from seedcorn.ops.gc.plan import CollectionPlan
from seedcorn.ops.gc.survey import Survey, Surveyor
from seedcorn.ops.gc.sweep import CollectionResult, Collector
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.index import sync_state
from seedcorn.repo.roots import roots
from seedcorn.repo.roots.receipts import build_receipt
from seedcorn.repo.roots.roots import RootsReader
from seedcorn.repo.state.state import FrameSet, State
from seedcorn.testing.simulation.connection import Suspension
from seedcorn.testing.simulation.faults import FaultKind, Faults
from seedcorn.testing.simulation.hosts import back_up
from seedcorn.testing.simulation.invariants import INVARIANTS
from seedcorn.testing.simulation.maintainers import THOROUGH, forget, prune
from seedcorn.testing.simulation.scenario import SimulationOptions, simulate
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.world import Invariant, WorldOptions, open_world

SEEDS = 100
ANSWER_SEEDS = 12
OPTIONS = SimulationOptions()
Patch = pytest.MonkeyPatch


# -- hosts -------------------------------------------------------------------------------------------------------------------------------------


def no_second_look(patch: Patch) -> None:
    """Success at the receipt: no H5, no H7."""
    patch.setattr(backup_run, "is_torn", lambda *_: False)


def no_look_after_the_receipt(patch: Patch) -> None:
    """H5 alone."""

    def confirm(self: BackupRun, snapshot: SnapshotId, seq: int, frames: FrameSet) -> bool:
        if is_torn(self._repository, self._state, self._base, SnapshotRef(self._repository.host, seq, snapshot), frames):
            self.writer.put(*build_receipt(self._repository, seq, snapshot, void=True))
            return False
        self.writer.put(*build_receipt(self._repository, seq, snapshot))
        return True

    patch.setattr(BackupRun, "_confirm", confirm)


def index_before_gc(patch: Patch) -> None:
    """H1 before H0."""
    read_base = commit.read_base

    def late(repository: Any, state: State) -> Any:
        registry = load_registry(repository.store, repository.repository, repository.key.public, state=state)
        sync_state(repository.store, state, repository.repository, repository.key.index_key, registry, only=None)
        return read_base(repository, state)

    patch.setattr(backup_run, "read_base", late)
    patch.setattr(backup_run, "sync_state", lambda *_, **__: [])
    patch.setattr(backup_run, "is_out_of_date", lambda *_: False)


def dead_packs_are_relied_on(patch: Patch) -> None:
    """D is empty."""
    read_base = commit.read_base
    patch.setattr(backup_run, "read_base", lambda *of: replace(read_base(*of), packs=frozenset()))


# -- collectors ----------------------------------------------------------------------------------------------------------------------------------


def no_look_before_the_sweep(patch: Patch) -> None:
    """G4: the sweep names what G1 has found."""
    sweep, survey = Collector._sweep, Collector._survey

    def sweeps(self: Collector, shown: CollectionPlan, result: CollectionResult) -> CollectionResult:
        remembered = [self._surveyed]
        patch.setattr(self, "_survey", lambda: remembered.pop() if remembered else survey(self), raising=False)
        return sweep(self, shown, result)

    patch.setattr(Collector, "_sweep", sweeps)


def _stale_after_the_sweep(patch: Patch, owner: Any, name: str, store_of: Callable[[Any], Any]) -> None:
    """``owner.name`` goes on saying after the sweep what it said before."""
    real, put = getattr(owner, name), Collector._put_record

    def stale(first: Any, *rest: Any, **named: Any) -> Any:
        store = store_of(first)
        if not getattr(store, "has_swept", False):
            store.__dict__.setdefault("found", {})[name] = real(first, *rest, **named)
        return store.found[name]

    def put_record(self: Collector, survey: Survey, stage: Stage, *rest: Any, **named: Any) -> CollectionRecord:
        record = put(self, survey, stage, *rest, **named)
        self._store.has_swept = stage is Stage.SWEEP  # type: ignore[attr-defined]
        return record

    patch.setattr(owner, name, stale)
    patch.setattr(Collector, "_put_record", put_record)


def roots_not_read_again(patch: Patch) -> None:
    """G6 by the snapshots of G4."""
    _stale_after_the_sweep(patch, RootsReader, "_read_snapshots", lambda reader: reader._repository.store)


def gc_not_read_again(patch: Patch) -> None:
    """G6 without what others have begun to delete. The program then misses its own sweep, and stops by itself for ever."""
    _stale_after_the_sweep(patch, roots, "list_collections", lambda store: store)


def index_not_read_again(patch: Patch) -> None:
    """G6 by the index of G4."""
    _stale_after_the_sweep(patch, Surveyor, "_segments", lambda surveyor: surveyor._repository.store)
    _stale_after_the_sweep(patch, gc_survey, "sync_state", lambda store: store)


def no_brake(patch: Patch) -> None:
    """However much it is."""
    patch.setattr(gc_sweep, "check_brake", lambda *_: None)


def damage_does_not_stop(patch: Patch) -> None:
    """Roots, index and records that are damaged or missing are passed over."""
    patch.setattr(gc_sweep, "refuse_unsound", lambda *_: None)


def others_sweeps_are_ended(patch: Patch) -> None:
    """Whoever finds an unfinished sweep declares it done."""
    carry_out = Collector.carry_out

    def meddling(self: Collector, plan: CollectionPlan) -> CollectionResult:
        assert self._surveyed is not None
        for sweep in self._surveyed.collections.unfinished_sweeps:
            self._put_record(self._surveyed, Stage.DONE, frozenset(), of=sweep)
        return carry_out(self, plan)

    patch.setattr(Collector, "carry_out", meddling)


def kept_packs_are_not_named(patch: Patch) -> None:
    """Done says nothing."""
    put = Collector._put_record

    def silent(self: Collector, survey: Survey, stage: Stage, packs: Any, **named: Any) -> CollectionRecord:
        return put(self, survey, stage, frozenset() if stage is Stage.DONE else packs, **named)

    patch.setattr(Collector, "_put_record", silent)


REMOVED = {
    no_second_look: "I2",
    no_look_after_the_receipt: "I2",
    index_before_gc: "I5",
    dead_packs_are_relied_on: "I5",
    no_look_before_the_sweep: "G4",
    roots_not_read_again: "I4",
    gc_not_read_again: "I8",
    index_not_read_again: "I4",
    no_brake: "I7",
    others_sweeps_are_ended: "I4",
}


@pytest.mark.parametrize(("remove", "invariant"), REMOVED.items(), ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_rule_that_is_removed_is_missed(remove: Callable[[Patch], None], invariant: str, monkeypatch: Patch) -> None:
    remove(monkeypatch)
    violations = (simulate(seed, OPTIONS).violation for seed in range(SEEDS))
    found = next(filter(None, violations), f"{SEEDS} seeds, and nothing has been noticed")
    assert found.startswith(f"{invariant}: ")


RACE_SEEDS = 40
OUTCOMES = [invariant for invariant in INVARIANTS if invariant.name in ("I1", "I1 and I12 by bitmaps", "I6")]


def race(seed: int, invariants: Sequence[Invariant] = INVARIANTS) -> tuple[str, Counter[str]]:
    """(the violation, what happened) where a host backs up again what has just been forgotten, and a maintainer collects it: both pause once."""
    chosen = random.Random(f"race {seed}")

    def first(actor: Actor) -> None:
        back_up(world, actor, world.hosts[0])
        forget(world, actor, world.maintainers[0], next(iter(world.confirmed.values())))

    def host(actor: Actor) -> None:
        world.suspensions[actor.name] = Suspension(chosen.randrange(4, 10), chosen.random() * 150)
        back_up(world, actor, world.hosts[0])

    def maintainer(actor: Actor) -> None:
        actor.clock.sleep(chosen.random() * 30)
        world.suspensions[actor.name] = Suspension(chosen.randrange(12, 36), chosen.random() * 60)
        prune(world, actor, world.maintainers[0], THOROUGH)

    options = WorldOptions(f"race {seed}", hosts=1, maintainers=1)
    with open_world(options, invariants) as world:
        return violation_in(world, {"host-1": first}, {"host-1": host, "maintainer-1": maintainer}), world.outcomes


def test_a_race_harms_nobody_and_is_close() -> None:
    runs = [race(seed) for seed in range(RACE_SEEDS)]
    assert {violation for violation, _ in runs} == {""}
    together = sum((outcomes for _, outcomes in runs), Counter[str]())
    assert together["packs deleted"] and together["packs kept after all"] and together["snapshots taken back by their hosts"]


def test_kept_packs_that_are_not_named_are_missed(monkeypatch: Patch) -> None:
    kept_packs_are_not_named(monkeypatch)
    assert any(race(seed)[0].startswith("I4: ") for seed in range(RACE_SEEDS))


def test_a_race_without_a_second_look_loses_something(monkeypatch: Patch) -> None:
    """Judged by what becomes of snapshots alone, not by who has looked at what."""
    no_second_look(monkeypatch)
    assert any(race(seed, OUTCOMES)[0] for seed in range(RACE_SEEDS))


def collect_among_bad_answers(seed: int) -> tuple[str, int]:
    """(the violation, how many collections went through) where something is forgotten, the store lies, and the maintainer remembers nothing."""

    def hosts(actor: Actor) -> None:
        for number, host in enumerate(world.hosts * 2):
            host.source.write(b"new", b"%d" % number * 3000)
            back_up(world, actor, host)
        forget(world, actor, world.maintainers[0], next(iter(world.confirmed.values())))

    def maintainer(actor: Actor) -> None:
        for _ in range(6):
            world.maintainers[0].state.lose()
            world.attempt("prune", lambda: prune(world, actor, world.maintainers[0], THOROUGH))

    options = WorldOptions(f"bad answers {seed}", hosts=2, maintainers=1)
    with open_world(options, INVARIANTS) as world:
        world.act("host-1 and host-2", hosts)
        world.run()
        world.plan.go_on_with(Faults({FaultKind.LIST_EMPTY: 0.1, FaultKind.FLIPPED_BODY: 0.05}))
        violation = violation_in(world, {"maintainer-1": maintainer})
        return violation, 0 if violation else world.outcomes["prune: done"]


def test_bad_answers_stop_a_collection() -> None:
    runs = [collect_among_bad_answers(seed) for seed in range(ANSWER_SEEDS)]
    assert {violation for violation, _ in runs} == {""}
    assert any(done for _, done in runs)


def test_bad_answers_that_do_not_stop_a_collection_are_missed(monkeypatch: Patch) -> None:
    damage_does_not_stop(monkeypatch)
    assert any(collect_among_bad_answers(seed)[0].startswith(("I7: ", "I1: ", "I6: ")) for seed in range(ANSWER_SEEDS))
