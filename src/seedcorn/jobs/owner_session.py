"""A repository opened for reading, as a front end holds it. Owns what the arguments of a restore mean where none is given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from seedcorn.events import Clock, Monitor, SystemClock, VoidMonitor
from seedcorn.jobs.maintain_session import Maintaining
from seedcorn.ops import access
from seedcorn.ops.browse import Browser, Entry, Snapshot, SnapshotFilter, Standing, open_browser, split_reference
from seedcorn.ops.restore.restore import Overwrite, RestoreOptions, RestoreResult, restore

if TYPE_CHECKING:  # only a copy and a deep prune need what writes
    from seedcorn.jobs.host_session import HostSession
    from seedcorn.ops.copy.copy import CopyPlan, CopyResult
    from seedcorn.ops.deep.deep import Deep

__all__ = ["CopyArguments", "OwnerSession", "RestoreArguments", "snapshot_filter"]


class CopyArguments(TypedDict, total=False):
    """Keyword arguments of ``OwnerSession.copy_to``."""

    level: int  # of zstd, 1 to 19
    verify_seal: bool  # open every sealed frame again before it is sent
    monitor: Monitor


class RestoreArguments(TypedDict, total=False):
    """Keyword arguments of ``OwnerSession.restore``."""

    path: str | bytes | os.PathLike[str]  # absolute, in the snapshot; all of it if left out
    includes: Sequence[str]
    excludes: Sequence[str]
    dry_run: bool
    existing: bool  # the target need not be empty
    overwrite: Literal["always", "never"]  # what becomes of files that are there
    processes: int  # that write; 0: this one alone. Otherwise by the number of cores
    monitor: Monitor


class OwnerSession(Maintaining):
    """The owner: can read everything, and do what a maintainer may."""

    def __init__(self, repository: access.OwnerRepository, state: access.State, clock: Clock | None = None) -> None:
        super().__init__(repository.store, state, clock or SystemClock())
        self.repository = repository

    @cached_property
    def maintained(self) -> access.MaintainRepository:
        """The repository as a maintainer sees it."""
        return access.maintained_by_owner(self.repository)

    def host_names(self) -> dict[bytes, str]:
        """As the owner has enrolled them."""
        return {host: enrolled.name for host, enrolled in access.registry(self.repository, self.state).hosts.items()}

    @cached_property
    def browser(self) -> Browser:
        """All snapshots and the index as they were when this was first asked for; ``problems`` are what is wrong with them."""
        return open_browser(self.repository, self.state)

    def snapshots(self, chosen: SnapshotFilter = SnapshotFilter()) -> list[Snapshot]:  # noqa: B008  # frozen
        """Every good snapshot that ``chosen`` accepts, oldest first."""
        return self.browser.select(chosen)

    def browse(self, reference: str | Snapshot = "latest", path: str | bytes | os.PathLike[str] = "/") -> Entry:
        """What is at ``path`` in a snapshot; ``browser.children`` and ``browser.walk`` lead on from there.

        Raises:
            UsageError: no such snapshot, or nothing is there.
        """
        return self.browser.entry(self._snapshot(reference), os.fsencode(path))

    def restore(self, reference: str | Snapshot, target: str | os.PathLike[str], **arguments: Unpack[RestoreArguments]) -> RestoreResult:
        """Restore a snapshot (``latest``, ``latest~1``, the beginning of an id, each with ``:/path`` if only that is wanted) into ``target``.

        Raises:
            UsageError: no such snapshot, nothing at that path, or the target is not empty and ``existing`` is not set.
        """
        path = os.fsencode(arguments.get("path", b"/"))
        if isinstance(reference, str) and ":" in reference:
            reference, path = split_reference(reference)
        usual = RestoreOptions(Path(target))
        options = replace(
            usual,
            includes=tuple(arguments.get("includes", ())),
            excludes=tuple(arguments.get("excludes", ())),
            dry_run=arguments.get("dry_run", False),
            existing=arguments.get("existing", False),
            overwrite=Overwrite(arguments.get("overwrite", usual.overwrite)),
            processes=arguments.get("processes", usual.processes),
        )
        return restore(self.browser, self._snapshot(reference), path, options, arguments.get("monitor") or VoidMonitor())

    def plan_copy(
        self,
        host: HostSession,
        references: Sequence[str | Snapshot] = (),
        chosen: SnapshotFilter = SnapshotFilter(),  # noqa: B008  # frozen
        *,
        again: bool = False,
    ) -> CopyPlan:
        """What ``copy_to`` would copy: the snapshots of these names, or every confirmed one, that ``chosen`` accepts. ``again``: copied or not.

        Raises:
            UsageError: no such snapshot, or ``host`` is one of this repository.
        """
        from seedcorn.ops.copy.copy import plan_copy

        if references:
            found = [self.browser.find(one, chosen) if isinstance(one, str) else one for one in references]
        else:
            found = [snapshot for snapshot in self.browser.select(chosen) if snapshot.standing is Standing.CONFIRMED]
        return plan_copy(self.browser, found, host.repository, host.state, again=again)

    def copy_to(self, host: HostSession, plan: CopyPlan | None = None, **arguments: Unpack[CopyArguments]) -> CopyResult:
        """Copy what ``plan_copy`` has planned (without a plan: every confirmed snapshot that has not been copied yet) to the repository of ``host``.

        Raises:
            UsageError: an impossible level, or ``host`` is one of this repository.
            SeedcornError: one of the stores fails. What has been copied stays, and the next call goes on.
        """
        from seedcorn.ops.copy.copy import copy_snapshots

        writer = host.writer_options(level=arguments.get("level"), verify_seal=arguments.get("verify_seal", True))
        plan = self.plan_copy(host) if plan is None else plan
        return copy_snapshots(self.browser, host.repository, host.state, plan, writer, host.clock, arguments.get("monitor") or VoidMonitor())

    def deep(self, *, max_dead: str = "50%", monitor: Monitor | None = None) -> Deep:
        """What comes before a deep prune: its ``plan`` says which frames are mostly dead, ``carry_out`` writes anew what of them is used. A ``prune``
        should follow at once, with ``emptied`` the packs of the plan. ``max_dead``: how much of a frame may be dead.

        Raises:
            UsageError: not a percentage below 100.
            IntegrityError: something is damaged or missing, so that nobody can say what is used.
        """
        from seedcorn.ops.deep.deep import Deep, DeepOptions
        from seedcorn.ops.deep.plan import parse_max_dead, plan_deep
        from seedcorn.ops.gc.survey import Surveyor

        share = parse_max_dead(max_dead)
        survey = Surveyor(self.maintained, self.state).survey()
        plan = plan_deep(self.repository, self.state, survey, share)
        return Deep(self.repository, self.state, survey, plan, DeepOptions(), self.clock, monitor or VoidMonitor())

    def _snapshot(self, reference: str | Snapshot) -> Snapshot:
        return self.browser.find(reference) if isinstance(reference, str) else reference


def snapshot_filter(host: str | None = None, tags: Sequence[str] | None = None, paths: Sequence[str | bytes] | None = None) -> SnapshotFilter:
    """The filter that asks for what is given; relative paths are taken from the current directory, as they were when they were backed up."""
    return SnapshotFilter(host or "", tuple(tags or ()), tuple(os.fsencode(os.path.abspath(path)) for path in paths or ()))
