"""What must hold in every run, as far as backups, restores and checks go. The numbers are those of the threat model's list."""

from __future__ import annotations

import os
from collections.abc import Sequence

from seedcorn.errors import SeedcornError
from seedcorn.events import RecordingMonitor
from seedcorn.format.names import pack_key
from seedcorn.format.tree import Kind
from seedcorn.ops.browse import Browser
from seedcorn.repo.needed import IndexedFrames
from seedcorn.testing.repositories import read_file
from seedcorn.testing.simulation.faults import Verb
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


def _snapshots_are_put_last(world: World) -> None:
    """Order of writing: whatever becomes of its host, a snapshot that is in the store finds every frame that it needs in a pack that is there."""
    if world.claims_end:
        return
    browser = world.judge()
    indexed = IndexedFrames.of(browser.state)
    for snapshot in browser.snapshots:
        needed = indexed.needed_by(snapshot)
        packs = {pack_key(place.host, place.pack) for place in browser.state.frame_places(needed.frames).values()}
        if needed.missing or not packs <= world.store.contents.objects.keys():
            raise InvariantViolationError(f"order: {snapshot.key} was put before what it needs")


def _keys_are_written_once(world: World) -> None:
    """I3: no key is put twice with different bytes, and hosts delete nothing."""
    operation = world.store.log[-1]
    if operation.verb is Verb.DELETE and operation.actor in {host.name for host in world.hosts}:
        raise InvariantViolationError(f"I3: {operation.actor} deletes {operation.key}")
    if operation.content is not None and world.written.setdefault(operation.key, operation.content) != operation.content:
        raise InvariantViolationError(f"I3: {operation.key} is put again with other bytes")


INVARIANTS: Sequence[Invariant] = (
    Invariant("I1", frozenset({Moment.REMOVAL, Moment.END}), _confirmed_snapshots_restore),
    Invariant("order of writing", frozenset({Moment.END}), _snapshots_are_put_last),
    Invariant("I3", frozenset({Moment.OPERATION}), _keys_are_written_once),
)
