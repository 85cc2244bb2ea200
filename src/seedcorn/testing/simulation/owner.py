"""What the owner does in a world: check, restore, repair, relocate, and get rid of what stops a collection. Production code, in processes of its own.

Owns these jobs. What a restore gives back as whole, and what it says to be gone, is held against what was promised.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from seedcorn.events import VoidMonitor
from seedcorn.ops.browse import open_browser
from seedcorn.ops.check import check as checking
from seedcorn.ops.check.check import CheckOptions, CheckResult, examine
from seedcorn.ops.check.repair import RepairResult, execute_repair
from seedcorn.ops.check.repair_plan import RepairOptions, plan_repair
from seedcorn.ops.deep.deep import Deep, DeepOptions
from seedcorn.ops.deep.plan import plan_deep
from seedcorn.ops.gc.survey import Surveyor
from seedcorn.ops.restore import restore as restoring
from seedcorn.ops.restore.restore import RestoreOptions, RestoreResult
from seedcorn.ops.retention.forget import forget_snapshots, plan_forget_by_id
from seedcorn.ops.revoke import plan_revocation, revoke
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.roots.collections import Pack
from seedcorn.testing.simulation.machines import LocalState
from seedcorn.testing.simulation.process import Purpose
from seedcorn.testing.simulation.scheduler import Actor
from seedcorn.testing.simulation.source import Tree
from seedcorn.testing.simulation.world import Confirmed, InvariantViolationError, World

__all__ = ["check", "deep", "get_out", "repair", "restore"]

_ONE = 1  # connection, reader: so that all happens in the actor's thread
_DEEP = DeepOptions(PackerOptions(workers=0, connections=_ONE), batch_bytes=1)
_COMMAND = re.compile(r"`seedcorn forget ([^`]+)`")
_ROUNDS = 3
_NUMBERS_LIMIT = 10_000  # that can be forgotten at once


def check(world: World, actor: Actor, *, read_data: bool, publish: bool = False) -> CheckResult:
    """Check the repository."""
    with world.process(actor, world.owner_state, Purpose("check")) as connection:
        browser = open_browser(world.owner(connection), world.owner_state.opened)
        options = CheckOptions(read_data=read_data, publish=publish, connections=_ONE, readers=_ONE)
        world.seen_by_owner.update(snapshot.key for snapshot in browser.snapshots)
        return checking.check(browser, options, actor.clock, VoidMonitor())


def restore(world: World, actor: Actor, confirmed: Confirmed) -> RestoreResult:
    """Restore a snapshot.

    Raises:
        InvariantViolationError: it claims to have worked, and the files are not what they should be.
    """
    target = world.new_folder("restored")
    try:
        with world.process(actor, world.owner_state, Purpose("restore")) as connection:
            browser = open_browser(world.owner(connection), world.owner_state.opened)
            snapshot = browser.find(confirmed.snapshot.hex())
            world.seen_by_owner.update(snapshot.key for snapshot in browser.snapshots)
            source = os.fsencode(confirmed.host.source.folder)
            result = restoring.restore(browser, snapshot, source, RestoreOptions(target, processes=0), VoidMonitor())
        if not result.errors and _tree_in(target) != confirmed.tree:
            raise InvariantViolationError(f"I1: a restore of {confirmed.key} claims to be whole, and is not")
        return result
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _tree_in(folder: Path) -> Tree:
    return {os.fsencode(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def repair(world: World, actor: Actor, *, delete_damaged: bool) -> RepairResult:
    """Check everything as the owner, and put right what can be."""
    with world.process(actor, world.owner_state, Purpose("repair", writes=True)) as connection:
        browser = open_browser(world.owner(connection), world.owner_state.opened)
        examination = examine(browser, CheckOptions(read_data=True, connections=_ONE, readers=_ONE), actor.clock, VoidMonitor())
        plan = plan_repair(browser, examination, RepairOptions(delete_damaged=delete_damaged, readers=_ONE))
        return execute_repair(browser, examination, plan, VoidMonitor())


def deep(world: World, actor: Actor, machine: LocalState) -> frozenset[Pack]:
    """Write anew, as the owner, what is used of every frame that has anything dead in it, one pack at a time; the packs that this empties."""
    with world.process(actor, machine, Purpose("deep", writes=True)) as connection:
        repository, state = world.owner(connection), machine.opened
        survey = Surveyor(maintained_by_owner(repository), state).survey()
        plan = plan_deep(repository, state, survey, max_dead=0.0)
        result = Deep(repository, state, survey, plan, _DEEP, actor.clock, VoidMonitor()).carry_out()
    world.outcomes["frames written anew"] += result.frames
    return plan.packs


def get_out(world: World, actor: Actor, *, by_revoking: bool) -> None:
    """The owner does what messages say until nothing stops a collection: forgets what they name, or first revokes the host that lies, with the last
    number that the program proposes, unless that has to be a lie.

    Raises:
        InvariantViolationError: something still stops it, or something that was promised to somebody else has been forgotten for it.
    """
    promised = dict(world.confirmed)
    everybody = {host.host_file.key.host for host in (*world.hosts, world.liar)}
    with world.process(actor, world.owner_state, Purpose("get out", writes=True, may_forget=everybody)) as connection:
        owner, state = world.owner(connection), world.owner_state.opened
        repository = maintained_by_owner(owner)
        if by_revoking:
            proposed = plan_revocation(owner, state, world.liar.name).last_seq
            last_seq = proposed if proposed < _NUMBERS_LIMIT else 0
            revoke(owner, plan_revocation(owner, state, world.liar.name, last_seq=last_seq), actor.clock)
            world.end_promises_after(world.liar, last_seq)
        for _ in range(_ROUNDS):
            survey = Surveyor(repository, state).survey()
            commands = [command for problem in survey.problems for command in _COMMAND.findall(problem.message)]
            if not commands:
                break
            plan = plan_forget_by_id(survey, " ".join(commands).split())
            forget_snapshots(repository, plan.roots, plan.chosen, actor.clock)
    if survey.problems:
        raise InvariantViolationError(f"I7: the owner can not get rid of this: {survey.problems[0]}")
    lost = [one for snapshot, one in promised.items() if snapshot not in world.confirmed and one.host is not world.liar]
    if lost:
        raise InvariantViolationError(f"I12: {len(lost)} snapshots of others are forgotten because a host has lied")
