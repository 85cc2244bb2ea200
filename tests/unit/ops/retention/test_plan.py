"""ops/retention/plan.py: what a plan never does, whatever the policy, and what it does with snapshots that do not count."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.ops.candidates import GROUP, HOST, made, named, reasons, time_ns

from seedcorn.errors import UsageError
from seedcorn.ids import HostId, SnapshotId
from seedcorn.ops.retention.plan import DEFAULT_GROUPING, GroupBy, RetentionPlan, parse_grouping, plan_retention, retention_time
from seedcorn.ops.retention.policy import UNLIMITED, Candidate, Newest, Period, Policy, Rule, Tagged, Within
from seedcorn.quantities import Duration

DAY_NS = 24 * 3600 * 10**9
LAST_ONE = Policy((Newest(1),))


def plan(*candidates: Candidate, policy: Policy = LAST_ONE, grouping: frozenset[GroupBy] = DEFAULT_GROUPING) -> RetentionPlan:
    return plan_retention(candidates, policy, zone=UTC, grouping=grouping)


# -- what counts -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("off_ns", "flagged"), [(0, False), (DAY_NS, False), (-DAY_NS, False), (DAY_NS + 1, True), (-DAY_NS - 1, True), (70 * 365 * DAY_NS, True)]
)
def test_the_stores_time_counts_always(off_ns: int, flagged: bool) -> None:
    stored_ns = time_ns("2026-11-24")
    assert retention_time(stored_ns + off_ns, stored_ns) == (stored_ns, flagged)


def test_an_unconfirmed_snapshot_neither_counts_nor_goes() -> None:
    found = plan(made("2026-11-21"), made("2026-11-22"), made("2026-11-23", confirmed=False), made("2026-11-20", confirmed=False))
    assert reasons(found) == {"2026-11-22": ("last 1",), "2026-11-23": ("unconfirmed",), "2026-11-20": ("unconfirmed",)}


def test_an_incomplete_snapshot_stays_until_a_complete_one_is_newer() -> None:
    old, whole, late = made("2026-11-21", complete=False), made("2026-11-22"), made("2026-11-23", complete=False)
    found = plan(old, whole, late)
    assert reasons(found) == {"2026-11-22": ("last 1",), "2026-11-23": ("incomplete, none complete is newer",)}
    assert [decision.reasons for decision in found.groups[0].decisions if not decision.keep] == [("incomplete",)]
    assert named(plan(old, whole, late, made("2026-11-24")).removed) == ["2026-11-21", "2026-11-22", "2026-11-23"]


def test_an_incomplete_snapshot_takes_no_place_but_may_be_kept_by_time_and_tag() -> None:
    candidates = [made("2026-11-20"), made("2026-11-21 01:00"), made("2026-11-21 02:00", complete=False, tags=("big",)), made("2026-11-22")]
    assert named(plan(*candidates, policy=Policy((Newest(2, Period.DAILY),))).kept) == ["2026-11-21 01:00", "2026-11-22"]
    assert named(plan(*candidates, policy=Policy((Within(Duration(hours=23)),))).kept) == ["2026-11-21 02:00", "2026-11-22"]
    assert named(plan(*candidates, policy=Policy((Tagged(frozenset(["big"])),))).kept) == ["2026-11-21 02:00", "2026-11-22"]


def test_a_group_without_a_complete_snapshot_keeps_everything() -> None:
    assert not plan(*(made(f"2026-11-{day}", complete=False) for day in (20, 21, 22))).removed


@pytest.mark.parametrize("rule", [Newest(3), Newest(3, Period.DAILY), Within(Duration(days=3)), Within(Duration(days=3), Period.DAILY)])
def test_a_far_future_claim_pushes_nothing_out(rule: Rule) -> None:
    real = [made(f"2026-11-{day} 03:00") for day in range(10, 25)]
    before = plan(*real, policy=Policy((rule,)))
    for claimed, stored in (("2099-01-01", "2026-11-24 04:00"), ("1970-01-01", "2026-11-24 04:00"), ("2099-01-01", "2026-11-20 04:00")):
        stored_ns, flagged = retention_time(time_ns(claimed), time_ns(stored))
        bogus = made(stored, id=SnapshotId(b"bogus"), time_ns=stored_ns, flagged=flagged)
        after = plan(*real, bogus, policy=Policy((rule,)))
        assert reasons(after) == reasons(before) | {"bogus": ("claims a time more than 24 h off",)}


def test_whoever_trusts_the_store_has_them_judged_like_all_others() -> None:
    bogus = made("2026-11-23", flagged=True)
    found = plan(made("2026-11-22"), bogus, made("2026-11-24"), policy=Policy((Newest(2),), trust_store_times=True))
    assert reasons(found) == {"2026-11-23": ("last 2",), "2026-11-24": ("last 2",)}


def test_a_repository_that_was_copied_keeps_its_history() -> None:
    """A copy of the objects gives all of them one time, and a day of it would have one snapshot left."""
    copied = [made(f"2026-10-{day}", time_ns=time_ns("2026-11-24") + day, flagged=True) for day in range(10, 31)]
    assert not plan(*copied, policy=Policy((Newest(7, Period.DAILY),))).removed


@pytest.mark.parametrize("broken_ns", [-1, -(1 << 90), 1 << 90])
def test_a_time_in_no_calendar(broken_ns: int) -> None:
    policy = Policy((Newest(9, Period.DAILY), Within(Duration(years=1))))
    assert len(plan(made("2026-11-23", time_ns=broken_ns), made("2026-11-24"), policy=policy).kept) == 2


# -- groups ------------------------------------------------------------------------------------------------------------------------------------

OTHER_HOST, OTHER_GROUP = HostId(b"I" * 16), b"P" * 16
MIXED = [
    made("2026-11-20"),
    made("2026-11-21", group=OTHER_GROUP),
    made("2026-11-22", host=OTHER_HOST),
    made("2026-11-23", tags=("a", "b")),
    made("2026-11-24", tags=("b", "a", "a")),
]


@pytest.mark.parametrize(
    ("by", "kept"),
    [
        ("host,paths", ["2026-11-21", "2026-11-22", "2026-11-24"]),
        ("paths", ["2026-11-21", "2026-11-24"]),
        ("host", ["2026-11-22", "2026-11-24"]),
        ("tags", ["2026-11-22", "2026-11-24"]),
        ("paths, tags", ["2026-11-21", "2026-11-22", "2026-11-24"]),
        ("", ["2026-11-24"]),
    ],
)
def test_each_group_is_judged_by_itself(by: str, kept: list[str]) -> None:
    assert named(plan(*MIXED, grouping=parse_grouping(by)).kept) == kept


def test_a_group_says_what_it_has_in_common() -> None:
    found = plan(*MIXED).groups
    assert [(group.host, group.paths, group.tags) for group in found] == [(HOST, GROUP, None), (HOST, OTHER_GROUP, None), (OTHER_HOST, GROUP, None)]
    assert [decision.candidate.id for decision in found[0].decisions] == [b"2026-11-20", b"2026-11-23", b"2026-11-24"]
    (alone,) = plan(*MIXED, grouping=frozenset()).groups
    assert (alone.host, alone.paths, alone.tags) == (None, None, None)
    assert [group.tags for group in plan(*MIXED, grouping=parse_grouping("tags")).groups] == [(), ("a", "b")]


def test_a_host_that_floods_the_group_of_another_removes_nothing_of_it() -> None:
    """Any host can make the hash of another one's name and paths."""
    flood = [made(f"2026-11-24 {hour}:00", host=OTHER_HOST) for hour in range(10, 24)]
    assert "2026-11-20" in named(plan(made("2026-11-20"), *flood).kept)


