"""After the chaos: is every promise kept, and is the garbage gone? Says so in the journal; changes nothing but by the program's own ``prune``.

What may be forgotten is decided here by a rule of its own: a promised snapshot is gone only if its host has as many newer confirmed ones as
``forget`` was told to keep.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from typing import Any

from tests.chaos.actors import KEEP_LAST, Journal, Promise, story
from tests.chaos.ground import Ground

import seedcorn
from seedcorn.ids import SessionId
from seedcorn.testing.repositories import PASSPHRASE
from seedcorn.testing.trees import describe, differences

__all__ = ["judge"]

_MAX_UNUSED = 0.05  # what `prune` leaves by default
_SHOWN = 5  # differences of one snapshot that are told

Found = dict[str, Any]


def judge(ground: Ground, journal: Journal) -> None:
    """Everything that must hold when all hosts have stopped."""
    found = _snapshots(ground, journal)
    if found is None:
        return
    _check(ground, journal)
    confirmed = [one for one in found if one["standing"] == "confirmed"]
    journal.counts["snapshots_left"] = len(confirmed)
    _compare_with_promises(journal, found, confirmed)
    _compare_with_what_was_taken_back(journal, confirmed)
    _count_shared(ground, journal)
    _restore_all(ground, journal, confirmed)
    _collect_twice(ground, journal)
    _check(ground, journal)
    _restore_all(ground, journal, _newest_of_each_host(confirmed))


def _snapshots(ground: Ground, journal: Journal) -> list[Found] | None:
    listed = ground.owner("snapshots", "--all", "--json")
    if listed.code:
        journal.find(f"snapshots can not be listed ({listed.code}): {story(listed)}")
        return None
    lines = [json.loads(line) for line in listed.out.splitlines()]
    return [line for line in lines if line["message_type"] == "snapshot"]


def _check(ground: Ground, journal: Journal) -> None:
    checked = ground.owner("check", "--read-data", "--json")
    if checked.code:
        journal.find(f"check --read-data ended with {checked.code}: {story(checked)}")


def _compare_with_promises(journal: Journal, found: list[Found], confirmed: list[Found]) -> None:
    """Each promised snapshot is there, or its host has newer ones enough."""
    by_id = {one["id"]: one for one in found}
    numbers: dict[str, list[int]] = defaultdict(list)
    for one in confirmed:
        numbers[one["host"]].append(_attempt_number(one["tags"][0]))
    for promise in journal.promises:
        promised = by_id.get(promise.snapshot)
        if promised and promised["standing"] == "confirmed":
            if promised["tags"] != [promise.attempt]:
                journal.find(f"{promise.snapshot} was promised for {promise.attempt} and is {promised['tags']}")
            continue
        newer = [number for number in numbers[promise.host] if number > _attempt_number(promise.attempt)]
        if len(newer) < KEEP_LAST:
            journal.find(
                f"{_told(promise)} is {promised['standing'] if promised else 'gone'}, and only {len(newer)} newer ones of its host are confirmed"
            )


def _compare_with_what_was_taken_back(journal: Journal, confirmed: list[Found]) -> None:
    there = {one["id"] for one in confirmed}
    for snapshot, attempt in journal.taken_back.items():
        if snapshot not in there:
            journal.find(f"{snapshot[:12]} of {attempt} was taken back, and is not confirmed any more")


def _count_shared(ground: Ground, journal: Journal) -> None:
    """How many snapshots need frames that another host has stored."""
    with seedcorn.open_owner(ground.address, passphrase=PASSPHRASE, state_dir=ground.state("last-owner"), credentials=ground.credentials) as session:
        snapshots = session.snapshots()
        owners = {record.session: record.host for record in session.state.sessions().values()}
        for snapshot in snapshots:
            stored_by = {owners.get(SessionId(needed.session), snapshot.host) for needed in snapshot.maintain.needed}
            journal.counts["snapshots_sharing"] += stored_by != {snapshot.host}


def _attempt_number(attempt: str) -> int:
    return int(attempt.rpartition("-")[2])


def _told(promise: Promise) -> str:
    return f"the promised snapshot {promise.snapshot[:12]} of {promise.attempt}"


def _restore_all(ground: Ground, journal: Journal, snapshots: list[Found]) -> None:
    """Each by a process of its own, into a new directory, compared with what the tree was when its backup began."""
    for one in snapshots:
        (attempt,), (path,) = one["tags"], one["paths"]
        target = ground.folder / "restored"
        restored = ground.owner("restore", f"{one['id']}:{path}", "--target", target)
        told = f"{one['id'][:12]} of {attempt}"
        if restored.code:
            journal.find(f"restoring {told} ended with {restored.code}: {story(restored)}")
        if target.exists():
            wrong = differences(journal.trees[attempt], describe(target))
            if wrong:
                journal.find(f"{told} has come back with {len(wrong)} differences: {'; '.join(wrong[:_SHOWN])}")
            shutil.rmtree(target)
        journal.counts["snapshots_restored"] += 1


def _newest_of_each_host(confirmed: list[Found]) -> list[Found]:
    newest: dict[str, Found] = {}
    for one in confirmed:
        if one["host"] not in newest or newest[one["host"]]["number"] < one["number"]:
            newest[one["host"]] = one
    return list(newest.values())


def _collect_twice(ground: Ground, journal: Journal) -> None:
    """Two collections, and nothing is left but what snapshots need, with the share that may lie unused beside it.

    Before them a deep one: what a relocation that was killed has announced is kept until another one has overtaken it.
    """
    collect = ("prune", "--grace", "0", "--allow-large", "--json")
    for deep in (True, False, False):
        pruned = ground.owner(*collect, "--deep") if deep else ground.maintainer(*collect)
        if pruned.code:
            journal.find(f"the last prune ended with {pruned.code}: {story(pruned)}")
            return
    plan = _only(ground.maintainer("prune", "--grace", "0", "--dry-run", "--json").out, "plan")
    stats = _only(ground.owner("stats", "--json").out, "stats")
    stored = stats["stored"]
    packs_bytes = stored["data_packs"] + stored["listing_packs"] + stored["unreferenced_packs"]
    framing_bytes = plan["total_bytes"] - plan["used_bytes"] - plan["unused_bytes"]
    twice_bytes = plan["used_bytes"] - stats["sealed_bytes"]  # two prunes have repacked a pack at the same moment: both copies stay
    limit_bytes = plan["used_bytes"] / (1 - _MAX_UNUSED) + framing_bytes
    journal.counts.update(
        {
            "needed_bytes": stats["sealed_bytes"],
            "packs_bytes": packs_bytes,
            "framing_bytes": framing_bytes,
            "stored_twice_bytes": twice_bytes,
        }
    )
    if packs_bytes > limit_bytes:
        needed = f"snapshots need {stats['sealed_bytes']:,}, {twice_bytes:,} of them are there twice"
        journal.find(f"garbage stays: packs have {packs_bytes:,} bytes; {needed}, so {limit_bytes:,.0f} are allowed")


def _only(out: str, message_type: str) -> Found:
    (line,) = (line for line in map(json.loads, out.splitlines()) if line["message_type"] == message_type)
    found: Found = line
    return found
