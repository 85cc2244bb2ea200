"""A store in a dictionary: strict, exact and quick, for tests of everything above the store.

Keeps the promises of ``seedcorn.store.api`` to the letter, with copies of what is put and times from a clock that the test gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from threading import Lock

from seedcorn.errors import ObjectExistsError, ObjectNotFoundError, StoreError
from seedcorn.store.api import Buffer, ObjectInfo, Requests, check_folder, check_key, check_range
from seedcorn.store.meter import RequestMeter

__all__ = ["MemoryStore"]

_PAGE_KEYS = 1000


class MemoryStore:
    """Objects in memory. ``now_ns`` stamps them; without it the n-th put happens n seconds after the epoch.

    ``objects`` shows the bytes by key. Tests may change it to damage a repository; code under test must not know it.
    """

    def __init__(self, now_ns: Callable[[], int] | None = None, *, url: str = "memory://") -> None:
        seconds = itertools.count(1)
        self.objects: dict[str, bytes] = {}
        self._modified_ns: dict[str, int] = {}
        self._now_ns = now_ns or (lambda: next(seconds) * 1_000_000_000)
        self._url = url
        self._meter = RequestMeter()
        self._lock = Lock()

    @property
    def url(self) -> str:
        return self._url

    @property
    def requests(self) -> Requests:
        return self._meter.requests

    def put(self, key: str, data: Buffer) -> None:
        check_key(key)
        content = bytes(data)
        self._meter.put(len(content))
        with self._lock:
            if self.objects.setdefault(key, content) != content:
                raise ObjectExistsError("the store already holds other bytes under this key", key=key)
            if key not in self._modified_ns:
                self._modified_ns[key] = self._now_ns()

    def get(self, key: str) -> bytes:
        data = self._object(check_key(key))
        self._meter.get(len(data))
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data = self._object(check_range(key, start, length))[start : start + length]
        self._meter.get(len(data))
        if len(data) != length:
            raise StoreError(f"the object ends before byte {start + length}", key=key)
        return data

    def head(self, key: str) -> ObjectInfo:
        check_key(key)
        self._meter.head()
        data = self._object(key)
        return ObjectInfo(key, len(data), self._modified_ns.get(key, 0))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        check_folder(prefix)
        with self._lock:
            keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        for number, key in enumerate(keys):
            if number % _PAGE_KEYS == 0:
                self._meter.list()
            data = self.objects.get(key)
            if data is not None:  # else deleted since the page was made
                yield ObjectInfo(key, len(data), self._modified_ns.get(key, 0))
        if not keys:
            self._meter.list()

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        self._meter.delete(-(-len(keys) // _PAGE_KEYS))
        with self._lock:
            for key in keys:
                self.objects.pop(key, None)
                self._modified_ns.pop(key, None)

    def close(self) -> None:
        pass

    def _object(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectNotFoundError(f"there is no such object in {self._url}", key=key) from None
