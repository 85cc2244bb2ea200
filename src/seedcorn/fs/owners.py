"""Names of users and groups as this machine knows them. A number without a name is left out; bytes of a name that are not UTF-8 are escaped."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterable
from contextlib import suppress

__all__ = ["group_names", "user_names"]


def user_names(uids: Iterable[int]) -> dict[int, str]:
    """Name of each user that has one."""
    return _named(uids, lambda uid: pwd.getpwuid(uid).pw_name)


def group_names(gids: Iterable[int]) -> dict[int, str]:
    """Name of each group that has one."""
    return _named(gids, lambda gid: grp.getgrgid(gid).gr_name)


def _named(numbers: Iterable[int], lookup: Callable[[int], str]) -> dict[int, str]:
    names: dict[int, str] = {}
    for number in numbers:
        with suppress(KeyError, OverflowError):
            names[number] = lookup(number).encode(errors="backslashreplace").decode()
    return names
