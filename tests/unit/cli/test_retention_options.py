"""cli/retention_options.py: a policy as a command line says it."""

from __future__ import annotations

import shlex

import pytest

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.parser import Command, Namespace, Parser, read_command_line
from seedcorn.cli.retention_options import chosen_grouping, chosen_policy, declare_retention
from seedcorn.errors import UsageError
from seedcorn.ops.retention.plan import DEFAULT_GROUPING, GroupBy
from seedcorn.ops.retention.policy import UNLIMITED, Newest, Period, Policy, Rule, Tagged, Within
from seedcorn.quantities import Duration

NO_DURATION = "is not a duration: write years, months, days, hours, minutes and seconds as in 2y5m7d3h or 15min30s, each at most once (a week is 7d)"


def forget(_: Invocation) -> int:
    """Forget."""
    return 0


def declare_nothing(_: Parser) -> None:
    pass


def read(line: str) -> Namespace:
    return read_command_line(Command(forget, declare_retention), "forget", shlex.split(line), declare_nothing)[1]


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("--keep-last 3", [Newest(3)]),
        ("--keep-last unlimited", [Newest(UNLIMITED)]),
        ("--keep-daily -1", [Newest(UNLIMITED, Period.DAILY)]),
        (
            "--keep-yearly=75 --keep-monthly 12 --keep-weekly 5 --keep-daily 7 --keep-hourly 24",
            [
                Newest(24, Period.HOURLY),
                Newest(7, Period.DAILY),
                Newest(5, Period.WEEKLY),
                Newest(12, Period.MONTHLY),
                Newest(75, Period.YEARLY),
            ],
        ),
        ("--keep-last 0 --keep-daily 2 --keep-weekly 0", [Newest(2, Period.DAILY)]),
        ("--keep-last 2 --keep-last 3", [Newest(3)]),
        ("--keep-within 2y5m7d3h", [Within(Duration(2, 5, 7, 3))]),
        (
            "--keep-within-hourly 1d --keep-within-daily 7d --keep-within-weekly 1m --keep-within-monthly 1y --keep-within-yearly 75y",
            [
                Within(Duration(days=1), Period.HOURLY),
                Within(Duration(days=7), Period.DAILY),
                Within(Duration(months=1), Period.WEEKLY),
                Within(Duration(years=1), Period.MONTHLY),
                Within(Duration(years=75), Period.YEARLY),
            ],
        ),
        ("--keep-tag a --keep-tag b,c", [Tagged(frozenset("a")), Tagged(frozenset("bc"))]),
        ("--keep-tag ''", [Tagged(frozenset())]),
    ],
)
def test_rules(line: str, rules: list[Rule]) -> None:
    assert chosen_policy(read(line)) == Policy(tuple(rules))


def test_store_times() -> None:
    assert chosen_policy(read("--keep-last 1 --trust-store-times")) == Policy((Newest(1),), trust_store_times=True)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "the policy keeps nothing, so nothing is removed: give at least one rule, such as --keep-last 3 or --keep-daily 7"),
        ("--keep-last 0", "the policy keeps nothing, so nothing is removed: give at least one rule, such as --keep-last 3 or --keep-daily 7"),
        ("--keep-last few", "--keep-last: 'few' is not a number of snapshots: give 0, 1, 2 … or unlimited"),
        ("--keep-weekly -2", "--keep-weekly: '-2' is not a number of snapshots: give 0, 1, 2 … or unlimited"),
        ("--keep-daily ٣", "--keep-daily: '٣' is not a number of snapshots: give 0, 1, 2 … or unlimited"),
        ("--keep-within-daily 1w", f"--keep-within-daily: '1w' {NO_DURATION}"),
        ("--keep-tag a,,b", "--keep-tag: 'a,,b' has an empty tag in it: give tags with single commas between them, or '' for untagged snapshots"),
    ],
)
def test_mistakes(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen_policy(read(line))
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("line", "grouping"),
    [
        ("", DEFAULT_GROUPING),
        ("--group-by host,paths", DEFAULT_GROUPING),
        ("--group-by tags", frozenset({GroupBy.TAGS})),
        ("--group-by ''", frozenset()),
    ],
)
def test_grouping(line: str, grouping: frozenset[GroupBy]) -> None:
    assert chosen_grouping(read(line)) == grouping


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    run, options = read_command_line(Command(forget, declare_retention), "forget", ["--help"], declare_nothing)
    run(Invocation(Namespace(json=False, quiet=False, verbose=0)))
    shown = " ".join(capsys.readouterr().out.split())
    assert options.answer
    assert "--keep-weekly N Keep the newest of each week, for the last N weeks with snapshots." in shown
    assert "--keep-within-monthly DURATION Keep the newest of each month in that time." in shown
