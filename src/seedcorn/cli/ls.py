"""``seedcorn ls``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_filter
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.progress import RunMonitor
from seedcorn.cli.render_json import entry_fields
from seedcorn.cli.render_text import long_entry
from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, IntegrityError, SeedcornError, printable

if TYPE_CHECKING:
    from seedcorn.ops.browse import Browser, Entry

EXAMPLES = """
    seedcorn ls                          # the root of the newest snapshot
    seedcorn ls -l latest~1:/etc
    seedcorn ls -R 3fb1c2:/home --json
"""


def declare(parser: Parser) -> None:
    parser.word("snapshot", "SNAP[:/PATH]", "Which snapshot, and what of it. [latest]", default="latest", required=False)
    parser.flag("-l", "--long", help="With mode, owner, size and time.")
    parser.flag("-R", "--recursive", help="And all that is below.")
    declare_filter(parser)


def ls(invocation: Invocation) -> int:
    """List a directory of a snapshot; its root if no PATH is given."""
    from seedcorn.ops.browse import split_reference

    options, output = invocation.options, invocation.output
    reference, inside = split_reference(options.snapshot)
    session = invocation.owner()
    chosen = session.browser.find(reference, invocation.snapshot_filter)
    monitor = _ListingMonitor(invocation)
    owner = chosen.owner
    for entry in _entries(session.browser, session.browser.entry(chosen, inside), options.recursive, monitor):
        if output.as_json:
            output.emit("node", **entry_fields(entry))
        else:
            output.line(long_entry(entry, owner.users, owner.groups) if options.long else printable(entry.path))
    return invocation.finish(session.browser.problems, EXIT_INTEGRITY if monitor.failed else EXIT_DONE)


class _ListingMonitor(RunMonitor):
    """Remembers whether anything was damaged."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(invocation.output)
        self.failed = False

    def error(self, error: SeedcornError) -> None:
        self.failed = True
        super().error(error)


def _entries(browser: Browser, entry: Entry, recursive: bool, monitor: RunMonitor) -> Iterable[Entry]:
    from seedcorn.format.tree import Kind

    if entry.node.kind != Kind.DIRECTORY:
        return [entry]
    if recursive:
        return browser.walk(entry, monitor)
    try:
        return list(browser.children(entry))
    except IntegrityError as error:
        monitor.error(error)
        return []


COMMAND = Command(ls, declare, EXAMPLES)
