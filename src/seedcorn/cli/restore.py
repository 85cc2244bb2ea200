"""``seedcorn restore``."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import typer

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import DryRun, HostFilter, PathFilter, TagFilter, add_command, new_app
from seedcorn.cli.progress import RESTORE, watched
from seedcorn.cli.render_json import SHORT_ID_DIGITS, error_fields, requests_fields
from seedcorn.cli.render_text import count_text, duration_text, size_text
from seedcorn.errors import UsageError
from seedcorn.jobs.sessions import RestoreArguments, snapshot_filter
from seedcorn.ops.browse import split_reference

app = new_app()

Target = Annotated[str | None, typer.Option("-t", "--target", metavar="DIR", help="Where to; must be empty or not there yet. [a new directory here]")]
Overwrite = Annotated[
    Literal["always", "never"] | None,
    typer.Option("--overwrite", metavar="always|never", help="The target need not be empty: replace files that are there, or keep them."),
]
PROCESSES_LIMIT = 64


@add_command(app)
def restore(
    invocation: Invocation,
    snapshot: Annotated[str, typer.Argument(metavar="SNAP[:/PATH]", help="latest, latest~N or the beginning of an id; and what of it.")],
    target: Target = None,
    include: Annotated[list[str] | None, typer.Option("-i", "--include", metavar="PATTERN", help="Only what matches (repeatable).")] = None,
    exclude: Annotated[list[str] | None, typer.Option("-e", "--exclude", metavar="PATTERN", help="Leave out what matches (repeatable).")] = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = None,
    processes: Annotated[int | None, typer.Option("--processes", metavar="N", help="Processes that decrypt and write. [one a core]")] = None,
    host: HostFilter = None,
    tag: TagFilter = None,
    path: PathFilter = None,
) -> int:
    """Get files back: all of a snapshot, or what is at PATH in it.

    A directory's content goes into the target; a single file goes there under its own name. A file that is damaged in the repository is named and
    left out, and the exit status is 13.
    """
    if processes is not None and not 0 <= processes <= PROCESSES_LIMIT:
        raise UsageError(f"{processes} processes: give a number from 0 (none but this one) to {PROCESSES_LIMIT}")
    reference, inside = split_reference(snapshot)
    session, output = invocation.owner(), invocation.output
    chosen = session.browser.find(reference, snapshot_filter(host, tag, path))
    short_id = chosen.id.hex()[:SHORT_ID_DIGITS]
    where = invocation.path(target or f"seedcorn-restore-{short_id}")
    arguments = RestoreArguments(
        path=inside, includes=include or (), excludes=exclude or (), dry_run=dry_run, existing=overwrite is not None, overwrite=overwrite or "always"
    )
    if processes is not None:
        arguments["processes"] = processes
    begun = time.monotonic()
    with watched(output, RESTORE) as monitor:
        arguments["monitor"] = monitor
        result = session.restore(chosen, where, **arguments)
    seconds = time.monotonic() - begun
    requests = session.repository.store.requests  # of this process, those of opening the repository too
    code = invocation.finish(session.browser.problems, result.exit_code)
    output.emit(
        "summary",
        snapshot_id=chosen.id.hex(),
        target=str(where),
        dry_run=dry_run,
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
    if not output.quiet:
        kept = f", kept {result.skipped} that were there" if result.skipped else ""
        failed = f"; {count_text(len(result.errors), 'error')}, see above" if result.errors else ""
        amount = f"{count_text(result.entries, 'entry')} ({count_text(result.files, 'file')}, {size_text(result.bytes)})"
        verb = "Would restore" if dry_run else "Restored"
        output.line(f"{verb} {amount} of snapshot {short_id} to {where} in {duration_text(seconds)}{kept}{failed}")
    return code
