"""``seedcorn scrub``."""

from __future__ import annotations

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_subset
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.progress import SCRUB, watched
from seedcorn.cli.render_json import error_fields
from seedcorn.cli.render_text import count_text, duration_text, size_text

EXAMPLES = """
    seedcorn scrub -r s3://bucket/prefix
    seedcorn scrub --packs-only --read-data-subset 1/7     # on Mondays
"""


def declare(parser: Parser) -> None:
    parser.flag("--packs-only", help="Look at packs, which are nearly all of it, and nothing else.")
    declare_subset(parser)


def scrub_store(invocation: Invocation) -> int:
    """Hash every object that is named by its hash. Needs no key.

    For who keeps the bucket and can not read it. What is missing only `check` can know. Exit status 13: an object is not what was put.
    """
    from seedcorn.events import SystemClock
    from seedcorn.ops.check.choice import parse_subset
    from seedcorn.ops.check.scrub import ScrubOptions, scrub

    options, output = invocation.options, invocation.output
    subset = parse_subset(options.read_data_subset) if options.read_data_subset else None
    with watched(output, SCRUB) as monitor:
        result = scrub(invocation.store, ScrubOptions(packs_only=options.packs_only, subset=subset), SystemClock(), monitor)
    output.emit(
        "summary",
        objects=result.objects,
        packs=result.packs,
        skipped_packs=result.skipped_packs,
        checked_bytes=result.checked_bytes,
        problems=[error_fields(problem) for problem in result.problems],
        elapsed_seconds=round(result.elapsed_ns / 1e9, 3),
        exit_code=result.exit_code,
    )
    left_out = f", {count_text(result.skipped_packs, 'pack')} left out" if result.skipped_packs else ""
    amount = f"{count_text(result.objects, 'object')} ({size_text(result.checked_bytes)})"
    output.report(f"Hashed {amount} in {duration_text(result.elapsed_ns / 1e9)}{left_out}")
    if result.problems:
        were = "it was" if len(result.problems) == 1 else "they were"
        output.report(f"{count_text(len(result.problems), 'object')} not as {were} put, see the errors above")
    else:
        output.report("Every object is what its name says")
    return result.exit_code


COMMAND = Command(scrub_store, declare, EXAMPLES)
