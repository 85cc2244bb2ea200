"""``seedcorn restore``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_dry_run, declare_filter
from seedcorn.cli.output import Output
from seedcorn.cli.parser import Command, Namespace, Parser
from seedcorn.cli.progress import RESTORE, watched
from seedcorn.cli.render_json import SHORT_ID_DIGITS, error_fields, requests_fields
from seedcorn.cli.render_text import count_text, duration_text, size_text
from seedcorn.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from seedcorn.jobs.owner_session import RestoreArguments
    from seedcorn.ops.browse import Snapshot
    from seedcorn.ops.restore.restore import RestoreResult

EXAMPLES = """
    seedcorn restore latest --target /mnt/new
    seedcorn restore latest~1:/etc/fstab --target /tmp
    seedcorn restore latest:/home --include '*.odt' --host web --dry-run
"""
PROCESSES_LIMIT = 64


def declare(parser: Parser) -> None:
    parser.word("snapshot", "SNAP[:/PATH]", "latest, latest~N or the beginning of an id; and what of it.")
    parser.option("-t", "--target", metavar="DIR", help="Where to; must be empty or not there yet. [a new directory here]")
    parser.option("-i", "--include", metavar="PATTERN", action="append", default=[], help="Only what matches (repeatable).")
    parser.option("-e", "--exclude", metavar="PATTERN", action="append", default=[], help="Leave out what matches (repeatable).")
    declare_dry_run(parser)
    parser.option(
        "--overwrite",
        metavar="always|never",
        choices=("always", "never"),
        help="The target need not be empty: replace files that are there, or keep them.",
    )
    parser.option("--processes", metavar="N", type=int, help="Processes that decrypt and write. [one a core]")
    declare_filter(parser)


def restore(invocation: Invocation) -> int:
    """Get files back: all of a snapshot, or what is at PATH in it.

    A directory's content goes into the target; a single file goes there under its own name. A file that is damaged in the repository is named and
    left out, and the exit status is 13.
    """
    from seedcorn.ops.browse import split_reference

    options, output = invocation.options, invocation.output
    if options.processes is not None and not 0 <= options.processes <= PROCESSES_LIMIT:
        raise UsageError(f"{options.processes} processes: give a number from 0 (none but this one) to {PROCESSES_LIMIT}")
    reference, inside = split_reference(options.snapshot)
    session = invocation.owner()
    chosen = session.browser.find(reference, invocation.snapshot_filter)
    target = invocation.path(options.target or f"seedcorn-restore-{chosen.id.hex()[:SHORT_ID_DIGITS]}")
    arguments = _arguments(options, inside)
    begun = time.monotonic()
    with watched(output, RESTORE) as monitor:
        arguments["monitor"] = monitor
        result = session.restore(chosen, target, **arguments)
    seconds = time.monotonic() - begun
    requests = session.repository.store.requests  # of this process, those of opening the repository too
    code = invocation.finish(session.browser.problems, result.exit_code)
    output.emit(
        "summary",
        snapshot_id=chosen.id.hex(),
        target=str(target),
        dry_run=options.dry_run,
        entries=result.entries,
        files=result.files,
        bytes=result.bytes,
        skipped=result.skipped,
        errors=[error_fields(error) for error in result.errors[:100]],
        error_count=len(result.errors),
        elapsed_seconds=round(seconds, 3),
        requests=requests_fields(requests),
        get_bytes=requests.get_bytes,
        exit_code=code,
    )
    _report(output, result, chosen, target, seconds, options.dry_run)
    return code


def _arguments(options: Namespace, inside: bytes) -> RestoreArguments:
    arguments: RestoreArguments = {
        "path": inside,
        "includes": options.include,
        "excludes": options.exclude,
        "dry_run": options.dry_run,
        "existing": options.overwrite is not None,
        "overwrite": options.overwrite or "always",
    }
    if options.processes is not None:
        arguments["processes"] = options.processes
    return arguments


def _report(output: Output, result: RestoreResult, snapshot: Snapshot, target: Path, seconds: float, dry_run: bool) -> None:
    kept = f", kept {result.skipped} that were there" if result.skipped else ""
    failed = f"; {count_text(len(result.errors), 'error')}, see above" if result.errors else ""
    amount = f"{count_text(result.entries, 'entry')} ({count_text(result.files, 'file')}, {size_text(result.bytes)})"
    verb = "Would restore" if dry_run else "Restored"
    source = snapshot.id.hex()[:SHORT_ID_DIGITS]
    output.report(f"{verb} {amount} of snapshot {source} to {target} in {duration_text(seconds)}{kept}{failed}")


COMMAND = Command(restore, declare, EXAMPLES)
