"""``seedcorn snapshots``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_filter
from seedcorn.cli.output import Output, shown
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.render_json import SHORT_ID_DIGITS, snapshot_fields, time_text
from seedcorn.cli.render_text import count_text, local_time, size_text, table
from seedcorn.errors import UsageError, printable

if TYPE_CHECKING:
    from seedcorn.ops.browse import Browser, Snapshot

EXAMPLES = """
    seedcorn snapshots
    seedcorn snapshots latest latest~7
    seedcorn snapshots --host web --path /etc --json
"""


def declare(parser: Parser) -> None:
    parser.word("snapshots", "SNAP", "latest, latest~N or the beginning of an id. [all]", required=False, many=True)
    parser.flag("--all", help="Also those that are forgotten, void, expired or unreadable, with their standing.")
    declare_filter(parser)


def snapshots(invocation: Invocation) -> int:
    """List snapshots, oldest first."""
    from seedcorn.ops.browse import SnapshotFilter

    session, output, references = invocation.owner(), invocation.output, invocation.options.snapshots
    chosen, everything = invocation.snapshot_filter, invocation.options.all
    if everything and references:
        raise UsageError("either --all or some snapshots")
    if everything:
        found = [snapshot for snapshot in session.browser.all_snapshots if chosen.accepts(snapshot, session.browser.hosts)]
    else:
        found = [session.browser.find(reference, chosen) for reference in references] if references else session.snapshots(chosen)
    for snapshot in found:
        output.emit("snapshot", **snapshot_fields(snapshot))
    header = ["ID", "Time", "Host", "Tags", " Files", " Size", *(["Standing"] if everything else []), "Paths"]
    for line in table(header, [_row(snapshot, everything) for snapshot in found]):
        output.line(line)
    if everything and chosen == SnapshotFilter():
        _show_unreadable(output, session.browser)
    output.report(count_text(len(found), "snapshot"))
    return invocation.finish(session.browser.problems)


def _show_unreadable(output: Output, browser: Browser) -> None:
    """Objects of which nothing but the name, the size and the time is known."""
    for one in browser.roots.unreadable:
        fields = {"standing": one.standing.value, "size_bytes": one.size_bytes, "stored_time": time_text(one.stored_ns), "reason": one.reason}
        output.emit("unreadable", id=one.id.hex(), object=one.key, **fields)
        output.line(f"{one.key}  {local_time(one.stored_ns)}  {one.standing.value}: {shown(one.reason)}")


def _row(snapshot: Snapshot, with_standing: bool) -> list[str]:
    owner = snapshot.owner
    statistics = owner.statistics
    return [
        snapshot.id.hex()[:SHORT_ID_DIGITS],
        local_time(owner.start_ns),
        shown(owner.host_name),
        ",".join(map(shown, owner.tags)),
        str(statistics.source_files),
        size_text(statistics.source_file_size),
        *([snapshot.standing.value] if with_standing else []),
        " ".join(map(printable, owner.paths)) + _remarks(snapshot, with_standing),
    ]


def _remarks(snapshot: Snapshot, with_standing: bool) -> str:
    remarks = [] if snapshot.maintain.complete else [count_text(snapshot.owner.error_count, "error")]
    if snapshot.standing.value == "unconfirmed" and not with_standing:
        remarks.append("unconfirmed")
    if snapshot.owner.copied_from:
        remarks.append(f"copy of {snapshot.owner.copied_from.snapshot.hex()[:SHORT_ID_DIGITS]}")
    return f"  ({', '.join(remarks)})" if remarks else ""


COMMAND = Command(snapshots, declare, EXAMPLES)
