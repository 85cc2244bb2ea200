"""What the facts of the conformance probe mean: one finding for each experiment, and the grade. Pure; every word that ``doctor`` says stands here.

Invariant: the grade follows from what the store did, never from who made it. docs/threat-model.md, "Grades of a store".
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from seedcorn.errors import AccessDeniedError
from seedcorn.ops.doctor.facts import WANTED_BYTES, Check, Observed

__all__ = ["Finding", "Grade", "Outcome", "explain", "grade_of", "is_append_only"]

CLOCK_NOTE_SECONDS = 60
CLOCK_WARNING_SECONDS = 24 * 3600
_POLICY = "give hosts a credential with no more rights than `seedcorn host policy` lists"
_SHORT = "not part of the short probe"
_SECOND_COPY = "content stays sealed and damage is found, but a stolen host can destroy: keep a second copy where that host can not write"


class Outcome(enum.StrEnum):
    """How good the news is. ``BROKEN``: seedcorn depends on this, do not use the store. ``UNTESTED`` is no news."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    BROKEN = "broken"
    UNTESTED = "not tested"


class Grade(enum.StrEnum):
    """What a stolen credential can destroy."""

    A = "A"
    B = "B"
    C = "C"


@dataclass(frozen=True, slots=True)
class Finding:
    """``seen``: what happened and what that means; ``advice``: what to do about it, or empty."""

    check: Check
    outcome: Outcome
    seen: str
    advice: str = ""


def explain(observed: Observed, *, enrolled: bool) -> tuple[Finding, ...]:
    """A finding for each check, in their order. ``enrolled``: the credential is that of a machine that backs up, and should have a host's rights."""
    findings = []
    for check, judge in _JUDGES.items():
        if error := observed.stopped.get(check):
            findings.append(_stopped(check, str(error), refused=isinstance(error, AccessDeniedError)))
        else:
            findings.append(Finding(check, *judge(observed, enrolled)))
    return tuple(findings)


def grade_of(observed: Observed) -> tuple[Grade, str]:
    """The grade, and why."""
    enforced = _enforces_create_only(observed)
    listed = observed.unlisted == 0 and Check.FRESH_LISTING not in observed.stopped
    if enforced and listed:
        return Grade.A, f"the store enforces create-only puts and lists what is new at once{_but(observed)}"
    lacking = _lacks_listing(observed) if enforced else _lacks_create_only(observed)
    if observed.keeps_versions:
        return Grade.B, f"the store {lacking}; it keeps versions, so what is overwritten or deleted can be brought back by who holds the bucket"
    versions = "keeps no versions" if observed.keeps_versions is False else "was not seen to keep versions"
    return Grade.C, f"append-only is NOT enforced: the store {lacking} and {versions}, so whoever may write here can destroy backups"


def _lacks_listing(observed: Observed) -> str:
    return "lists what is new too late" if observed.unlisted else "was not seen to list what is new at once"


def _lacks_create_only(observed: Observed) -> str:
    seen = observed.create_only is not None and Check.RACE not in observed.stopped
    return f"{'does not' if seen else 'was not seen to'} keep who may write from overwriting"


def _but(observed: Observed) -> str:
    if is_append_only(observed) is not False:
        return ""
    versions = " (versions are kept)" if observed.keeps_versions else ""
    return f", but append-only is NOT enforced against this credential, which may overwrite or delete{versions}"


def is_append_only(observed: Observed) -> bool | None:
    """Whether this very credential can neither overwrite nor delete; None if one of the two is not known."""
    if observed.may_overwrite or observed.may_delete or observed.create_only is False:
        return False
    return True if observed.may_overwrite is observed.may_delete is False else None


def _enforces_create_only(observed: Observed) -> bool:
    """By the store itself, or because this credential may do nothing else."""
    kept = observed.create_only is True and observed.winners in (None, 1) and Check.RACE not in observed.stopped
    return kept and (observed.refused_by_store or is_append_only(observed) is True)


