"""``seedcorn ls``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import HostFilter, PathFilter, TagFilter, add_command, new_app
from seedcorn.cli.progress import RunMonitor
from seedcorn.cli.render_json import entry_fields
from seedcorn.cli.render_text import long_entry
from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, IntegrityError, SeedcornError, printable
from seedcorn.format.tree import Kind
from seedcorn.jobs.sessions import snapshot_filter
from seedcorn.ops.browse import Browser, Entry, split_reference

app = new_app()


@add_command(app)
def ls(
    invocation: Invocation,
    snapshot: Annotated[str, typer.Argument(metavar="[SNAP[:/PATH]]", help="Which snapshot, and what of it.")] = "latest",
    long: Annotated[bool, typer.Option("-l", "--long", help="With mode, owner, size and time.")] = False,
    recursive: Annotated[bool, typer.Option("-R", "--recursive", help="And all that is below.")] = False,
    host: HostFilter = None,
    tag: TagFilter = None,
    path: PathFilter = None,
) -> int:
    """List a directory of a snapshot; its root if no PATH is given."""
    reference, inside = split_reference(snapshot)
    session, output = invocation.owner(), invocation.output
    chosen = session.browser.find(reference, snapshot_filter(host, tag, path))
    monitor = _ListingMonitor(invocation)
    owner = chosen.owner
    for entry in _entries(session.browser, session.browser.entry(chosen, inside), recursive, monitor):
        if output.as_json:
            output.emit("node", **entry_fields(entry))
        else:
            output.line(long_entry(entry, owner.users, owner.groups) if long else printable(entry.path))
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
    if entry.node.kind != Kind.DIRECTORY:
        return [entry]
    if recursive:
        return browser.walk(entry, monitor)
    try:
        return list(browser.children(entry))
    except IntegrityError as error:
        monitor.error(error)
        return []
