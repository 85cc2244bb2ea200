"""repo/roots/chains.py: what is wrong with a history, by names and links alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pytest

from seedcorn.errors import IntegrityError
from seedcorn.format.collection import SnapshotRef
from seedcorn.format.names import NumberedKey, snapshot_key
from seedcorn.format.snapshot import Head, SnapshotPublic
from seedcorn.ids import HostId, SnapshotId
from seedcorn.repo.roots.chains import Link, check_gaps, check_links, check_overtaken, check_rollback, check_twins, check_witnesses, list_heads
from seedcorn.testing.memory_store import MemoryStore

ALPHA, BETA = HostId(b"\xaa" * 16), HostId(b"\xbb" * 16)
WHERE = {ALPHA: "snapshots/" + "aa" * 16, BETA: "snapshots/" + "bb" * 16}


def id_of(seq: int, version: str = "") -> bytes:
    return f"{seq}{version}".encode().ljust(32, b".")


def names(*seqs: int | tuple[int, str], host: HostId = ALPHA) -> list[NumberedKey]:
    """Of snapshots with these numbers; those of a pair are others with the same number."""
    pairs = [seq if isinstance(seq, tuple) else (seq, "") for seq in seqs]
    return [NumberedKey(host, seq, id_of(seq, version)) for seq, version in pairs]


def refs(seqs: Iterable[int], host: HostId = ALPHA) -> set[SnapshotRef]:
    return {SnapshotRef(host, seq, id_of(seq)) for seq in seqs}


def told(problems: Iterable[IntegrityError]) -> list[tuple[str, str]]:
    """Where, and what, without the way out of it."""
    return [(problem.object_name, re.split(r"[:;]", problem.message)[0]) for problem in problems]


def test_the_newest_name_of_each_host() -> None:
    store = MemoryStore()
    for host, seq, version in ((ALPHA, 2, ""), (ALPHA, 10, "a"), (ALPHA, 10, "b"), (ALPHA, 9, "z"), (BETA, 1, "")):
        store.put(snapshot_key(host, seq, SnapshotId(id_of(seq, version))), b"")
    store.put("snapshots/something", b"")
    assert list_heads(store) == {ALPHA: Head(ALPHA, 10, id_of(10, "b")), BETA: Head(BETA, 1, id_of(1))}


@pytest.mark.parametrize(("seen", "newest"), [((10, "a"), "a"), ((10, "b"), "b"), ((10, "gone"), "b"), ((9, "a"), "b")])
def test_of_two_newest_names_the_one_that_was_seen_before(seen: tuple[int, str], newest: str) -> None:
    """Whoever adds one to the room of a host does not take the place of what the host has put."""
    store = MemoryStore()
    for version in "ab":
        store.put(snapshot_key(ALPHA, 10, SnapshotId(id_of(10, version))), b"")
    assert list_heads(store, {ALPHA: Head(ALPHA, seen[0], id_of(*seen))}) == {ALPHA: Head(ALPHA, 10, id_of(10, newest))}


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (None, "was seen with snapshot 5, and has none now"),
        (Head(ALPHA, 4, id_of(4)), "was seen with snapshot 5, and now ends at 4"),
        (Head(ALPHA, 5, id_of(5, "b")), "snapshot 5 is another one than was seen before"),
        (Head(ALPHA, 5, id_of(5)), ""),
        (Head(ALPHA, 6, id_of(6)), ""),
    ],
)
def test_a_head_that_has_moved_back(now: Head | None, message: str) -> None:
    heads = {BETA: Head(BETA, 1, id_of(1))} | ({ALPHA: now} if now else {})
    assert told(check_rollback({ALPHA: Head(ALPHA, 5, id_of(5))}, heads)) == ([(WHERE[ALPHA], message)] if message else [])


@pytest.mark.parametrize(
    ("listed", "known", "is_told"),
    [
        (names(1, 2, 6), [1, 2, 6], True),
        (names(1, (5, "b"), 6), [1, 6], True),
        (names(1, 6), [1, 5, 6], False),  # gone, and that is known
        (names(1, 2), [1, 2], False),  # not overtaken: that the newest number is lower is said elsewhere
        (names(1, (5, "b")), [1], False),
    ],
)
def test_a_host_that_has_gone_on_from_before_what_was_seen(listed: Sequence[NumberedKey], known: list[int], is_told: bool) -> None:
    problems = check_overtaken({ALPHA: Head(ALPHA, 5, id_of(5)), BETA: Head(BETA, 5, id_of(5))}, {ALPHA: listed}, refs(known))
    assert list(problems) == ([ALPHA] if is_told else [])
    assert told(problems.values()) == ([(WHERE[ALPHA], "lacks snapshot 5 as this machine has seen it")] if is_told else [])


def test_a_number_that_was_used_twice() -> None:
    assert told(check_twins({ALPHA: names(1, 2, (2, "b"), 3, (3, "b"), (3, "c")), BETA: names(1, 2)})) == [
        (WHERE[ALPHA], "has 2 snapshots numbered 2"),
        (WHERE[ALPHA], "has 3 snapshots numbered 3"),
    ]


@pytest.mark.parametrize(
    ("lacking", "numbers"),
    [
        ([range(1, 2)], "1"),
        ([range(2, 5), range(7, 8)], "2-4, 7"),
        ([range(at, at + 1) for at in range(1, 21, 2)], "1, 3, 5, 7, 9, 11, 13, 15, 17, 19"),
        ([range(at, at + 1) for at in range(1, 23, 2)], "1, 3, 5, 7, 9, 11, 13, 15, 17, 19 …"),
    ],
)
def test_numbers_that_are_missing(lacking: list[range], numbers: str) -> None:
    assert told(check_gaps({ALPHA: lacking})) == [(WHERE[ALPHA], f"lacks the snapshots numbered {numbers}")]


def test_of_missing_numbers_it_is_said_how_to_give_them_up() -> None:
    (problem,) = check_gaps({ALPHA: [range(2, 5), range(7, 8)]})
    assert f"`seedcorn forget {'aa' * 6}:2-4 {'aa' * 6}:7`" in problem.message


def test_what_another_host_has_seen() -> None:
    assert told(check_witnesses(refs([3]) | refs([2], BETA))) == [
        (WHERE[ALPHA], "lacks snapshot 3 as another host has seen it"),
        (WHERE[BETA], "lacks snapshot 2 as another host has seen it"),
    ]


@pytest.mark.parametrize(
    ("seq", "previous", "listed", "is_told"),
    [
        (1, b"", names(1), False),
        (1, id_of(0), names(1), True),
        (2, id_of(1), names(1, 2), False),
        (2, id_of(1, "b"), names(1, 2), True),
        (2, b"", names(1, 2), True),
        (2, id_of(1, "b"), names(1, (1, "b"), 2), False),  # of two, either may be meant: that there are two is said elsewhere
        (3, id_of(2), names(1, 3), False),  # what is missing is said elsewhere too
    ],
)
def test_what_a_snapshot_says_of_the_one_before_it(seq: int, previous: bytes, listed: Sequence[NumberedKey], is_told: bool) -> None:
    link = Link("the key", SnapshotPublic(b"r" * 16, ALPHA, seq, previous, b"s" * 16, 0))
    found = check_links([link], {ALPHA: listed, BETA: names(0, 1, 2, host=BETA)})
    assert told(found) == ([("the key", "does not follow the snapshot before it")] if is_told else [])