Judged = tuple[Outcome, str] | tuple[Outcome, str, str]


def _stopped(check: Check, error: str, *, refused: bool) -> Finding:
    if refused:
        return Finding(check, Outcome.UNTESTED, f"this credential may not do what it takes: {error}")
    outcome = Outcome.BROKEN if check in _DEPENDED_ON else Outcome.WARNING
    return Finding(check, outcome, f"the store failed: {error}", "do not use this store" if outcome is Outcome.BROKEN else "")


def _create_only(seen: Observed, enrolled: bool) -> Judged:
    if not seen.create_only:
        return Outcome.WARNING, "a put under a taken key overwrites what is there, and the store says nothing", _SECOND_COPY
    if not seen.refused_by_store:
        return Outcome.WARNING, "it is this program that refuses other bytes under a taken key: another could overwrite them here", _SECOND_COPY
    return Outcome.OK, "other bytes under a taken key are refused, and the first bytes stay"


def _race(seen: Observed, enrolled: bool) -> Judged:
    if seen.winners is None:
        return Outcome.UNTESTED, _SHORT
    if seen.winners == 1:
        return Outcome.OK, f"of {seen.racers} puts of one key at once, one was told that it succeeded"
    text = f"of {seen.racers} puts of one key at once, {seen.winners} were told that they succeeded: create-only puts are not enforced"
    return Outcome.WARNING, text, _SECOND_COPY


def _read_after_write(seen: Observed, enrolled: bool) -> Judged:
    if seen.reads_fresh:
        return Outcome.OK, "what was put is read at once, also under a key that was asked for before"
    return Outcome.BROKEN, "what was put is not what is read right after: reads are stale", "do not use this store"


def _fresh_listing(seen: Observed, enrolled: bool) -> Judged:
    if seen.unlisted is None:
        return Outcome.UNTESTED, _SHORT
    listed = f"{seen.fresh_listings - seen.unlisted} of {seen.fresh_listings} new keys were in the next listing"
    if seen.unlisted == 0:
        return Outcome.OK, listed
    return Outcome.BROKEN, f"{listed}: whoever lists can miss a snapshot, and collection could then delete what it needs", "do not use this store"


def _prefix_listing(seen: Observed, enrolled: bool) -> Judged:
    if seen.lists_by_prefix is None:
        return Outcome.UNTESTED, _SHORT
    if seen.lists_by_prefix:
        return Outcome.OK, "a folder lists its own keys, in order, from any key on"
    return Outcome.BROKEN, "a folder does not list exactly its own keys in order", "do not use this store"


def _range(seen: Observed, enrolled: bool) -> Judged:
    if seen.range_is_right is None:
        return Outcome.UNTESTED, _SHORT
    if not seen.range_is_right:
        return Outcome.BROKEN, "a range brings other bytes than were put there", "do not use this store"
    if seen.range_bytes > WANTED_BYTES:
        return Outcome.NOTE, "a range brings the whole object, of which seedcorn cuts it: restoring a small file fetches a pack of up to 32 MiB"
    return Outcome.OK, "a range brings exactly its bytes"


def _checksum(seen: Observed, enrolled: bool) -> Judged:
    if seen.takes_wrong_checksum is None:
        return Outcome.UNTESTED, _SHORT if seen.remote else "no checksum is sent to this kind of store"
    if not seen.takes_wrong_checksum:
        return Outcome.OK, "a put whose bytes do not match their checksum (Content-MD5) is refused"
    damage = "a put whose bytes do not match their checksum (Content-MD5) is taken: damage on the way is found by reading only"
    return Outcome.WARNING, damage, "use https, and run `seedcorn check --read-data` now and then"


def _overwrite(seen: Observed, enrolled: bool) -> Judged:
    if seen.may_overwrite is None:
        return Outcome.UNTESTED, "this kind of store has no request that overwrites"
    return _right(seen, seen.may_overwrite, enrolled, "overwrite what is stored")


