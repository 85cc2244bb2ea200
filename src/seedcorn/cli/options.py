"""Options that several commands take, each declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seedcorn.cli.parser import Parser

__all__ = ["declare_common", "declare_dry_run", "declare_filter", "declare_subset"]


def declare_common(parser: Parser) -> None:
    """What every command takes, before or after its name."""
    parser.option("-r", "--repo", metavar="PLACE", help="Directory, s3://…, gs://…, az://… [SEEDCORN_REPOSITORY]")
    parser.option("--passphrase-file", metavar="FILE", help="Read the passphrase from a file.")
    parser.option("--passphrase-command", metavar="COMMAND", help="Run this to get the passphrase.")
    parser.option("--words-file", metavar="FILE", help="Read with the recovery words in a file instead.")
    parser.option("--host-file", metavar="FILE", help="This machine's host file, if not at the usual place.")
    parser.option("--connections", metavar="N", type=int, help="Requests to the store at a time.")
    parser.option("--ca-certificate", metavar="FILE", help="Trust this certificate (PEM), too.")
    parser.flag("--json", help="Print JSON lines.")
    parser.flag("-q", "--quiet", help="Print errors only.")
    parser.option("-v", "--verbose", action="count", default=0, help="Say more.")


def declare_dry_run(parser: Parser) -> None:
    """``--dry-run``."""
    parser.flag("-n", "--dry-run", help="Say what would be done, and do nothing.")


def declare_subset(parser: Parser) -> None:
    """``--read-data-subset``; see ``ops.check_choice``."""
    parser.option("--read-data-subset", metavar="SHARE", help="Read some of the packs: a part (2/7), a percentage or a size (10G).")


def declare_filter(parser: Parser) -> None:
    """Which snapshots a command looks at; see ``Invocation.snapshot_filter``."""
    parser.option("-H", "--host", metavar="NAME", help="Only snapshots of this host.")
    parser.option("--tag", metavar="TAG", action="append", help="Only snapshots with this tag (repeatable).")
    parser.option("--path", metavar="PATH", action="append", help="Only snapshots of this path (repeatable).")
