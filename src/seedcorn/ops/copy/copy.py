"""Copying snapshots to another repository with keys of its own: read as the owner of one, written as a host of the other.

Each snapshot goes through a run of its own, as a backup does, from the list of collections to the confirmed snapshot; what an earlier run has stored
is found in the index and in the memory of copied contents, so a copy that was killed goes on where it was.

docs/format.md, sections "Snapshot" and "Order of writing and reading". Invariant: a snapshot counts as copied only once its copy is confirmed.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, IntegrityError, SeedcornError
from seedcorn.events import Clock, Counter, Monitor
from seedcorn.format.snapshot import CopiedFrom
from seedcorn.ids import SnapshotId
from seedcorn.ops.backup.run import ATTEMPTS, ERRORS_LIMIT, BackupOptions, BackupRun
from seedcorn.ops.browse import Browser, Snapshot
from seedcorn.ops.copy.content import FETCHES, ContentSource
from seedcorn.ops.copy.plan import Copied, CopyPlan, PlannedCopy, plan_copy, remember_copied
from seedcorn.ops.copy.tree import TreeCopier
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.roots.needed import IndexedFrames
from seedcorn.repo.state.state import FrameSet, State
from seedcorn.store.api import Requests

__all__ = ["CopyPlan", "CopyResult", "PlannedCopy", "SnapshotCopy", "copy_snapshots", "plan_copy"]


@dataclass(frozen=True, slots=True)
class SnapshotCopy:
    """One snapshot and its copy; ``copy`` is None if none was made, because nothing more of it can be read than is in an earlier one.

    ``read_bytes`` of content were read from the source, ``new_bytes`` of them were not in the destination yet. ``problems`` name the first of
    ``error_count`` paths that are damaged.
    """

    source: Snapshot
    copy: SnapshotId | None
    read_bytes: int
    new_bytes: int
    problems: tuple[IntegrityError, ...]
    error_count: int


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What came of it. ``problems`` are those of the destination; requests those that reading and writing made."""

    copies: tuple[SnapshotCopy, ...]
    problems: tuple[IntegrityError, ...]
    source_requests: Requests
    requests: Requests
    elapsed_ns: int

    @property
    def exit_code(self) -> int:
        return EXIT_INTEGRITY if self.problems or any(copy.problems for copy in self.copies) else EXIT_DONE


def copy_snapshots(
    browser: Browser, destination: HostRepository, state: State, plan: CopyPlan, writer: WriterOptions, clock: Clock, monitor: Monitor
) -> CopyResult:
    """Carry out a plan. ``state`` is the destination's. Damage in the source is named, and the rest is copied.

    Raises:
        SeedcornError: one of the stores fails, or this host has been revoked. What is copied by then stays, and the next call goes on.
    """
    source_store, store = browser.repository.store, destination.store
    source_before, before, begun_ns = dataclasses.replace(source_store.requests), dataclasses.replace(store.requests), clock.elapsed_ns()
    monitor.expect(Counter.COPIED_SNAPSHOTS, len(plan.wanted))
    monitor.expect(Counter.COPIED_BYTES, sum(planned.content_bytes for planned in plan.wanted))
    copies: list[SnapshotCopy] = []
    with ThreadPoolExecutor(FETCHES, thread_name_prefix="seedcorn-copy") as pool:
        copier = _Copier(browser, destination, state, writer, clock, monitor, pool)
        for planned in plan.wanted:
            copies.append(copier.copy(planned))
            monitor.count(Counter.COPIED_SNAPSHOTS)
    return CopyResult(
        copies=tuple(copies),
        problems=tuple(copier.problems),
        source_requests=source_store.requests.since(source_before),
        requests=store.requests.since(before),
        elapsed_ns=clock.elapsed_ns() - begun_ns,
    )


@dataclass(slots=True)
class _Copier:
    browser: Browser
    destination: HostRepository
    state: State
    writer: WriterOptions
    clock: Clock
    monitor: Monitor
    pool: Executor
    problems: list[IntegrityError] = field(default_factory=list)
    _indexed: IndexedFrames = field(init=False)

    def __post_init__(self) -> None:
        self._indexed = IndexedFrames.of(self.browser.state)

    def copy(self, planned: PlannedCopy) -> SnapshotCopy:
        for _ in range(ATTEMPTS):
            copy = self._try(planned)
            if copy is not None:
                return copy
            self.monitor.note("a collection has removed data that this copy was about to reuse: what is missing is read and stored again")
        raise SeedcornError(
            f"{ATTEMPTS} times a collection has removed what this copy relied on: is `prune` running without pause? Run the copy again"
        )

    def _try(self, planned: PlannedCopy) -> SnapshotCopy | None:
        """One attempt; None if it was torn."""
        snapshot, repository = planned.snapshot, self.browser.repository.repository
        original = snapshot.owner
        options = BackupOptions(original.host_name, tags=original.tags, writer=self.writer)
        with BackupRun(self.destination, self.state, original.paths, options, self.clock, self.monitor) as run:
            self.problems += [problem for problem in run.problems if str(problem) not in map(str, self.problems)]
            tree = TreeCopier(
                ContentSource(self.browser.reader, self._needed(snapshot), self.pool),
                run.writer,
                self.state,
                self.state.copied_contents(repository, self.destination.key.secrets.domain),
                self.monitor,
                run.heartbeat,
                label=snapshot.id.hex()[:12],
            )
            root = tree.copy(original.root)

            def done(copy: SnapshotId | None) -> SnapshotCopy:
                return SnapshotCopy(snapshot, copy, tree.read_bytes, tree.new_bytes, tuple(tree.problems), tree.error_count)

            if _is_no_better(planned, tree, is_empty=bool(original.root.content) and not root.content):
                return done(None)
            run.writer.finish()
            owner = msgspec.structs.replace(
                original,
                root=root,
                errors=(*original.errors, *tree.errors)[:ERRORS_LIMIT],
                error_count=original.error_count + tree.error_count,
                copied_from=CopiedFrom(repository, snapshot.id),
            )
            committed = run.commit_snapshot(owner, tree.frames)
        if committed is None:
            return None
        remember_copied(self.state, repository, snapshot.id, Copied(*committed, tree.error_count))
        return done(committed[0])

    def _needed(self, snapshot: Snapshot) -> FrameSet:
        """For reading ahead, so it may be wrong."""
        with suppress(IntegrityError):
            return self._indexed.needed_by(snapshot).frames
        return FrameSet()


def _is_no_better(planned: PlannedCopy, tree: TreeCopier, *, is_empty: bool) -> bool:
    """Whether a damaged snapshot is not worth a copy: nothing of it can be read, or no more than an earlier copy has."""
    earlier = planned.earlier
    return bool(tree.problems) and (is_empty or (earlier is not None and tree.error_count >= earlier.problem_count))