def _delete(seen: Observed, enrolled: bool) -> Judged:
    if seen.may_delete is None:
        return Outcome.UNTESTED, "it was not tried"
    return _right(seen, seen.may_delete, enrolled, "delete what is stored")


def _right(seen: Observed, may: bool, enrolled: bool, what: str) -> Judged:
    if not may:
        return Outcome.OK, f"this credential may not {what}"
    if enrolled:
        advice = _POLICY if seen.refused_by_store else _SECOND_COPY  # where nobody can be given less, advice to do so is of no use
        return Outcome.WARNING, f"this credential may {what}, and this machine backs up with it: so could a thief of this machine", advice
    return Outcome.NOTE, f"this credential may {what}: an owner's or maintainer's, not a host's"


def _versions(seen: Observed, enrolled: bool) -> Judged:
    if seen.keeps_versions:
        versions = "the bytes from before an overwrite or delete can still be read; so can what this probe has deleted"
        return Outcome.OK, f"{versions}. Object Lock on top of it is not tested: it shows only when a version is deleted"
    if seen.keeps_versions is None:
        nothing_changed = "they show when something is overwritten or deleted, which this credential may not"
        return Outcome.UNTESTED, nothing_changed if seen.remote else "this kind of store has none"
    return (
        Outcome.NOTE,
        "what is overwritten or deleted is gone: no versions are kept",
        "switch on versioning or Object Lock, if the store has them",
    )


def _read_packs(seen: Observed, enrolled: bool) -> Judged:
    return _reach(seen.may_read_packs, enrolled, "packs")


def _read_snapshots(seen: Observed, enrolled: bool) -> Judged:
    return _reach(seen.may_read_snapshots, enrolled, "snapshots")


def _reach(may: bool | None, enrolled: bool, what: str) -> Judged:
    if may is None:
        return Outcome.UNTESTED, f"there are no {what} yet, or none that this credential may know of"
    if not may:
        return Outcome.OK if enrolled else Outcome.NOTE, f"this credential may not read {what}: enough to back up, not to restore"
    if enrolled:
        return Outcome.WARNING, f"this credential may read {what}; they are sealed, but a host needs none", _POLICY
    return Outcome.OK, f"this credential may read {what}, as an owner's must"


def _clock(seen: Observed, enrolled: bool) -> Judged:
    if (offset := seen.clock_offset_seconds) is None:
        return Outcome.UNTESTED, "the listing did not show when the object was put"
    if abs(offset) < CLOCK_NOTE_SECONDS:
        return Outcome.OK, f"the store's clock and this machine's agree to {abs(offset):.0f} s (stores round to a second)"
    skewed = f"the store's clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's"
    if abs(offset) < CLOCK_WARNING_SECONDS:
        return Outcome.NOTE, skewed, "keep this machine's clock set by NTP"
    return Outcome.WARNING, f"{skewed}: snapshots made here will be flagged", "set this machine's clock, or ask who runs the store"


_JUDGES: dict[Check, Callable[[Observed, bool], Judged]] = {
    Check.CREATE_ONLY: _create_only,
    Check.RACE: _race,
    Check.READ_AFTER_WRITE: _read_after_write,
    Check.FRESH_LISTING: _fresh_listing,
    Check.PREFIX_LISTING: _prefix_listing,
    Check.RANGE: _range,
    Check.CHECKSUM: _checksum,
    Check.OVERWRITE: _overwrite,
    Check.DELETE: _delete,
    Check.VERSIONS: _versions,
    Check.READ_PACKS: _read_packs,
    Check.READ_SNAPSHOTS: _read_snapshots,
    Check.CLOCK: _clock,
}
_DEPENDED_ON = (Check.READ_AFTER_WRITE, Check.FRESH_LISTING, Check.PREFIX_LISTING, Check.RANGE)