def test_nothing_else_can_be_grouped_by() -> None:
    with pytest.raises(UsageError, match="give some of host, paths and tags"):
        parse_grouping("host,path")


# -- properties --------------------------------------------------------------------------------------------------------------------------------

FORMS: dict[Period | None, Callable[[datetime], object]] = {
    None: lambda moment: moment,
    Period.HOURLY: lambda moment: moment.timetuple()[:4],
    Period.DAILY: lambda moment: moment.toordinal(),
    Period.WEEKLY: lambda moment: (moment.toordinal() - 1) // 7,  # 1 January of year 1 was a Monday
    Period.MONTHLY: lambda moment: (moment.year, moment.month),
    Period.YEARLY: lambda moment: moment.year,
}
periods = st.sampled_from([None, *Period])
rules: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Newest, st.sampled_from([1, 2, 3, 5, UNLIMITED]), periods),
    st.builds(Within, st.builds(Duration, st.integers(0, 1), st.integers(0, 2), st.integers(0, 9), st.integers(1, 30)), periods),
    st.builds(Tagged, st.frozensets(st.sampled_from("ab"))),
)
policies = st.builds(Policy, st.lists(rules, min_size=1, max_size=4).map(tuple), st.booleans())
groupings = st.frozensets(st.sampled_from(GroupBy))


