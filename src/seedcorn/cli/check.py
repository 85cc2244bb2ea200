"""``seedcorn check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_dry_run, declare_subset, duration
from seedcorn.cli.output import Output
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.progress import CHECK, watched
from seedcorn.cli.render_damage import damage_fields, damage_line, emit_plan, emit_repair, plan_lines, repair_lines
from seedcorn.cli.render_json import SHORT_ID_DIGITS, error_fields, path_fields
from seedcorn.cli.render_text import count_text, duration_text, size_text
from seedcorn.errors import UsageError, printable

if TYPE_CHECKING:
    from seedcorn.cli.parser import Namespace
    from seedcorn.jobs.owner_session import OwnerSession
    from seedcorn.ops.browse import Browser
    from seedcorn.ops.check.check import CheckOptions, CheckResult, Examination

COUNTED = (
    "snapshots",
    "hosts",
    "segments",
    "packs",
    "frames",
    "pack_bytes",
    "unreferenced_packs",
    "unreferenced_bytes",
    "read_packs",
    "skipped_packs",
    "published_packs",
    "checked_bytes",
)
EXAMPLES = """
    seedcorn check
    seedcorn check --read-data                             # fetches everything
    seedcorn check --read-data-subset 3/30                 # on the third
    seedcorn check --read-data-subset 20G --max-age 90d    # every night
    seedcorn check --read-data --repair --dry-run          # what can be mended?
