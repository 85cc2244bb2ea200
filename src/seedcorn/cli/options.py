"""Options that several commands take, each declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedcorn.errors import UsageError

if TYPE_CHECKING:
    from seedcorn.cli.parser import Namespace, Parser
    from seedcorn.jobs.maintain_session import PruneArguments
    from seedcorn.quantities import Duration

__all__ = [
    "declare_common",
    "declare_dry_run",
    "declare_filter",
    "declare_maintain",
    "declare_prune",
    "declare_subset",
    "duration",
    "prune_arguments",
]


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
    parser.flag("-q", "--quiet", help="Say nothing of the run itself but errors.")
    parser.option("-v", "--verbose", action="count", default=0, help="Say more.")


def declare_dry_run(parser: Parser) -> None:
    """``--dry-run``."""
    parser.flag("-n", "--dry-run", help="Say what would be done, and do nothing.")


def declare_subset(parser: Parser) -> None:
    """``--read-data-subset``; see ``ops.check.choice``."""
    parser.option("--read-data-subset", metavar="SHARE", help="Read some of the packs: a part (2/7), a percentage or a size (10G).")


def declare_filter(parser: Parser) -> None:
    """Which snapshots a command looks at; see ``Invocation.snapshot_filter``."""
    parser.option("-H", "--host", metavar="NAME", help="Only snapshots of this host.")
    parser.option("--tag", metavar="TAG", action="append", help="Only snapshots with this tag (repeatable).")
    parser.option("--path", metavar="PATH", action="append", help="Only snapshots of this path (repeatable).")


def declare_maintain(parser: Parser) -> None:
    """What the commands take that a maintainer can run."""
    parser.option("--maintain-file", metavar="FILE", help="Use this maintain file, no passphrase. [SEEDCORN_MAINTAIN_FILE]")


def declare_prune(parser: Parser) -> None:
    """How a collection goes; see ``prune_arguments``."""
    parser.option("--grace", metavar="DURATION", default="72h", help="How long garbage waits before it is deleted: 72h, 7d, 1m (a month), 0. [72h]")
    parser.option("--max-unused", metavar="SIZE", default="5%", help="How much of what stays may be unused: 5%, 200M, unlimited. [5%]")
    parser.flag("--allow-large", help="Even if more than 30 % of all bytes would go.")


def prune_arguments(options: Namespace) -> PruneArguments:
    """What ``declare_prune`` was given.

    Raises:
        UsageError: a span or size is malformed.
    """
    return {
        "grace_seconds": duration("--grace", options.grace).clock_seconds,
        "max_unused": options.max_unused,
        "allow_large": options.allow_large,
    }


def duration(flag: str, text: str) -> Duration:
    """What was given to ``flag``.

    Raises:
        UsageError: it is no duration.
    """
    from seedcorn.quantities import Duration

    try:
        return Duration.parse(text)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from error
