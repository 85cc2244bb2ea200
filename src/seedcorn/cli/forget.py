"""``seedcorn forget``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_dry_run, declare_maintain, declare_prune, prune_arguments
from seedcorn.cli.output import Output, shown
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.prune import run_prune
from seedcorn.cli.render_json import SHORT_ID_DIGITS, time_text
from seedcorn.cli.render_retention import decision_fields, group_text, retention_lines
from seedcorn.cli.render_text import count_text, local_time, size_text
from seedcorn.cli.retention_options import chosen_grouping, chosen_policy, declare_retention
from seedcorn.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from seedcorn.jobs.maintain_session import Maintaining
    from seedcorn.ops.retention.forget import ForgetPlan
    from seedcorn.ops.retention.plan import RetentionGroup

EXAMPLES = """
    seedcorn forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 -n
    seedcorn forget --keep-within 1m --host web --prune
    seedcorn forget 5f3a9c 41d07b
    seedcorn forget 9d41c7e05b22:4-6                    # numbers that are lacking
"""


def declare(parser: Parser) -> None:
    parser.word("snapshots", "SNAP", "Forget these, by the beginnings of their ids or whole names. [what a policy says]", required=False, many=True)
    declare_retention(parser)
    parser.option("-H", "--host", metavar="NAME", action="append", default=[], help="Only snapshots of this host (repeatable).")
    parser.option("--tag", metavar="TAG", action="append", default=[], help="Only snapshots with this tag (repeatable).")
    declare_dry_run(parser)
    parser.flag("--prune", help="Then prune.")
    declare_prune(parser)
    declare_maintain(parser)


def forget(invocation: Invocation) -> int:
    """Remove snapshots, by a policy or one by one.

    Shows which ones go, why, and how many bytes that would free, and writes that down. Nothing is deleted before `prune`; until then `undelete` takes
    it back. Snapshots that can not be read or are lost, which stop `prune`, are given up in this way, too.
    """
    options, output = invocation.options, invocation.output
    if options.snapshots:
        if options.host or options.tag or any(value for name, value in vars(options).items() if name.startswith("keep_")):
            raise UsageError("either snapshots or a policy (--keep-…, --host, --tag)")
        session = invocation.maintainer()
        plan = session.plan_forget(options.snapshots)
    else:
        policy, grouping = chosen_policy(options), chosen_grouping(options)
        session = invocation.maintainer()
        plan = session.plan_forget(policy, grouping=grouping, hosts=options.host, tags=options.tag)
    _show(output, session, plan, options.dry_run)
    if not options.dry_run:
        session.forget(plan)
    _report(output, plan, options.dry_run)
    if options.prune:
        if options.dry_run and plan.chosen:
            output.report("What `prune` would do now, while what would be forgotten is still needed:")
        return run_prune(invocation, session, **prune_arguments(options))
    return EXIT_DONE


def _show(output: Output, session: Maintaining, plan: ForgetPlan, dry_run: bool) -> None:
    """Which snapshots go, and why."""
    names = session.host_names()

    def describe(group: RetentionGroup) -> str:
        if group.host is None or group.host not in names:
            return group_text(group)
        return f"{shown(names[group.host])}, {group_text(group)}"

    for group in plan.retention.groups:
        for decision in group.decisions:
            output.emit("decision", **decision_fields(decision, plan.freed.alone))
    for line in retention_lines(plan.retention, plan.freed.alone, describe):
        output.plan(line, dry_run=dry_run)
    _show_unreadable(output, plan, dry_run)


def _report(output: Output, plan: ForgetPlan, dry_run: bool) -> None:
    """What has been done, or would be."""
    count = sum(bool(ref.snapshot) for ref in plan.chosen)
    lacking = len(plan.chosen) - count
    output.emit(
        "summary",
        forgotten=[ref.snapshot.hex() for ref in plan.chosen if ref.snapshot],
        lacking=lacking,
        kept=len(plan.retention.kept),
        frees_bytes=plan.freed.together,
        dry_run=dry_run,
    )
    would = "Would forget" if dry_run else "Forgot"
    if count or not lacking:
        output.report(f"{would} {count_text(count, 'snapshot')}; `prune` will free about {size_text(plan.freed.together)} for it")
    for ref in plan.gone:
        if ref.snapshot:
            output.report(f"{ref.snapshot.hex()[:SHORT_ID_DIGITS]} is gone from the store already")
    if lacking:
        output.report(f"{would} {count_text(lacking, 'snapshot')} of which only {'the number is' if lacking == 1 else 'the numbers are'} known")


def _show_unreadable(output: Output, plan: ForgetPlan, dry_run: bool) -> None:
    """What they are, and what it means to give them up."""
    for one in plan.unreadable:
        output.emit("unreadable", id=one.id.hex(), object=one.key, size_bytes=one.size_bytes, stored_time=time_text(one.stored_ns), reason=one.reason)
        what = f"{one.key} can not be read: {shown(one.reason)} ({size_text(one.size_bytes)}, stored {local_time(one.stored_ns)})"
        output.plan(what, dry_run=dry_run)
    if plan.unreadable:
        output.plan("What is in it can not be known. Nothing else is lost: all other snapshots keep what they need.", dry_run=dry_run)


COMMAND = Command(forget, declare, EXAMPLES)
