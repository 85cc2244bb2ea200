"""``seedcorn init``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.output import Output
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.progress import RunMonitor
from seedcorn.cli.render_json import SHORT_ID_DIGITS
from seedcorn.errors import EXIT_DONE

if TYPE_CHECKING:
    from seedcorn.jobs.founding import NewRepository
    from seedcorn.ops.doctor.doctor import DoctorResult

EXAMPLES = """
    seedcorn init -r /mnt/disk/backups
    seedcorn init -r s3://bucket/prefix --host web
    seedcorn init -r /mnt/backup --passphrase-file FILE --recovery-file words.txt
"""
WORDS_A_LINE = 6
WORDS_TO_RETYPE = 3
_ADVICE = """Write them down on paper, now, and keep it away from this machine: they are not stored anywhere and are not shown again.
Whoever has them can read every backup; without them, a lost passphrase means lost backups."""


def declare(parser: Parser) -> None:
    parser.option("-H", "--host", metavar="NAME", help="Enrol this machine under another name than its own.")
    parser.option("--recovery-file", metavar="FILE", help="Write the recovery words to a new file; ask nothing.")
    parser.option("--label", metavar="TEXT", help="What `key list` calls the passphrase. [first passphrase]")
    parser.flag("--trust-hosts", help="Let hosts rely on what others have stored; see docs/threat-model.md.")


def init(invocation: Invocation) -> int:
    """Make a repository, with a passphrase and 24 recovery words, and enrol this machine as its first host.

    From then on `backup` needs neither of the two, and this machine no longer needs to know them.
    """
    from seedcorn.events import SystemClock
    from seedcorn.jobs.founding import FoundingOptions, found_repository, refuse_existing
    from seedcorn.jobs.passphrase import new_passphrase
    from seedcorn.ops.access import INITIAL_LABEL
    from seedcorn.ops.doctor.doctor import first_look

    refuse_existing(invocation.store)
    environment, options = invocation.environment, invocation.options
    recovery_file = options.recovery_file
    file = options.passphrase_file or environment.variables.get("SEEDCORN_PASSPHRASE_FILE")
    prompt = None if recovery_file else invocation.prompt
    passphrase = new_passphrase(invocation.path(file) if file else None, invocation.passphrase_sources, prompt, invocation.output.warn)
    founding = FoundingOptions(
        host_name=options.host or environment.host_name,
        host_file=options.host_file,
        recovery_file=invocation.path(recovery_file) if recovery_file else None,
        label=options.label or INITIAL_LABEL,
        trust_hosts=options.trust_hosts,
    )
    made = found_repository(invocation.store, passphrase, founding, environment, SystemClock())
    seen = first_look(invocation.store, SystemClock(), RunMonitor(invocation.output))
    _report(invocation, made, recovery_file, seen)
    if recovery_file is None and not options.json and sys.stdin.isatty() and sys.stdout.isatty():
        _check_paper(made.words)
    return EXIT_DONE


def _report(invocation: Invocation, made: NewRepository, recovery_file: str | None, seen: DoctorResult | None) -> None:
    output = invocation.output
    words = {} if recovery_file else {"recovery_words": list(made.words)}
    grade = seen.grade if seen else None
    output.emit("summary", repository=made.repository.hex(), place=invocation.place, host_file=str(made.host_file), grade=grade, **words)
    if recovery_file is None:
        output.line("Recovery words:\n")
        for line in _lines(made.words):
            output.line(f"    {line}")
        output.line(f"\n{_ADVICE}\n")
    _report_places(output, invocation.place, made, recovery_file)
    if seen:
        output.report(f"Grade {seen.grade} of the store, at a first look: {seen.reason}. More by:  seedcorn doctor -r {invocation.place}")
        for finding in seen.broken:
            output.warn(f"{finding.seen}: {finding.advice}")


def _report_places(output: Output, place: str, made: NewRepository, recovery_file: str | None) -> None:
    output.report(f"Made repository {made.repository.hex()[:SHORT_ID_DIGITS]} at {place}")
    if recovery_file:
        output.report(f"The recovery words are in {recovery_file}: move that file off this machine")
    output.report(f"This machine can back up to it with {made.host_file}, which opens no backup; try:  seedcorn backup -r {place} /etc")


def _lines(words: Sequence[str]) -> list[str]:
    numbered = [f"{number:2} {word:10}" for number, word in enumerate(words, start=1)]
    return ["".join(numbered[at : at + WORDS_A_LINE]).rstrip() for at in range(0, len(numbered), WORDS_A_LINE)]


def _check_paper(words: Sequence[str]) -> None:
    """Ask for a few of the words, until they are right: a mistake is found while the words can still be seen."""
    from secrets import SystemRandom

    for at in sorted(SystemRandom().sample(range(len(words)), WORDS_TO_RETYPE)):
        while input(f"From your paper, word {at + 1}: ").strip().lower() != words[at]:
            print("That is not the word. Compare the paper with the screen.")


COMMAND = Command(init, declare, EXAMPLES)
