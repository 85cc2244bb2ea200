"""Ids as people shorten them."""

from __future__ import annotations

import pytest

from seedcorn.errors import UsageError
from seedcorn.ids import match_prefix

ONE, TWO, THREE = b"\x12\x34", b"\x12\x35", b"\xab\xcd"


@pytest.mark.parametrize(("prefix", "found"), [("1234", ONE), ("a", THREE), ("abcd", THREE)])
def test_a_prefix_of_one_id_finds_it(prefix: str, found: bytes) -> None:
    assert match_prefix(prefix, [ONE, TWO, THREE, ONE], noun="snapshot") == found


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("123", r"2 snapshots have ids that start with 123 \(1234, 1235\): give more digits"),
        ("ff", "no snapshot has an id that starts with ff"),
        ("12345", "no snapshot has an id that starts with 12345"),
        ("", "'' is not a snapshot id"),
        ("AB", "'AB' is not a snapshot id"),
        ("latest", "hexadecimal digits 0-9 a-f"),
        ("12\n", "is not a snapshot id"),
    ],
)
def test_what_finds_no_id_says_why(prefix: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        match_prefix(prefix, [ONE, TWO, THREE], noun="snapshot")
