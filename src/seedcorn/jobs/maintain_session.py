"""Forgetting, pruning and taking back, as a front end holds them: by the owner, or by a machine that has a maintain file and can read nothing.

Owns what the arguments mean where none is given. Plans are values: ``plan_forget`` and ``plan_prune`` show what ``forget`` and ``prune`` would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import TypedDict, Unpack

from seedcorn.events import Clock, Monitor, SystemClock, VoidMonitor
from seedcorn.ids import SnapshotId
from seedcorn.jobs.local_zone import LocalZone
from seedcorn.jobs.sessions import Session
from seedcorn.ops import access
from seedcorn.ops.gc.plan import GRACE_NS, CollectionOptions, CollectionPlan, MaxUnused
from seedcorn.ops.gc.survey import Surveyor
from seedcorn.ops.gc.sweep import CollectionResult, Collector
from seedcorn.ops.retention.forget import ForgetPlan, forget_snapshots, plan_forget_by_id, plan_forget_by_policy, undelete_snapshots
from seedcorn.ops.retention.plan import DEFAULT_GROUPING, GroupBy
from seedcorn.ops.retention.policy import Policy
from seedcorn.repo.roots.collections import Pack

__all__ = ["MaintainSession", "Maintaining", "PolicyArguments", "PruneArguments"]


class PolicyArguments(TypedDict, total=False):
    """Keyword arguments of ``plan_forget``."""

    grouping: frozenset[GroupBy]
    zone: tzinfo  # says when days begin; this machine's
    hosts: Sequence[str]  # only snapshots of these: names (the owner alone knows them) or the beginnings of ids
    tags: Sequence[str]  # only snapshots with all of these


class PruneArguments(TypedDict, total=False):
    """Keyword arguments of ``plan_prune`` and ``prune``."""

    grace_seconds: float  # what is marked waits so long, by the store's clock; 72 hours
    max_unused: str  # how much of what stays may be unused: 5%, 200M, unlimited
    allow_large: bool  # even if more than 30 % of all bytes would go
    emptied: frozenset[Pack]  # repacked however little is unused in them
    monitor: Monitor


class Maintaining(Session):
    """What owners and maintainers can do alike."""

    @property
    def maintained(self) -> access.MaintainRepository:
        """The repository as a maintainer sees it."""
        raise NotImplementedError

    def host_names(self) -> dict[bytes, str]:
        """What this session knows hosts by."""
        return {}

    def plan_forget(self, policy: Policy | Sequence[str], **arguments: Unpack[PolicyArguments]) -> ForgetPlan:
        """Which snapshots would be forgotten: by a policy, or by the beginnings of their ids.

        Raises:
            UsageError: no or several snapshots have such an id, or no host has such a name.
            IntegrityError: a policy is given, and something is damaged or missing.
        """
        survey = Surveyor(self.maintained, self.state).survey()
        if not isinstance(policy, Policy):
            return plan_forget_by_id(survey, policy)
        hosts = access.match_hosts(arguments.get("hosts", ()), survey.registry, self.host_names())
        tags = set(arguments.get("tags", ()))
        return plan_forget_by_policy(
            survey,
            policy,
            zone=arguments.get("zone") or LocalZone(),
            grouping=arguments.get("grouping", DEFAULT_GROUPING),
            accepts=lambda root: (not hosts or root.ref.host in hosts) and tags <= set(root.maintain.tags),
        )

    def forget(self, plan: ForgetPlan) -> None:
        """Carry out a plan: one signed record, nothing is deleted. ``undelete`` takes it back until a collection has swept."""
        forget_snapshots(self.maintained, plan.roots, plan.chosen, self.clock)

    def undelete(self, references: Sequence[str]) -> list[SnapshotId]:
        """Take back that snapshots were forgotten.

        Raises:
            UsageError: one of them is not forgotten.
            SeedcornError: a collection has begun to remove what one of them needs; they all stay forgotten.
        """
        return undelete_snapshots(self.maintained, self.state, references, self.clock)

    def plan_prune(self, **arguments: Unpack[PruneArguments]) -> CollectionPlan:
        """What ``prune`` would do now. Nothing is written anywhere.

        Raises:
            IntegrityError: something is damaged or missing, so that nobody can say what is needed.
        """
        return self._collector(arguments).plan(dry_run=True)

    def collector(self, **arguments: Unpack[PruneArguments]) -> Collector:
        """For who wants to show the plan and then carry out the same."""
        return self._collector(arguments)

    def prune(self, **arguments: Unpack[PruneArguments]) -> CollectionResult:
        """Mark what nothing needs, and delete what was marked long enough ago.

        Raises:
            SeedcornError: more than 30 % of all bytes would go, and ``allow_large`` is not set.
            IntegrityError: as ``plan_prune``.
        """
        collector = self._collector(arguments)
        return collector.carry_out(collector.plan())

    def _collector(self, arguments: PruneArguments) -> Collector:
        usual = CollectionOptions()
        options = CollectionOptions(
            grace_ns=round(arguments.get("grace_seconds", GRACE_NS / 1e9) * 1e9),
            max_unused=MaxUnused.parse(arguments["max_unused"]) if "max_unused" in arguments else usual.max_unused,
            allow_large=arguments.get("allow_large", False),
            emptied=arguments.get("emptied", frozenset()),
        )
        return Collector(self.maintained, self.state, options, arguments.get("monitor") or VoidMonitor())


class MaintainSession(Maintaining):
    """A maintainer: sees ids, sizes and times, no names and no content."""

    def __init__(self, repository: access.MaintainRepository, state: access.State, clock: Clock | None = None) -> None:
        super().__init__(repository.store, state, clock or SystemClock())
        self.repository = repository

    @property
    def maintained(self) -> access.MaintainRepository:
        return self.repository
