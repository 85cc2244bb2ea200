"""``seedcorn check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.output import Output
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.progress import CHECK, watched
from seedcorn.cli.render_json import SHORT_ID_DIGITS, error_fields, path_fields
from seedcorn.cli.render_text import count_text, duration_text, size_text
from seedcorn.errors import printable

if TYPE_CHECKING:
    from seedcorn.ops.check import CheckResult

COUNTED = ("snapshots", "hosts", "segments", "packs", "frames", "pack_bytes", "unreferenced_packs", "unreferenced_bytes", "checked_bytes")
EXAMPLES = """
    seedcorn check
    seedcorn check --read-data           # now and then: fetches everything
"""


def declare(parser: Parser) -> None:
    parser.flag("--read-data", help="Read every pack and verify every byte.")


def check_repository(invocation: Invocation) -> int:
    """Verify that everything is there and can be read.

    Without --read-data: header, keys, hosts, history, index, every directory, and that every pack is there. Exit status 13: something is not.
    """
    from seedcorn.ops.check import CheckOptions, check

    session, output, read_data = invocation.owner(), invocation.output, invocation.options.read_data
    with watched(output, CHECK) as monitor:
        result = check(session.browser, CheckOptions(read_data=read_data), session.clock, monitor)
    for affected in result.affected:
        output.emit("affected", snapshot_id=affected.snapshot.hex(), **path_fields(affected.path))
    output.emit(
        "summary",
        read_data=read_data,
        **{name: getattr(result, name) for name in COUNTED},
        problems=[error_fields(problem) for problem in result.problems],
        affected_count=result.affected_count,
        affected_snapshots=[snapshot.hex() for snapshot in result.affected_snapshots],
        elapsed_seconds=round(result.elapsed_ns / 1e9, 3),
        exit_code=result.exit_code,
    )
    _report(output, result, read_data)
    return result.exit_code


def _report(output: Output, result: CheckResult, read_data: bool) -> None:
    for affected in result.affected:
        output.line(f"can not be restored whole: {affected.snapshot.hex()[:SHORT_ID_DIGITS]}:{printable(affected.path)}")
    if result.affected_count > len(result.affected):
        output.line(f"and {result.affected_count - len(result.affected)} more")
    amount = ", ".join(
        count_text(count, noun)
        for count, noun in ((result.snapshots, "snapshot"), (result.segments, "index segment"), (result.packs, "pack"), (result.frames, "frame"))
    )
    output.report(f"Checked {amount} ({size_text(result.pack_bytes)}) in {duration_text(result.elapsed_ns / 1e9)}")
    if result.unreferenced_packs:
        size = size_text(result.unreferenced_bytes)
        output.report(f"{count_text(result.unreferenced_packs, 'pack')} ({size}) left behind by interrupted runs: harmless")
    if result.problems:
        output.report(f"{count_text(len(result.problems), 'problem')} found, see the errors above")
        if any(problem.object_name.startswith("packs/") for problem in result.problems):
            output.report("For packs that are gone (move damaged ones away): `seedcorn backup --force` on their host stores again what it still has")
    elif read_data:
        output.report("Everything is there and every byte is what was written")
    else:
        output.report("Everything is there; --read-data would also read the content of files")


COMMAND = Command(check_repository, declare, EXAMPLES)
