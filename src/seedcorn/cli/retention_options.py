"""The options of a retention policy, by restic's names, and the policy that they say. docs/guide/forget.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedcorn.cli.options import duration
from seedcorn.errors import UsageError

if TYPE_CHECKING:
    from seedcorn.cli.parser import Namespace, Parser
    from seedcorn.ops.retention.plan import GroupBy
    from seedcorn.ops.retention.policy import Policy, Rule

__all__ = ["chosen_grouping", "chosen_policy", "declare_retention"]

_PERIODS = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}


def declare_retention(parser: Parser) -> None:
    """``--keep-*`` and ``--group-by``; see ``chosen_policy`` and ``chosen_grouping``."""
    parser.option("--keep-last", metavar="N", help="Keep the N newest snapshots. N may be unlimited, here and below.")
    for adverb, period in _PERIODS.items():
        parser.option(f"--keep-{adverb}", metavar="N", help=f"Keep the newest of each {period}, for the last N {period}s with snapshots.")
    parser.option("--keep-within", metavar="DURATION", help="Keep all less than DURATION (as in 2y5m7d3h) older than the newest.")
    for adverb, period in _PERIODS.items():
        parser.option(f"--keep-within-{adverb}", metavar="DURATION", help=f"Keep the newest of each {period} in that time.")
    parser.option("--keep-tag", metavar="TAG[,TAG]", action="append", help="Keep those with all these tags; '' means untagged (repeatable).")
    parser.option("--group-by", metavar="WHAT", default="host,paths", help="Judge by host, paths, tags, or '' all together. [host,paths]")
    parser.flag("--trust-store-times", help="Judge snapshots that claim another time than the store's, too.")


def chosen_policy(options: Namespace) -> Policy:
    """The policy that a command line says.

    Raises:
        UsageError: a number, a duration or a list of tags is malformed, or there is no rule at all.
    """
    from seedcorn.ops.retention.policy import Newest, Period, Policy, Tagged, Within

    given = vars(options)
    rules: list[Rule] = []
    for period in (None, *Period):
        flag = f"--keep-{period.value if period else 'last'}"
        if count := _count(flag, given[_attribute(flag)]):
            rules.append(Newest(count, period))
    for period in (None, *Period):
        flag = f"--keep-within-{period.value}" if period else "--keep-within"
        if (text := given[_attribute(flag)]) is not None:
            rules.append(Within(duration(flag, text), period))
    rules += [Tagged(_tags(text)) for text in options.keep_tag or ()]
    return Policy(tuple(rules), trust_store_times=options.trust_store_times)


def chosen_grouping(options: Namespace) -> frozenset[GroupBy]:
    """What ``--group-by`` says.

    Raises:
        UsageError: something else than host, paths and tags.
    """
    from seedcorn.ops.retention.plan import parse_grouping

    return parse_grouping(options.group_by)


def _attribute(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _count(flag: str, text: str | None) -> int:
    """0 for a rule that was not given, or given as 0, which says the same."""
    from seedcorn.ops.retention.policy import UNLIMITED

    if text in ("unlimited", "-1"):
        return UNLIMITED
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise UsageError(f"{flag}: {text!r} is not a number of snapshots: give 0, 1, 2 … or unlimited")
    return int(text)


def _tags(text: str) -> frozenset[str]:
    tags = text.split(",") if text else []
    if not all(tags):
        raise UsageError(f"--keep-tag: {text!r} has an empty tag in it: give tags with single commas between them, or '' for untagged snapshots")
    return frozenset(tags)
