"""``seedcorn undelete``."""

from __future__ import annotations

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_maintain
from seedcorn.cli.parser import Command, Parser
from seedcorn.cli.render_json import SHORT_ID_DIGITS
from seedcorn.errors import EXIT_DONE, UsageError


def declare(parser: Parser) -> None:
    parser.word("snapshots", "SNAP", "The beginnings of their ids; see `snapshots --all`.", many=True)
    declare_maintain(parser)


def undelete(invocation: Invocation) -> int:
    """Take back that snapshots were forgotten.

    Works until a `prune` has begun to delete what they need. Either all of them are back or none.
    """
    if not invocation.options.snapshots:
        raise UsageError("which snapshots? Give the beginnings of their ids; `seedcorn snapshots --all` shows them")
    taken_back = invocation.maintainer().undelete(invocation.options.snapshots)
    invocation.output.emit("summary", taken_back=[snapshot.hex() for snapshot in taken_back])
    for snapshot in taken_back:
        invocation.output.report(f"Snapshot {snapshot.hex()[:SHORT_ID_DIGITS]} is back")
    return EXIT_DONE


COMMAND = Command(undelete, declare, "seedcorn snapshots --all\nseedcorn undelete 5f3a9c")
