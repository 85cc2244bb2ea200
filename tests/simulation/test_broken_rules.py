"""The simulator can fail: with a rule of the production code broken, it finds a violation within a few seeds."""

from __future__ import annotations

import msgspec
import pytest
from tests.simulation.scenarios import SECOND_BACKUP

from seedcorn.errors import StoreUnavailableError
from seedcorn.ids import RepositoryId
from seedcorn.ops.browse import Snapshot
from seedcorn.ops.copy import plan as copy_plan
from seedcorn.ops.copy.tree import TreeCopier
from seedcorn.repo.content.packer import Packer
from seedcorn.repo.content.writer import Writer
from seedcorn.repo.roots import roots
from seedcorn.repo.state.state import State
from seedcorn.testing.simulation.crash_points import crash_points
from seedcorn.testing.simulation.scenario import SimulationOptions, simulate
from seedcorn.testing.simulation.world import InvariantViolationError

SEEDS = 60
OPTIONS = SimulationOptions()


def first_violation(options: SimulationOptions = OPTIONS, *, first: int = 0) -> str:
    """What the first seed that fails says; those before ``first`` are left out, where failures are rare."""
    for seed in range(first, first + SEEDS):
        violation = simulate(seed, options).violation
        if violation:
            return violation
    pytest.fail(f"{SEEDS} seeds, and nothing has been noticed")


@pytest.fixture
def snapshot_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot is put before the packs and segments that it needs."""
    finish, put = Writer.finish, Writer.put

    def put_then_finish(self: Writer, key: str, data: bytes) -> None:
        put(self, key, data)
        finish(self)

    monkeypatch.setattr(Writer, "finish", lambda self: None)
    monkeypatch.setattr(Writer, "put", put_then_finish)


@pytest.fixture
def segments_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs are put after the segment that lists them."""
    put = Packer._put
    held: list[tuple[str, bytes]] = []

    def put_packs_later(self: Packer, key: str, data: bytes | memoryview) -> None:
        if key.startswith("packs/"):
            held.append((key, bytes(data)))
            return
        packs, held[:] = list(held), []
        put(self, key, data)
        for pack in packs:
            put(self, *pack)

    monkeypatch.setattr(Packer, "_put", put_packs_later)


@pytest.mark.usefixtures("snapshot_first")
def test_a_snapshot_before_what_it_needs() -> None:
    assert first_violation().startswith("order: ")


@pytest.mark.usefixtures("snapshot_first")
def test_a_snapshot_before_what_it_needs_is_found_by_crash_points() -> None:
    with pytest.raises(InvariantViolationError, match=r"^order: "):
        crash_points(SECOND_BACKUP)


@pytest.mark.usefixtures("segments_first")
def test_a_segment_before_its_packs() -> None:
    assert first_violation().startswith(("I1: ", "order: "))


def test_a_put_that_failed_taken_for_done(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Writer.put

    def careless(self: Writer, key: str, data: bytes) -> None:
        try:
            put(self, key, data)
        except StoreUnavailableError:
            return

    monkeypatch.setattr(Writer, "put", careless)
    assert first_violation().startswith("I2: ")


def test_a_host_that_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Writer.close

    def tidy(self: Writer) -> None:
        self._repository.store.delete(["packs/none"])
        close(self)

    monkeypatch.setattr(Writer, "close", tidy)
    assert first_violation().startswith("I3: host-")


def test_an_index_that_outlives_a_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(State, "remove_segments", lambda self, keys: None)
    assert first_violation(SimulationOptions(rollback=True)).startswith(("I1: ", "order: "))


def test_a_history_that_nobody_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    for blind in ("check_rollback", "check_gaps", "check_links"):
        monkeypatch.setattr(roots, blind, lambda *_: [])
    monkeypatch.setattr(roots, "check_overtaken", lambda *_: {})
    assert first_violation(SimulationOptions(rollback=True)).startswith("rollback: ")


def test_a_copy_that_does_not_say_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TreeCopier, "_fail", lambda *_: None)
    assert first_violation(SimulationOptions(copies=True)).startswith("I1: the copy of ")


def test_a_copy_that_is_not_made_again_once_more_of_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    recall = copy_plan._recall_copied

    def content(state: State, source: RepositoryId, snapshot: Snapshot) -> copy_plan.Copied | None:
        found = recall(state, source, snapshot)
        return found and msgspec.structs.replace(found, problem_count=0)

    monkeypatch.setattr(copy_plan, "_recall_copied", content)
    assert first_violation(SimulationOptions(copies=True), first=980).startswith("I8: ")


def test_an_exception_of_no_known_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Writer, key: str, data: bytes) -> None:
        raise KeyError(key)

    monkeypatch.setattr(Writer, "put", fail)
    assert first_violation().startswith("a bug: KeyError")
