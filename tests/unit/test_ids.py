"""Ids as people shorten them."""

from __future__ import annotations

import pytest

from seedcorn.errors import UsageError
from seedcorn.ids import HostId, belongs_to, host_mark, match_prefix

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


def test_a_session_belongs_to_the_host_with_which_its_id_begins() -> None:
    host = HostId(b"12345678" + b"h" * 8)
    assert belongs_to(b"12345678" + b"s" * 8, host)
    assert not any(belongs_to(session, host) for session in (b"12345679" + b"s" * 8, b"02345678" + b"s" * 8, bytes(16)))
    assert not any(belongs_to((host_mark(host) + b"s" * 100)[:length], host) for length in (0, 8, 15, 17, 108))
