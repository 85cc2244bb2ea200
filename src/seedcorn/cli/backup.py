"""``seedcorn backup``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import DryRun, add_command, new_app
from seedcorn.cli.output import Output
from seedcorn.cli.progress import BACKUP, watched
from seedcorn.cli.render_json import requests_fields, statistics_fields, time_text
from seedcorn.cli.render_text import count_text, size_text, statistics_block
from seedcorn.errors import UsageError
from seedcorn.jobs.sessions import BackupArguments
from seedcorn.ops.backup import BackupResult, Requests

app = new_app()

Patterns = Annotated[list[str] | None, typer.Option("-e", "--exclude", metavar="PATTERN", help="Leave out what matches (repeatable).")]
PatternFiles = Annotated[list[str] | None, typer.Option("--exclude-file", metavar="FILE", help="Read such patterns from a file (repeatable).")]
StdinName = Annotated[str, typer.Option("--stdin-filename", metavar="NAME", help="What to call what comes from standard input.")]


@add_command(app)
def backup(
    invocation: Invocation,
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATHS]...", show_default=False, help="Files and directories.")] = None,
    exclude: Patterns = None,
    exclude_file: PatternFiles = None,
    exclude_caches: Annotated[bool, typer.Option("--exclude-caches", help="Leave out directories marked by a CACHEDIR.TAG.")] = False,
    one_file_system: Annotated[bool, typer.Option("-x", "--one-file-system", help="Do not enter other file systems.")] = False,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Tag the snapshot (repeatable).")] = None,
    host: Annotated[str | None, typer.Option("-H", "--host", metavar="NAME", help="What the snapshot calls this machine.")] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Back up standard input as one file.")] = False,
    stdin_filename: StdinName = "stdin",
    force: Annotated[bool, typer.Option("-f", "--force", help="Read every file, changed or not.")] = False,
    dry_run: DryRun = False,
    level: Annotated[int | None, typer.Option("--level", metavar="1-19", help="How hard to compress (zstd).")] = None,
    no_verify_seal: Annotated[bool, typer.Option("--no-verify-seal", help="Do not open what was sealed again before sending it.")] = False,
) -> int:
    """Back up files and directories, or standard input, as a new snapshot.

    Needs this machine's host file and no passphrase. Exit status 3: stored, but some sources could not be read.
    """
    if stdin and paths:
        raise UsageError("either --stdin or paths: for both, make two snapshots")
    if not stdin and not paths:
        raise UsageError("nothing to back up: give at least one path, or --stdin")
    arguments = BackupArguments(
        tags=tag or (),
        excludes=exclude or (),
        exclude_files=exclude_file or (),
        exclude_caches=exclude_caches,
        one_file_system=one_file_system,
        force=force,
        dry_run=dry_run,
        verify_seal=not no_verify_seal,
    )
    if level is not None:
        arguments["level"] = level
    if host is not None:
        arguments["host_name"] = host
    session = invocation.host()
    with watched(invocation.output, BACKUP) as monitor:
        arguments["monitor"] = monitor
        result = session.backup_stream(_read_stdin, stdin_filename, **arguments) if stdin else session.backup(paths or (), **arguments)
    # A run that stored something reports every request of this process, those of opening the repository too.
    _report(invocation.output, result, result.requests if dry_run else session.repository.store.requests)
    return result.exit_code


def _read_stdin(view: memoryview) -> int:
    return os.readv(sys.stdin.fileno(), (view,))


def _report(output: Output, result: BackupResult, requests: Requests) -> None:
    statistics, elapsed_seconds = result.statistics, result.elapsed_ns / 1e9
    snapshot = result.snapshot.hex() if result.snapshot else None
    by_verb = requests_fields(requests)
    output.emit(
        "summary",
        snapshot_id=snapshot,
        dry_run=snapshot is None,
        start_time=time_text(result.start_ns),
        end_time=time_text(result.end_ns),
        elapsed_seconds=round(elapsed_seconds, 3),
        **statistics_fields(statistics),
        requests=by_verb,
        put_bytes=requests.put_bytes,
        get_bytes=requests.get_bytes,
        integrity_problems=len(result.problems),
        exit_code=result.exit_code,
    )
    if output.quiet:
        return
    for line in statistics_block(statistics, start_ns=result.start_ns, end_ns=result.end_ns, elapsed_seconds=elapsed_seconds):
        output.line(line)
    rate = statistics.source_file_size / max(elapsed_seconds, 0.001)
    would = "" if snapshot else "would be "
    output.line(f"Snapshot      {snapshot or 'none: this was a dry run, nothing was stored'}")
    output.line(f"Deduplicated  {size_text(statistics.deduplicated_bytes)} of {size_text(statistics.read_bytes)} read")
    output.line(f"Packs         {would}{statistics.data_packs} data, {statistics.listing_packs} listing")
    output.line(f"Requests      {would}{', '.join(f'{count} {verb}' for verb, count in by_verb.items())}")
    output.line(f"Throughput    {size_text(rate)}/s")
    if result.errors:
        output.line(f"Not stored    {count_text(len(result.errors), 'source')} that could not be read; see the errors above")
