"""``seedcorn prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_dry_run, declare_maintain, declare_prune, prune_arguments
from seedcorn.cli.output import Output
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.progress import RunMonitor
from seedcorn.cli.render_deep import report_deep, show_deep
from seedcorn.cli.render_text import count_text, size_text, table
from seedcorn.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from seedcorn.jobs.maintain_session import Maintaining, PruneArguments
    from seedcorn.ops.gc.plan import CollectionPlan
    from seedcorn.ops.gc.sweep import CollectionResult

EXAMPLES = """
    seedcorn prune -n
    seedcorn prune
    seedcorn prune --maintain-file maintain.json --max-unused 10%
    seedcorn prune --deep -n
"""
RESULT = (
    "marked_packs",
    "marked_bytes",
    "repacked_packs",
    "repacked_bytes",
    "deleted_packs",
    "deleted_bytes",
    "kept_packs",
    "rewritten_segments",
    "deleted_snapshots",
    "damaged_packs",
)


def declare(parser: Parser) -> None:
    declare_dry_run(parser)
    declare_prune(parser)
    parser.flag("--deep", help="First write anew what is used of frames that are mostly dead. Needs the passphrase.")
    parser.option("--max-dead", metavar="SHARE", help="With --deep: how much of a frame may be dead. [50%]")
    declare_maintain(parser)


def prune(invocation: Invocation) -> int:
    """Delete what no snapshot needs any more.

    In two steps: what nothing needs is marked, and deleted by the first run after the grace. Backups may run meanwhile, and other prunes: nothing is
    locked. Needs the passphrase or a maintain file, and reads no content, unless with --deep.
    """
    options = invocation.options
    arguments = prune_arguments(options)
    if not options.deep:
        if options.max_dead:
            raise UsageError("--max-dead says how --deep goes: give both")
        return run_prune(invocation, invocation.maintainer(), **arguments)
    if options.maintain_file:
        raise UsageError("--deep reads what is in packs, and a maintain file can not: give the passphrase instead")
    return _prune_deep(invocation, **arguments)


def _prune_deep(invocation: Invocation, **arguments: Unpack[PruneArguments]) -> int:
    """The old frames are garbage only once their content is elsewhere, so a dry run shows what could be pruned before that."""
    output, options, session = invocation.output, invocation.options, invocation.owner()
    deep = session.deep(max_dead=options.max_dead or "50%", monitor=RunMonitor(output))
    show_deep(output, deep.plan, dry_run=options.dry_run)
    code = EXIT_DONE
    if not options.dry_run:
        result = deep.carry_out()
        report_deep(output, result)
        code = result.exit_code
        arguments["emptied"] = deep.plan.packs
    return run_prune(invocation, session, **arguments) or code


def run_prune(invocation: Invocation, session: Maintaining, **arguments: Unpack[PruneArguments]) -> int:
    """Show the plan, then carry it out unless this is a dry run."""
    output, dry_run = invocation.output, invocation.options.dry_run
    arguments["monitor"] = RunMonitor(output)
    collector = session.collector(**arguments)
    plan = collector.plan(dry_run=dry_run)
    _show_plan(output, plan, dry_run)
    if dry_run:
        return EXIT_DONE
    result = collector.carry_out(plan)
    output.emit("summary", **{name: getattr(result, name) for name in RESULT})
    for line in _done(result, plan):
        output.report(line)
    return result.exit_code


def _show_plan(output: Output, plan: CollectionPlan, dry_run: bool) -> None:
    output.emit("plan", dry_run=dry_run, **plan_fields(plan))
    rows = [
        ["nothing needs, to be marked", str(len(plan.new)), size_text(plan.new_bytes)],
        ["marked, grace not over", str(len(plan.waiting)), size_text(plan.waiting_bytes)],
        ["to be deleted now", str(len(plan.ripe)), size_text(plan.ripe_bytes)],
        ["to be repacked", str(len(plan.repack)), f"{size_text(plan.repack_bytes)}, of which {size_text(plan.repack_used_bytes)} needed"],
        ["unused in packs that stay", "", size_text(plan.unused_bytes)],
        ["needed", "", size_text(plan.used_bytes)],
        ["all", "", size_text(plan.total_bytes)],
    ]
    for line in table(["What", " Packs", "Size"], rows):
        output.plan(line, dry_run=dry_run)


def plan_fields(plan: CollectionPlan) -> dict[str, Any]:
    """A plan for a program."""
    counted = {f"{name}_packs": len(getattr(plan, name)) for name in ("new", "waiting", "ripe", "repack")}
    sizes = {
        name: getattr(plan, name)
        for name in ("new_bytes", "waiting_bytes", "ripe_bytes", "repack_bytes", "repack_used_bytes", "unused_bytes", "used_bytes", "total_bytes")
    }
    return {
        **counted,
        **sizes,
        "merge_segments": len(plan.merge),
        "expired_snapshots": [ref.snapshot.hex() for ref in plan.expired],
        "removed_snapshots": [ref.snapshot.hex() for ref in plan.removed],
        "expired_checkpoints": len(plan.expired_checkpoints),
    }


def _done(result: CollectionResult, plan: CollectionPlan) -> list[str]:
    lines = [f"Deleted {count_text(result.deleted_packs, 'pack')}, {size_text(result.deleted_bytes)}"]
    if result.marked_packs:
        lines.append(f"Marked {count_text(result.marked_packs, 'pack')}, {size_text(result.marked_bytes)}")
    if result.repacked_packs:
        lines.append(f"Repacked {count_text(result.repacked_packs, 'pack')} into {size_text(result.repacked_bytes)}")
    if result.kept_packs:
        lines.append(f"Kept {count_text(result.kept_packs, 'pack')} that somebody has come to need")
    if result.damaged_packs:
        lines.append(f"{count_text(result.damaged_packs, 'pack')} could not be repacked for damage: `seedcorn check --read-data --repair`")
    waiting = result.marked_packs + len(plan.waiting) - result.deleted_packs
    if waiting > 0:
        lines.append(f"{count_text(waiting, 'pack')} will go with the first `prune` after the grace")
    return lines


COMMAND = Command(prune, declare, EXAMPLES)
