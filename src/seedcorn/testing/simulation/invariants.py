"""What must hold in every run, whatever anybody does. The numbers are those of the threat model's list; what is asked of the processes of hosts and
maintainers one by one is in ``protocol``."""

from __future__ import annotations

import os
from collections.abc import Sequence

from seedcorn.errors import SeedcornError
from seedcorn.events import RecordingMonitor
from seedcorn.format.tree import Kind
from seedcorn.ops.browse import Browser
from seedcorn.testing.repositories import read_file
from seedcorn.testing.simulation.faults import Verb
from seedcorn.testing.simulation.protocol import PROTOCOL
from seedcorn.testing.simulation.source import Tree
from seedcorn.testing.simulation.world import Confirmed, Invariant, InvariantViolationError, Moment, World

__all__ = ["INVARIANTS"]


def _confirmed_snapshots_restore(world: World) -> None:
    """I1: every confirmed snapshot gives back each file bit for bit."""
    if not world.confirmed:
        return
    browser = world.judge()
    for confirmed in world.confirmed.values():
        try:
            found = _tree_of(browser, confirmed)
        except SeedcornError as error:
            raise InvariantViolationError(f"I1: {confirmed.key} can not be restored: {error}") from error
        if found != confirmed.tree:
            raise InvariantViolationError(f"I1: {confirmed.key} gives back something else")


def _tree_of(browser: Browser, confirmed: Confirmed) -> Tree:
    """The files of a snapshot, as a reader with a fresh machine gets them."""
    top = os.fsencode(confirmed.host.source.folder)
    monitor = RecordingMonitor()
    entries = browser.walk(browser.entry(browser.find(confirmed.snapshot.hex()), top), monitor)
    tree = {entry.path[len(top) + 1 :]: read_file(browser, entry.node) for entry in entries if entry.node.kind == Kind.FILE}
    if monitor.errors:
        raise monitor.errors[0]
    return tree


def _promises_are_reachable(world: World) -> None:
    """I1, after each removal and by bitmaps alone: every frame that a confirmed snapshot needs is in a pack that is there and listed."""
    operation = world.store.log[-1]
    truth, objects = world.truth, world.store.contents.objects
    for confirmed in world.confirmed.values():
        if confirmed.key not in objects or confirmed.receipt_key not in objects:
            raise InvariantViolationError(f"I12: {operation.actor} has removed {confirmed.key}, or its receipt, which nobody has forgotten")
        if truth.lacks(truth.needed_now(confirmed.key, confirmed.needed), truth.is_reachable):
            raise InvariantViolationError(f"I1: {operation.actor} has removed the last copy of what {confirmed.key} needs")


def _snapshots_are_put_last(world: World) -> None:
    """Order of writing: whatever becomes of its host, a snapshot finds every frame that it needs, unless a collection has taken it meanwhile."""
    operation, truth = world.store.log[-1], world.truth
    if operation.verb is not Verb.PUT or not operation.key.startswith("snapshots/") or operation.key not in world.store.contents.objects:
        return
    if operation.key in world.lies | world.overtaken or world.claims_end:
        return
    needed = truth.needed_by(operation.key)
    process = world.processes.get(operation.actor)
    if (process and process.is_rolled_back) or not world.torn_sessions.isdisjoint({truth.session_of(operation.key), *needed}):
        return
    if truth.lacks(needed, lambda pack: truth.is_reachable(pack) or pack in truth.swept_ever):
        raise InvariantViolationError(f"order: {operation.key} was put before what it needs")


def _keys_are_written_once(world: World) -> None:
    """I3: no key is put twice with different bytes, and hosts delete nothing. Who lies may try."""
    operation = world.store.log[-1]
    if operation.key in world.lies:
        return
    if operation.verb is Verb.DELETE and operation.actor in {host.name for host in world.hosts}:
        raise InvariantViolationError(f"I3: {operation.actor} deletes {operation.key}")
    if operation.content is not None and world.written.setdefault(operation.key, operation.content) != operation.content:
        raise InvariantViolationError(f"I3: {operation.key} is put again with other bytes")


INVARIANTS: Sequence[Invariant] = (
    Invariant("I1", frozenset({Moment.END}), _confirmed_snapshots_restore),
    Invariant("I1 and I12 by bitmaps", frozenset({Moment.REMOVAL, Moment.CONFIRMED}), _promises_are_reachable),
    Invariant("order of writing", frozenset({Moment.OPERATION}), _snapshots_are_put_last),
    Invariant("I3", frozenset({Moment.OPERATION}), _keys_are_written_once),
    *PROTOCOL,
)
