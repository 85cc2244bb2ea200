"""``seedcorn backup``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_dry_run
from seedcorn.cli.output import Output
from seedcorn.cli.parser import Command, Namespace, Parser
from seedcorn.cli.progress import BACKUP, watched
from seedcorn.cli.render_json import requests_fields, statistics_fields, time_text
from seedcorn.cli.render_text import count_text, size_text, statistics_block
from seedcorn.errors import UsageError

if TYPE_CHECKING:
    from seedcorn.jobs.host_session import BackupArguments
    from seedcorn.ops.backup.backup import BackupResult, Requests

EXAMPLES = """
    seedcorn backup -r s3://bucket/prefix /etc /home
    seedcorn backup --exclude '*.tmp' --exclude-caches --one-file-system /
    pg_dumpall | seedcorn backup --stdin --stdin-filename all.sql --tag database
"""


def declare(parser: Parser) -> None:
    parser.word("paths", "PATH", "Files and directories.", required=False, many=True)
    parser.option("-e", "--exclude", metavar="PATTERN", action="append", default=[], help="Leave out what matches (repeatable).")
    parser.option("--exclude-file", metavar="FILE", action="append", default=[], help="Read such patterns from a file (repeatable).")
    parser.flag("--exclude-caches", help="Leave out directories marked by a CACHEDIR.TAG.")
    parser.flag("-x", "--one-file-system", help="Do not enter other file systems.")
    parser.option("--tag", metavar="TAG", action="append", default=[], help="Tag the snapshot (repeatable).")
    parser.option("-H", "--host", metavar="NAME", help="What the snapshot calls this machine.")
    parser.flag("--stdin", help="Back up standard input as one file.")
    parser.option("--stdin-filename", metavar="NAME", default="stdin", help="What to call what comes from standard input. [stdin]")
    parser.flag("-f", "--force", help="Read every file, changed or not.")
    declare_dry_run(parser)
    parser.option("--level", metavar="1-19", type=int, help="How hard to compress (zstd).")
    parser.flag("--no-verify-seal", help="Do not open what was sealed again before sending it.")


def backup(invocation: Invocation) -> int:
    """Back up files and directories, or standard input, as a new snapshot.

    Needs this machine's host file and no passphrase. Exit status 3: stored, but some sources could not be read.
    """
    options = invocation.options
    if options.stdin and options.paths:
        raise UsageError("either --stdin or paths: for both, make two snapshots")
    if not options.stdin and not options.paths:
        raise UsageError("nothing to back up: give at least one path, or --stdin")
    arguments = _arguments(options)
    session = invocation.host()
    with watched(invocation.output, BACKUP) as monitor:
        arguments["monitor"] = monitor
        if options.stdin:
            result = session.backup_stream(_read_stdin, options.stdin_filename, **arguments)
        else:
            result = session.backup(options.paths, **arguments)
    # A run that stored something reports every request of this process, those of opening the repository too.
    _report(invocation.output, result, result.requests if options.dry_run else session.repository.store.requests)
    return result.exit_code


def _arguments(options: Namespace) -> BackupArguments:
    arguments: BackupArguments = {
        "tags": options.tag,
        "excludes": options.exclude,
        "exclude_files": options.exclude_file,
        "exclude_caches": options.exclude_caches,
        "one_file_system": options.one_file_system,
        "force": options.force,
        "dry_run": options.dry_run,
        "verify_seal": not options.no_verify_seal,
    }
    if options.level is not None:
        arguments["level"] = options.level
    if options.host is not None:
        arguments["host_name"] = options.host
    return arguments


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
    for line in statistics_block(statistics, start_ns=result.start_ns, end_ns=result.end_ns, elapsed_seconds=elapsed_seconds):
        output.report(line)
    rate = statistics.source_file_size / max(elapsed_seconds, 0.001)
    would = "" if snapshot else "would be "
    output.report(f"Snapshot      {snapshot or 'none: this was a dry run, nothing was stored'}")
    output.report(f"Deduplicated  {size_text(statistics.deduplicated_bytes)} of {size_text(statistics.read_bytes)} read")
    output.report(f"Packs         {would}{statistics.data_packs} data, {statistics.listing_packs} listing")
    output.report(f"Requests      {would}{', '.join(f'{count} {verb}' for verb, count in by_verb.items())}")
    output.report(f"Throughput    {size_text(rate)}/s")
    if result.errors:
        output.report(f"Not stored    {count_text(len(result.errors), 'source')} that could not be read; see the errors above")


COMMAND = Command(backup, declare, EXAMPLES)
