"""Stores between which and their caller something happens: a crash at a given call, or somebody else's work; and how many calls a test tries."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence

import pytest

from seedcorn.store.api import Buffer, ObjectInfo, Store
from seedcorn.store.wrappers import WrappedStore

__all__ = ["AfterPutStore", "BeforePutStore", "Crash", "CrashingStore", "MeanwhileStore", "When", "crash", "strides"]

strides = pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])


class Crash(BaseException):
    """The process is gone; nothing in it may catch this."""


def crash() -> None:
    """As something that is done meanwhile."""
    raise Crash


class When(enum.Enum):
    """Before the store has done what the call asks, or after that and before the caller learns of it."""

    BEFORE = "before"
    AFTER = "after"


class _CountingStore(WrappedStore):
    """Calls ``_reach`` with the number of each call, before and after it."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.calls = 0

    def _reach(self, number: int, when: When) -> None:
        raise NotImplementedError

    def _begin(self) -> int:
        self.calls += 1
        number = self.calls
        self._reach(number, When.BEFORE)
        return number

    def put(self, key: str, data: Buffer) -> None:
        number = self._begin()
        super().put(key, data)
        self._reach(number, When.AFTER)

    def get(self, key: str) -> bytes:
        self._begin()
        return super().get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self._begin()
        return super().get_range(key, start, length)

    def head(self, key: str) -> ObjectInfo:
        self._begin()
        return super().head(key)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self._begin()
        return super().list(prefix, after=after)

    def delete(self, keys: Sequence[str]) -> None:
        number = self._begin()
        super().delete(keys)
        self._reach(number, When.AFTER)


class CrashingStore(_CountingStore):
    """Crashes at one call, and at every later one: who has crashed asks for nothing more."""

    def __init__(self, inner: Store, at: int, when: When) -> None:
        super().__init__(inner)
        self._at = at
        self._when = when
        self.crashed = False

    def _reach(self, number: int, when: When) -> None:
        if self.crashed or (number == self._at and when is self._when):
            self.crashed = True
            raise Crash


class BeforePutStore(WrappedStore):
    """Before the first put of a key that contains ``part``, ``work`` is done."""

    def __init__(self, inner: Store, part: str, work: Callable[[], object]) -> None:
        super().__init__(inner)
        self._part = part
        self._work: Callable[[], object] | None = work

    def put(self, key: str, data: Buffer) -> None:
        if self._part in key and self._work is not None:
            work, self._work = self._work, None
            work()
        super().put(key, data)


class AfterPutStore(WrappedStore):
    """After the first put of a key that contains ``part``, ``work`` is done, once."""

    def __init__(self, inner: Store, part: str, work: Callable[[], object]) -> None:
        super().__init__(inner)
        self._part = part
        self._work: Callable[[], object] | None = work

    def put(self, key: str, data: Buffer) -> None:
        super().put(key, data)
        if self._part in key and self._work is not None:
            work, self._work = self._work, None
            work()


class MeanwhileStore(_CountingStore):
    """Before call number ``at``, ``work`` is done, once."""

    def __init__(self, inner: Store, at: int, work: Callable[[], object]) -> None:
        super().__init__(inner)
        self._at = at
        self._work = work
        self.done = False

    def _reach(self, number: int, when: When) -> None:
        if number == self._at and when is When.BEFORE and not self.done:
            self.done = True
            self._work()
