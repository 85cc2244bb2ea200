"""``seedcorn stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_filter
from seedcorn.cli.output import Output
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.render_json import SHORT_ID_DIGITS, snapshot_fields
from seedcorn.cli.render_text import count_text, size_text, statistics_block
from seedcorn.errors import UsageError

if TYPE_CHECKING:
    from seedcorn.ops.browse import Snapshot
    from seedcorn.ops.usage import Usage

EXAMPLES = """
    seedcorn stats
    seedcorn stats latest
    seedcorn stats --last --host web     # what its newest backup did
"""


def declare(parser: Parser) -> None:
    parser.word("snapshot", "SNAP", "Only this snapshot. [all]", required=False)
    parser.flag("--last", help="Instead: what the backup that made the newest snapshot did.")
    declare_filter(parser)


def stats(invocation: Invocation) -> int:
    """Show how much snapshots hold and how much of the store they need."""
    from seedcorn.ops.usage import usage

    reference, output = invocation.options.snapshot, invocation.output
    if invocation.options.last and reference:
        raise UsageError("either --last or a snapshot")
    session = invocation.owner()
    chosen = invocation.snapshot_filter
    if invocation.options.last:
        _report_backup(output, session.browser.find("latest", chosen))
    else:
        snapshots = [session.browser.find(reference, chosen)] if reference else session.snapshots(chosen)
        _report_usage(output, usage(session.browser, snapshots))
    return invocation.finish(session.browser.problems)


def _report_backup(output: Output, snapshot: Snapshot) -> None:
    owner = snapshot.owner
    output.emit("statistics", **snapshot_fields(snapshot))
    output.line(f"Snapshot {snapshot.id.hex()[:SHORT_ID_DIGITS]}")
    elapsed_seconds = (owner.end_ns - owner.start_ns) / 1e9
    for line in statistics_block(owner.statistics, start_ns=owner.start_ns, end_ns=owner.end_ns, elapsed_seconds=elapsed_seconds):
        output.line(line)


def _report_usage(output: Output, found: Usage) -> None:
    from dataclasses import asdict

    stored = found.stored
    ratios = {
        "deduplication_ratio": round(found.deduplication_ratio, 3),
        "compression_ratio": round(found.compression_ratio, 3),
        "overhead_percent": round(found.overhead_percent, 3),
    }
    output.emit("stats", **(asdict(found) | {"stored": asdict(stored) | {"total": stored.total}}), **ratios)
    lines = {
        "Snapshots": f"{found.snapshots}, {size_text(found.logical_bytes)} if each of them were restored",
        "Needed": f"{size_text(found.sealed_bytes)} in {count_text(found.frames, 'frame')} of {count_text(found.packs, 'pack')}",
        "Content": f"{size_text(found.raw_data_bytes)} of files, {size_text(found.raw_listing_bytes)} of listings, before compression",
        "Ratios": f"deduplication {found.deduplication_ratio:.2f}, compression {found.compression_ratio:.2f}",
        "Stored": f"{size_text(stored.total)} in {count_text(stored.objects, 'object')}, whoever needs it:",
        "  data": size_text(stored.data_packs),
        "  listings": size_text(stored.listing_packs),
        "  index": size_text(stored.index),
        "  snapshots": size_text(stored.snapshots),
        "  other": size_text(stored.other),
    }
    if stored.unreferenced_packs:
        lines["  unreferenced"] = f"{size_text(stored.unreferenced_packs)}, left behind by runs that were interrupted"
    lines["Overhead"] = f"{found.overhead_percent:.2f} % of what is stored is not file content"
    for name, text in lines.items():
        output.line(f"{name:15} {text}")


COMMAND = Command(stats, declare, EXAMPLES)
