"""``seedcorn snapshots``."""

from __future__ import annotations

from typing import Annotated

import typer

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import HostFilter, PathFilter, TagFilter, add_command, new_app
from seedcorn.cli.output import shown
from seedcorn.cli.render_json import SHORT_ID_DIGITS, snapshot_fields
from seedcorn.cli.render_text import count_text, local_time, size_text, table
from seedcorn.errors import printable
from seedcorn.jobs.sessions import snapshot_filter
from seedcorn.ops.browse import Snapshot

app = new_app()

References = Annotated[list[str] | None, typer.Argument(metavar="[SNAP]...", show_default=False, help="latest, latest~N or the beginning of an id.")]


@add_command(app)
def snapshots(
    invocation: Invocation,
    references: References = None,
    host: HostFilter = None,
    tag: TagFilter = None,
    path: PathFilter = None,
) -> int:
    """List snapshots, oldest first."""
    session, output = invocation.owner(), invocation.output
    chosen = snapshot_filter(host, tag, path)
    found = [session.browser.find(reference, chosen) for reference in references] if references else session.snapshots(chosen)
    for snapshot in found:
        output.emit("snapshot", **snapshot_fields(snapshot))
    for line in table(["ID", "Time", "Host", "Tags", " Files", " Size", "Paths"], [_row(snapshot) for snapshot in found]):
        output.line(line)
    if not output.quiet:
        output.line(count_text(len(found), "snapshot"))
    return invocation.finish(session.browser.problems)


def _row(snapshot: Snapshot) -> list[str]:
    owner = snapshot.owner
    statistics = owner.statistics
    return [
        snapshot.id.hex()[:SHORT_ID_DIGITS],
        local_time(owner.start_ns),
        shown(owner.host_name),
        ",".join(map(shown, owner.tags)),
        str(statistics.source_files),
        size_text(statistics.source_file_size),
        " ".join(map(printable, owner.paths)) + ("" if snapshot.maintain.complete else f"  ({count_text(owner.error_count, 'error')})"),
    ]
