"""Putting back small signed objects that the store has damaged, with the bytes that this machine remembers of them.

Owns which are put back: those that are listed, that nobody can read, and of which this machine has bytes that pass as the object. Invariants: what is
damaged stays where it is, since others go by its name; its spare is put beside it, so nothing is ever missing in between. What is not listed is left
alone: it may have been deleted with good reason, and what brought that about may be what else is lost.

docs/format.md, section "Spare"; docs/adr/0018 has the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

from seedcorn.errors import IntegrityError, ObjectExistsError, ObjectNotFoundError
from seedcorn.format.names import spare_key
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.check import CheckResult
from seedcorn.repo.records import fetch_spare
from seedcorn.repo.roots.kinds import SmallKind, kind_of

__all__ = ["PutBack", "SmallObjects"]


@dataclass(frozen=True, slots=True)
class PutBack:
    """A damaged object of which this machine remembers the bytes. ``replaces_spare``: it has been put back before, and that is damaged, too."""

    key: str
    size_bytes: int
    replaces_spare: bool = False


class SmallObjects:
    """The small signed objects as the store has them, and as this machine remembers them."""

    def __init__(self, browser: Browser) -> None:
        self._repository = browser.repository
        self._store = browser.repository.store
        self._state = browser.state
        self._registry = browser.hosts  # the records of hosts, too, are what this machine remembers

    def plan(self, result: CheckResult) -> tuple[tuple[PutBack, ...], tuple[str, ...]]:
        """What can be put back of all that was found to be wrong; and the keys of what is damaged and not remembered here."""
        planned: list[PutBack] = []
        unknown: list[str] = []
        for key in sorted({problem.object_name for problem in result.problems}):
            kind = kind_of(key)
            if kind is None or not self._can_judge(key, kind) or not self._is_damaged(key, kind):
                continue
            spare = fetch_spare(self._store, key, kind.magic)
            if spare is not None and self._is_good(key, kind, spare):
                continue
            remembered = self._remembered(key)
            if remembered is None:
                unknown.append(key)
            else:
                planned.append(PutBack(key, len(remembered), replaces_spare=spare is not None))
        return tuple(planned), tuple(unknown)

    def put_back(self, planned: PutBack) -> None:
        """Put the spare. One that is damaged itself is removed first, as the plan has said.

        Raises:
            IntegrityError: this machine does not remember the object any more, or somebody else has put something there.
        """
        data = self._remembered(planned.key)
        if data is None:
            raise IntegrityError("is not remembered any more: run the same command again", object_name=planned.key)
        key = spare_key(planned.key)
        if planned.replaces_spare:
            self._store.delete([key])
        try:
            self._store.put(key, data)
        except ObjectExistsError as error:
            raise IntegrityError("is not as it was when the repair was planned: run the same command again", object_name=key) from error

    def _can_judge(self, key: str, kind: SmallKind) -> bool:
        """Whether it can be told here what is damaged: not of a host whose record is not known, for who has signed for it is said there."""
        return not kind.of_host or kind.parse(key).host in self._registry.hosts

    def _is_damaged(self, key: str, kind: SmallKind) -> bool:
        try:
            if self._store.head(key).size_bytes > kind.magic.limit_bytes:
                return True
            return not self._is_good(key, kind, self._store.get(key))
        except ObjectNotFoundError:
            return False

    def _remembered(self, key: str) -> bytes | None:
        """The bytes that this machine has of an object, verified anew; None if it has none, or not the right ones."""
        data, kind = self._state.cached_object(key), kind_of(key)
        return data if data is not None and kind is not None and self._is_good(key, kind, data) else None

    def _is_good(self, key: str, kind: SmallKind, data: bytes) -> bool:
        try:
            kind.open_one(kind.parse(key), self._repository, self._registry, data)
        except IntegrityError:
            return False
        return True
