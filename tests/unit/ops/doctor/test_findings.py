"""ops/doctor/findings.py: from facts to words and a grade."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seedcorn.errors import AccessDeniedError, StoreError
from seedcorn.ops.doctor.facts import Check, Observed
from seedcorn.ops.doctor.findings import Grade, Outcome, explain, grade_of, is_append_only

STRICT = Observed(
    remote=True,
    create_only=True,
    racers=16,
    winners=1,
    reads_fresh=True,
    fresh_listings=100,
    unlisted=0,
    lists_by_prefix=True,
    range_is_right=True,
    range_bytes=100,
    takes_wrong_checksum=False,
    may_overwrite=False,
    may_delete=False,
    may_read_packs=False,
    may_read_snapshots=False,
    clock_offset_seconds=-0.4,
)


def test_a_host_on_a_strict_store_is_all_well() -> None:
    assert grade_of(STRICT)[0] is Grade.A
    assert is_append_only(STRICT) is True
    wrong = [finding.check for finding in explain(STRICT, enrolled=True) if finding.outcome is not Outcome.OK]
    assert wrong == [Check.VERSIONS], "not seen, because nothing could be overwritten or deleted"


@pytest.mark.parametrize(
    ("facts", "grade"),
    [
        ({"create_only": False}, Grade.C),
        ({"winners": 2}, Grade.C),
        ({"winners": None}, Grade.A),  # not raced
        ({"unlisted": 1}, Grade.C),
        ({"unlisted": None}, Grade.C),
        ({"refused_by_store": False}, Grade.A),  # it is we who refuse an overwrite, but nobody with this credential could overwrite
        ({"refused_by_store": False, "may_delete": True}, Grade.C),
        ({"refused_by_store": False, "may_overwrite": True, "keeps_versions": True}, Grade.B),
        ({"refused_by_store": False, "may_overwrite": None}, Grade.C),
        ({"may_overwrite": True, "may_delete": True}, Grade.A),
        ({"create_only": False, "keeps_versions": True}, Grade.B),
        ({"unlisted": 1, "keeps_versions": True}, Grade.B),
        ({"stopped": {Check.RACE: StoreError("no")}, "winners": None}, Grade.C),
    ],
)
def test_the_grade(facts: dict[str, object], grade: Grade) -> None:
    found, reason = grade_of(replace(STRICT, **facts))  # type: ignore[arg-type]  # a table of fields
    assert found is grade
    assert reason.startswith("append-only is NOT enforced") == (grade is Grade.C)


@pytest.mark.parametrize(
    ("facts", "words", "untrue"),
    [
        ({"create_only": False, "keeps_versions": False}, "keeps no versions", "seen"),
        ({"create_only": False, "keeps_versions": None}, "was not seen to keep versions", "keeps no versions"),
        ({"create_only": None}, "was not seen to keep who may write from overwriting", "does not keep"),
        ({"unlisted": 1}, "lists what is new too late", "was not seen to list"),
        ({"unlisted": None, "stopped": {Check.FRESH_LISTING: AccessDeniedError("no")}}, "was not seen to list what is new at once", "too late"),
    ],
)
def test_the_reason_says_no_more_than_was_seen(facts: dict[str, object], words: str, untrue: str) -> None:
    grade, reason = grade_of(replace(STRICT, **facts))  # type: ignore[arg-type]  # a table of fields
    assert grade is Grade.C
    assert words in reason
    assert untrue not in reason


@pytest.mark.parametrize(
    ("overwrite", "delete", "expected"),
    [(False, False, True), (True, False, False), (False, True, False), (None, True, False), (None, False, None), (None, None, None)],
)
def test_append_only_against_this_credential(overwrite: bool | None, delete: bool | None, expected: bool | None) -> None:
    assert is_append_only(replace(STRICT, may_overwrite=overwrite, may_delete=delete)) is expected


def test_every_bad_finding_says_what_to_do() -> None:
    bad = Observed(
        create_only=False,
        racers=16,
        winners=3,
        reads_fresh=False,
        fresh_listings=100,
        unlisted=2,
        lists_by_prefix=False,
        range_is_right=False,
        takes_wrong_checksum=True,
        may_overwrite=True,
        may_delete=True,
        keeps_versions=False,
        may_read_packs=True,
        may_read_snapshots=True,
        clock_offset_seconds=1e6,
    )
    findings = explain(bad, enrolled=True)
    assert [finding.check for finding in findings] == list(Check)
    assert all(finding.advice for finding in findings)
    assert not [finding for finding in findings if finding.outcome in (Outcome.OK, Outcome.UNTESTED)]


@pytest.mark.parametrize("check", Check)
def test_what_was_refused_is_not_tested_and_what_failed_is_bad(check: Check) -> None:
    def outcome(error: StoreError) -> Outcome:
        return next(finding.outcome for finding in explain(Observed(stopped={check: error}), enrolled=False) if finding.check is check)

    assert outcome(AccessDeniedError("no")) is Outcome.UNTESTED
    assert outcome(StoreError("what?")) in (Outcome.WARNING, Outcome.BROKEN)