"""


def declare(parser: Parser) -> None:
    parser.flag("--read-data", help="Read every pack and verify every byte.")
    declare_subset(parser)
    parser.option("--max-age", metavar="DURATION", help="Read no pack that this machine verified less than DURATION (as in 90d) ago.")
    parser.flag("--publish", help="Tell all hosts which packs have been verified, so that they may share them.")
    parser.flag("--repair", help="Put right what can be, and say what is lost.")
    declare_dry_run(parser)
    parser.flag("--delete-damaged", help="When repairing, delete damaged packs once all that is good in them is elsewhere.")


def check_repository(invocation: Invocation) -> int:
    """Verify that everything is there and can be read; put right what is not.

    Without --read-data: header, keys, hosts, history, index, every directory, and that every pack is there. Exit status 13: something is not.
    """
    options, output = invocation.options, invocation.output
    chosen = _chosen(options)
    session = invocation.owner()
    examination = _examine(session, session.browser, chosen, output)
    if options.repair and _repair(session, examination, options, output):
        from seedcorn.ops.browse import open_browser
        from seedcorn.ops.check.check import CheckOptions

        output.report("Checking again, without reading packs")
        examination = _examine(session, open_browser(session.repository, session.state), CheckOptions(), output)
    result = examination.result
    _show(output, examination.browser, result, chosen.read_data)
    _report(output, result, options)
    return result.exit_code


def _chosen(options: Namespace) -> CheckOptions:
    """What the options ask for.

    Raises:
        UsageError: they do not fit together.
    """
    from seedcorn.ops.check.check import CheckOptions
    from seedcorn.ops.check.choice import parse_subset

    subset = parse_subset(options.read_data_subset) if options.read_data_subset else None
    read_data = options.read_data or subset is not None
    if (options.max_age or options.publish) and not read_data:
        raise UsageError("--max-age and --publish are about packs that are read: give --read-data or --read-data-subset, too")
    if (options.dry_run or options.delete_damaged) and not options.repair:
        raise UsageError("--dry-run and --delete-damaged say how to repair: give --repair, too")
    if options.dry_run and options.publish:
        raise UsageError("--publish puts something into the repository, and --dry-run changes nothing: give one of them")
    max_age_ns = duration("--max-age", options.max_age).clock_seconds * 10**9 if options.max_age else 0
    return CheckOptions(read_data=read_data, subset=subset, max_age_ns=max_age_ns, publish=options.publish)


def _examine(session: OwnerSession, browser: Browser, chosen: CheckOptions, output: Output) -> Examination:
    from seedcorn.ops.check.check import examine

    with watched(output, CHECK) as monitor:
        return examine(browser, chosen, session.clock, monitor)


def _repair(session: OwnerSession, examination: Examination, options: Namespace, output: Output) -> bool:
    """Show the plan and, unless that was all that was asked for, do it. Whether anything has been done."""
    from seedcorn.ops.check.repair import execute_repair
    from seedcorn.ops.check.repair_plan import RepairOptions, plan_repair

    plan = plan_repair(examination.browser, examination, RepairOptions(delete_damaged=options.delete_damaged))
    emit_plan(output, plan)
    for line in plan_lines(plan):
        output.plan(line, dry_run=options.dry_run)
    if options.dry_run or plan.is_empty:
        return False
    with watched(output, CHECK) as monitor:
        repaired = execute_repair(examination.browser, examination, plan, monitor)
    emit_repair(output, repaired)
    for line in repair_lines(repaired):
        output.report(line)
    if repaired.collected_meanwhile:
        output.warn("`seedcorn prune` was at work at the same time: run `seedcorn check --repair` once more when it has ended")
    return True


def _show(output: Output, browser: Browser, result: CheckResult, read_data: bool) -> None:
    for affected in result.affected:
        output.emit("affected", snapshot_id=affected.snapshot.hex(), lost_bytes=affected.lost_bytes, **path_fields(affected.path))
    snapshots = {snapshot.id: snapshot for snapshot in browser.snapshots}
    for damage in result.damage:
        output.emit("damage", **damage_fields(damage, snapshots[damage.snapshot]))
    output.emit(
        "summary",
        read_data=read_data,
        **{name: getattr(result, name) for name in COUNTED},
        problems=[error_fields(problem) for problem in result.problems],
        affected_count=result.affected_count,
        affected_snapshots=[damage.snapshot.hex() for damage in result.damage],
        elapsed_seconds=round(result.elapsed_ns / 1e9, 3),
        exit_code=result.exit_code,
    )
    for affected in result.affected:
        lost = "a directory, and all that was below" if affected.is_directory else f"{size_text(affected.lost_bytes)} of it lost"
        output.line(f"can not be restored whole: {affected.snapshot.hex()[:SHORT_ID_DIGITS]}:{printable(affected.path)} ({lost})")
    if result.affected_count > len(result.affected):
        output.line(f"and {result.affected_count - len(result.affected)} more")
    for damage in result.damage:
        output.line(damage_line(damage, snapshots[damage.snapshot]))


def _report(output: Output, result: CheckResult, options: Namespace) -> None:
    amount = ", ".join(
        count_text(count, noun)
        for count, noun in ((result.snapshots, "snapshot"), (result.segments, "index segment"), (result.packs, "pack"), (result.frames, "frame"))
    )
    output.report(f"Checked {amount} ({size_text(result.pack_bytes)}) in {duration_text(result.elapsed_ns / 1e9)}")
    if result.read_packs or result.skipped_packs:
        published = f"; {count_text(result.published_packs, 'pack')} newly published as verified" if options.publish else ""
        output.report(f"Read {count_text(result.read_packs, 'pack')}, left out {result.skipped_packs}{published}")
    if result.unreferenced_packs:
        packs = f"{count_text(result.unreferenced_packs, 'pack')} ({size_text(result.unreferenced_bytes)}) that no index segment lists"
        if not result.problems:
            packs += ", as interrupted runs leave them: harmless"
        elif not options.repair:  # the index may have lost them
            packs += ": a repair lists again those that are good"
        output.report(packs)
    if result.problems:
        output.report(f"{count_text(len(result.problems), 'problem')} found, see the errors above")
        if not options.repair:
            output.report("`seedcorn check --read-data --repair --dry-run` shows what can be put right; docs/guide/check.md says what to do")
    elif result.read_packs and not result.skipped_packs:
        output.report("Everything is there and every byte is what was written")
    elif result.read_packs:
        output.report("Everything is there, and what was read is what was written")
    elif result.skipped_packs:
        output.report("Everything is there, and all that was to be read has been verified lately")
    else:
        output.report("Everything is there; --read-data would also read the content of files")


COMMAND = Command(check_repository, declare, EXAMPLES)
