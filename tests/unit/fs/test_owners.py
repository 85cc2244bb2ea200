"""Names of owners, as far as they can be had."""

from __future__ import annotations

import grp
import pwd
from types import SimpleNamespace

import pytest

from seedcorn.fs.owners import group_names, user_names


def test_numbers_with_and_without_a_name() -> None:
    assert user_names([0, 4_000_000_000, 1 << 70]) == {0: pwd.getpwuid(0).pw_name}
    assert group_names([0, 4_000_000_000]) == {0: grp.getgrgid(0).gr_name}


def test_a_name_that_is_not_utf_8_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some directory services give it: a snapshot holds text."""
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name=b"m\xfcller".decode("utf-8", "surrogateescape")))
    assert user_names([5]) == {5: "m\\udcfcller"}