@st.composite
def histories(draw: st.DrawFn) -> list[Candidate]:
    step_hours = draw(st.sampled_from([1, 7, 24, 200]))
    good = st.sampled_from([True, True, True, False])
    candidates = st.builds(
        Candidate,
        id=st.binary(min_size=4, max_size=4).map(SnapshotId),
        host=st.sampled_from([HOST, OTHER_HOST]),
        group=st.sampled_from([GROUP, GROUP, OTHER_GROUP]),
        tags=st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
        time_ns=st.integers(0, 40).map(lambda number: time_ns("2025-12-20") + number * step_hours * 3600 * 10**9),
        flagged=good.map(lambda value: not value),
        confirmed=good,
        complete=good,
    )
    return draw(st.lists(candidates, max_size=30, unique_by=lambda candidate: candidate.id))


def judge(history: list[Candidate], policy: Policy, grouping: frozenset[GroupBy]) -> RetentionPlan:
    return plan_retention(history, policy, zone=UTC, grouping=grouping)


def moment(candidate: Candidate) -> datetime:
    return datetime.fromtimestamp(candidate.time_ns / 10**9, UTC)


def keeps(rule: Rule, one: Candidate, complete: list[Candidate]) -> bool:
    """A rule, said once more by what has to be true of a single snapshot."""
    if isinstance(rule, Tagged):
        return rule.tags <= set(one.tags) if rule.tags else not one.tags
    assert isinstance(rule, Newest | Within)
    form = FORMS[rule.period]
    newer = [other for other in complete if (other.time_ns, other.id) > (one.time_ns, one.id)]
    first_of_period = one in complete and (rule.period is None or form(moment(one)) not in {form(moment(other)) for other in newer})
    if isinstance(rule, Newest):
        periods_after = len(newer) if rule.period is None else len({form(moment(other)) for other in newer})
        return first_of_period and (rule.count == UNLIMITED or periods_after < rule.count)
    if not complete:
        return False
    latest, span = max(map(moment, complete)), rule.duration
    hours = (span.years * 365 + span.months * 28 + span.days) * 24 + span.hours  # no longer than the span really is
    near = (latest - moment(one)).total_seconds() < hours * 3600
    return near and (first_of_period or rule.period is None)


@given(histories(), policies, groupings)
def test_nothing_is_removed_that_a_rule_keeps(history: list[Candidate], policy: Policy, grouping: frozenset[GroupBy]) -> None:
    for group in judge(history, policy, grouping).groups:
        members = [decision.candidate for decision in group.decisions]
        counted = [one for one in members if one.confirmed and (policy.trust_store_times or not one.flagged)]
        complete = [one for one in counted if one.complete]
        for decision in group.decisions:
            one = decision.candidate
            if one in counted and any(keeps(rule, one, complete) for rule in policy.rules):
                assert decision.keep


@given(histories(), policies, rules, groupings)
def test_one_rule_more_removes_nothing_more(history: list[Candidate], policy: Policy, rule: Rule, grouping: frozenset[GroupBy]) -> None:
    more = replace(policy, rules=(*policy.rules, rule))
    assert judge(history, more, grouping).removed <= judge(history, policy, grouping).removed


@given(histories(), policies, groupings, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(history: list[Candidate], policy: Policy, grouping: frozenset[GroupBy], rng: random.Random) -> None:
    shuffled = history.copy()
    rng.shuffle(shuffled)
    assert judge(shuffled, policy, grouping) == judge(history, policy, grouping)


@given(histories(), policies, groupings)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(history: list[Candidate], policy: Policy, grouping: frozenset[GroupBy]) -> None:
    kept = judge(history, policy, grouping).kept
    assert not judge([one for one in history if one.id in kept], policy, grouping).removed


@given(histories(), policies, groupings)
def test_no_group_is_emptied(history: list[Candidate], policy: Policy, grouping: frozenset[GroupBy]) -> None:
    for group in judge(history, policy, grouping).groups:
        assert any(decision.keep for decision in group.decisions)
        confirmed = [decision for decision in group.decisions if decision.candidate.confirmed]
        assert not confirmed or any(decision.keep for decision in confirmed)
        complete = [decision for decision in confirmed if decision.candidate.complete]
        assert not complete or any(decision.keep for decision in complete)


@given(histories(), policies, groupings)
def test_every_snapshot_gets_one_decision_with_a_reason(history: list[Candidate], policy: Policy, grouping: frozenset[GroupBy]) -> None:
    found = judge(history, policy, grouping)
    decisions = [decision for group in found.groups for decision in group.decisions]
    assert sorted(decision.candidate.id for decision in decisions) == sorted(one.id for one in history)
    assert all(decision.reasons for decision in decisions)
    assert not found.kept & found.removed
    assert all(one.confirmed for one in history if one.id in found.removed)
