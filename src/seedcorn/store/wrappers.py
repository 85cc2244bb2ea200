"""Stores around stores, each with one idea: keep a log, write nothing, refuse to delete. Know the interface only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seedcorn.errors import AccessDeniedError
from seedcorn.store.api import Buffer, ObjectInfo, Requests, Store, check_key
from seedcorn.store.meter import RequestMeter

__all__ = ["AppendOnlyStore", "Call", "DryRunStore", "RecordingStore", "WrappedStore"]


class WrappedStore:
    """Passes everything on; the base of the others."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def requests(self) -> Requests:
        return self._inner.requests

    def put(self, key: str, data: Buffer) -> None:
        self._inner.put(key, data)

    def get(self, key: str) -> bytes:
        return self._inner.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._inner.get_range(key, start, length)

    def head(self, key: str) -> ObjectInfo:
        return self._inner.head(key)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return self._inner.list(prefix, after=after)

    def delete(self, keys: Sequence[str]) -> None:
        self._inner.delete(keys)

    def close(self) -> None:
        self._inner.close()


class AppendOnlyStore(WrappedStore):
    """Refuses every delete: what a host works through."""

    def delete(self, keys: Sequence[str]) -> None:
        raise AccessDeniedError("this store was opened for adding only: nothing is deleted", key=keys[0] if keys else "")


class DryRunStore(WrappedStore):
    """Reads, and counts the puts and deletes that a real run would make without making them."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._meter = RequestMeter()

    @property
    def requests(self) -> Requests:
        made, unmade = self._inner.requests, self._meter.requests
        return Requests(unmade.put, made.get, made.head, made.list, unmade.delete, unmade.put_bytes, made.get_bytes)

    def put(self, key: str, data: Buffer) -> None:
        check_key(key)
        self._meter.put(memoryview(data).nbytes)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        self._meter.delete()


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a store: the verb, its key or prefix (of a delete: one Call a key), and the bytes it carried either way."""

    verb: str
    key: str
    carried_bytes: int = 0


class RecordingStore(WrappedStore):
    """Keeps every call that succeeded in ``calls``, in the order in which they ended; a listing counts when it begins."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.calls: list[Call] = []

    def put(self, key: str, data: Buffer) -> None:
        self._inner.put(key, data)
        self.calls.append(Call("put", key, memoryview(data).nbytes))

    def get(self, key: str) -> bytes:
        data = self._inner.get(key)
        self.calls.append(Call("get", key, len(data)))
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data = self._inner.get_range(key, start, length)
        self.calls.append(Call("get_range", key, len(data)))
        return data

    def head(self, key: str) -> ObjectInfo:
        info = self._inner.head(key)
        self.calls.append(Call("head", key))
        return info

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self.calls.append(Call("list", prefix))
        return self._inner.list(prefix, after=after)

    def delete(self, keys: Sequence[str]) -> None:
        self._inner.delete(keys)
        self.calls.extend(Call("delete", key) for key in keys)
