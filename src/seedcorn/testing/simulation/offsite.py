"""A second repository, to which its owner copies what is confirmed in the first while others are at work there: production code, in processes of its
own.

Owns that repository, on a store that does nothing wrong: what befalls a copy comes from where it reads, and from its own end. Invariants: a copy that
calls itself complete gives back what was promised of the original (I1), and once nothing fails any more every promise has such a copy (I8).
"""

from __future__ import annotations

import os

from seedcorn.errors import SeedcornError
from seedcorn.events import VoidMonitor
from seedcorn.ids import SnapshotId
from seedcorn.ops import access
from seedcorn.ops.browse import Standing, open_browser
from seedcorn.ops.copy.copy import CopyResult, copy_snapshots, plan_copy
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import read_tree
from seedcorn.testing.simulation.hosts import WRITER
from seedcorn.testing.simulation.process import Purpose
from seedcorn.testing.simulation.scheduler import Actor, Crash
from seedcorn.testing.simulation.world import InvariantViolationError, World

__all__ = ["Offsite"]


class Offsite:
    """The second repository, and the machine that is the first one's owner and a host of this one."""

    def __init__(self, world: World) -> None:
        made = world.other_founding
        self._world = world
        self._store = MemoryStore(url="offsite://")
        for key, data in made.objects.items():
            self._store.put(key, data)
        self._words, self._host_file = made.words, made.host_files[0]
        self._source_state = world.local_state("copier/source", world.maintain_file.key.repository)
        self._state = world.local_state("copier/offsite", self._host_file.key.repository)
        self._judge_state = world.local_state("copier/judge", self._host_file.key.repository)

    def lose_states(self) -> None:
        """The machine's disk is gone."""
        self._source_state.lose()
        self._state.lose()

    def copy(self, actor: Actor) -> CopyResult:
        """Copy what is confirmed and not here yet; then look at all copies."""
        try:
            with self._world.process(actor, self._source_state, Purpose("copy")) as connection:
                browser = open_browser(self._world.owner(connection), self._source_state.opened)
                destination, state = access.open_host(self._store, self._host_file), self._state.opened
                chosen = [snapshot for snapshot in browser.snapshots if snapshot.standing is Standing.CONFIRMED]
                plan = plan_copy(browser, chosen, destination, state)
                result = copy_snapshots(browser, destination, state, plan, WRITER, actor.clock, VoidMonitor())
        except Crash:
            self._state.close()
            raise
        self.copied()
        return result

    def must_copy(self, actor: Actor) -> None:
        """When nothing fails any more: whatever was interrupted is finished.

        Raises:
            InvariantViolationError: it is not.
        """
        if not self._world.attempt("last copy", lambda: self.copy(actor)):
            raise InvariantViolationError(f"I8: nothing can be copied any more: {self._world.last_error}")
        if missing := self._world.confirmed.keys() - self.copied():
            raise InvariantViolationError(f"I8: {len(missing)} confirmed snapshots have no complete copy")

    def copied(self) -> set[SnapshotId]:
        """The snapshots, promised or forgotten since, that have a complete copy.

        Raises:
            InvariantViolationError: a copy gives back something else.
        """
        originals = {**self._world.forgotten, **self._world.confirmed}
        found: set[SnapshotId] = set()
        browser = open_browser(access.open_owner_with_words(self._store, self._words), self._judge_state.opened)
        for copy in browser.snapshots:
            original = originals.get(SnapshotId(copy.owner.copied_from.snapshot)) if copy.owner.copied_from else None
            if original is None or not copy.maintain.complete or copy.standing is not Standing.CONFIRMED:
                continue
            top = os.fsencode(original.host.source.folder)
            try:
                tree = read_tree(browser, copy.id.hex(), top)
            except SeedcornError as error:
                raise InvariantViolationError(f"I1: the copy of {original.key} can not be restored: {error}") from error
            if {path[len(top) + 1 :]: content for path, content in tree.items() if content is not None} != original.tree:
                raise InvariantViolationError(f"I1: the copy of {original.key} claims to be whole, and is not")
            found.add(original.snapshot)
        return found
