"""``seedcorn copy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_dry_run, declare_filter
from seedcorn.cli.output import Output, shown
from seedcorn.cli.parser import Command, Namespace, Parser
from seedcorn.cli.progress import COPY, watched
from seedcorn.cli.render_json import SHORT_ID_DIGITS, error_fields, requests_fields, time_text
from seedcorn.cli.render_text import count_text, duration_text, local_time, size_text, table
from seedcorn.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from seedcorn.jobs.owner_session import CopyArguments
    from seedcorn.ops.browse import Snapshot
    from seedcorn.ops.copy.copy import CopyPlan, CopyResult

EXAMPLES = """
    seedcorn copy --from-repo /mnt/disk/backups -r s3://bucket/offsite -n
    seedcorn copy --from-repo /mnt/disk/backups -r s3://bucket/offsite
    seedcorn copy --from-repo s3://bucket/a -r s3://bucket/b latest --host web
"""


def declare(parser: Parser) -> None:
    parser.word("snapshots", "SNAP", "latest, latest~N or the beginning of an id. [all that are not there yet]", required=False, many=True)
    parser.option("--from-repo", metavar="PLACE", help="Copy from this repository. [SEEDCORN_FROM_REPOSITORY]")
    parser.option("--from-passphrase-file", metavar="FILE", help="Read its passphrase from a file.")
    parser.option("--from-passphrase-command", metavar="COMMAND", help="Run this to get its passphrase.")
    parser.option("--from-words-file", metavar="FILE", help="Open it with the recovery words in a file instead.")
    parser.flag("-f", "--force", help="Also what has been copied already.")
    declare_dry_run(parser)
    parser.option("--level", metavar="1-19", type=int, help="How hard to compress (zstd).")
    parser.flag("--no-verify-seal", help="Do not open what was sealed again before sending it.")
    declare_filter(parser)


def copy(invocation: Invocation) -> int:
    """Copy snapshots to another repository with keys of its own (-r, where this machine must be enrolled).

    Needs the passphrase of the repository that is copied from, and none of the other one. Only what is not there yet is read and sent. What is
    damaged is named and left out, and the exit status is 13.
    """
    options, output = invocation.options, invocation.output
    if options.passphrase_file or options.passphrase_command or options.words_file:
        raise UsageError("the repository that is copied to needs no passphrase; the other one's is given by --from-passphrase-file and the like")
    with _source_of(invocation) as source:
        destination = invocation.host()
        owner = source.owner()
        plan = owner.plan_copy(destination, options.snapshots, source.snapshot_filter, again=options.force)
        if options.dry_run:
            _show_plan(output, plan)
            return source.finish(owner.browser.problems, EXIT_DONE)
        arguments: CopyArguments = {"verify_seal": not options.no_verify_seal}
        if options.level is not None:
            arguments["level"] = options.level
        with watched(output, COPY) as monitor:
            arguments["monitor"] = monitor
            result = owner.copy_to(destination, plan, **arguments)
        code = source.finish(owner.browser.problems, result.exit_code)
    _report(output, plan, result, code)
    return code


def _source_of(invocation: Invocation) -> Invocation:
    """The same run as seen from the repository that is copied from."""
    given = invocation.options
    environment = invocation.environment.of_source()
    place = given.from_repo or environment.variables.get("SEEDCORN_REPOSITORY")
    if not place:
        raise UsageError("which repository is to be copied? Give --from-repo PLACE or set SEEDCORN_FROM_REPOSITORY")
    options = Namespace(**vars(given))
    options.repo, options.words_file = place, given.from_words_file
    options.passphrase_file, options.passphrase_command = given.from_passphrase_file, given.from_passphrase_command
    return Invocation(options, environment)


def _show_plan(output: Output, plan: CopyPlan) -> None:
    rows = []
    for planned in plan.wanted:
        output.emit("planned", **_source_fields(planned.snapshot), stored_bytes=planned.sealed_bytes, content_bytes=planned.content_bytes)
        rows.append([*_columns(planned.snapshot), size_text(planned.content_bytes), size_text(planned.sealed_bytes)])
    for line in table(["ID", "Time", "Host", " New content", " As stored"], rows):
        output.line(line)
    content_bytes = sum(planned.content_bytes for planned in plan.wanted)
    sealed_bytes = sum(planned.sealed_bytes for planned in plan.wanted)
    output.emit("summary", dry_run=True, copied=len(plan.wanted), skipped=len(plan.copied), stored_bytes=sealed_bytes, content_bytes=content_bytes)
    amount = f"{count_text(len(plan.wanted), 'snapshot')} with {size_text(content_bytes)} of content that is new among them"
    output.report(f"Would copy {amount}; {count_text(len(plan.copied), 'snapshot')} already copied")


def _report(output: Output, plan: CopyPlan, result: CopyResult, code: int) -> None:
    rows = []
    for one in result.copies:
        output.emit(
            "copied",
            **_source_fields(one.source),
            snapshot_id=one.copy.hex() if one.copy else None,
            read_bytes=one.read_bytes,
            new_bytes=one.new_bytes,
            errors=[error_fields(problem) for problem in one.problems[:100]],
            error_count=one.error_count,
        )
        name = one.copy.hex()[:SHORT_ID_DIGITS] if one.copy else "not copied"
        damage = f"  ({count_text(one.error_count, 'error')})" if one.problems else ""
        rows.append([*_columns(one.source), size_text(one.read_bytes), size_text(one.new_bytes), name + damage])
    if rows:
        for line in table(["ID", "Time", "Host", " Read", " New", "Copy"], rows):
            output.report(line)
    made = sum(one.copy is not None for one in result.copies)
    seconds = result.elapsed_ns / 1e9
    output.emit(
        "summary",
        dry_run=False,
        copied=made,
        skipped=len(plan.copied),
        error_count=sum(one.error_count for one in result.copies),
        read_bytes=sum(one.read_bytes for one in result.copies),
        new_bytes=sum(one.new_bytes for one in result.copies),
        elapsed_seconds=round(seconds, 3),
        source_requests=requests_fields(result.source_requests),
        get_bytes=result.source_requests.get_bytes,
        requests=requests_fields(result.requests),
        put_bytes=result.requests.put_bytes,
        exit_code=code,
    )
    traffic = f"{size_text(result.source_requests.get_bytes)} fetched, {size_text(result.requests.put_bytes)} sent"
    already = count_text(len(plan.copied), "snapshot")
    output.report(f"Copied {count_text(made, 'snapshot')} in {duration_text(seconds)}: {traffic}; {already} already copied")


def _source_fields(snapshot: Snapshot) -> dict[str, str]:
    return {"source_id": snapshot.id.hex(), "time": time_text(snapshot.owner.start_ns), "host": snapshot.owner.host_name}


def _columns(snapshot: Snapshot) -> list[str]:
    return [snapshot.id.hex()[:SHORT_ID_DIGITS], local_time(snapshot.owner.start_ns), shown(snapshot.owner.host_name)]


COMMAND = Command(copy, declare, EXAMPLES)
