"""The object store as seedcorn sees it: opaque keys and bytes, six verbs.

Knows nothing of the format. A key is a relative path of printable ASCII segments without ``.``/``..`` (see ``check_key``). Objects are immutable:
the only write is a create-only ``put``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from seedcorn.errors import StoreError

__all__ = ["LARGEST_OBJECT_BYTES", "Buffer", "ObjectInfo", "Requests", "Store", "check_folder", "check_key", "check_range", "check_size", "is_key"]

Buffer = bytes | bytearray | memoryview

_KEY = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
_KEY_LIMIT = 400
LARGEST_OBJECT_BYTES = 256 << 20  # docs/format.md, "Objects": nothing larger is put, or read whole into memory


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing."""

    key: str
    size_bytes: int
    modified_ns: int  # by the store's clock, nanoseconds since the epoch; many stores round to seconds


@dataclass(slots=True)
class Requests:
    """How many requests of each kind were made, and the bytes that puts carried. One per open store; not thread-safe by itself."""

    put: int = 0
    get: int = 0
    head: int = 0
    list: int = 0
    delete: int = 0
    put_bytes: int = field(default=0)
    get_bytes: int = field(default=0)

    @property
    def total(self) -> int:
        return self.put + self.get + self.head + self.list + self.delete

    def since(self, before: Requests) -> Requests:
        """The requests that were made after ``before`` was copied from this."""
        return Requests(*(getattr(self, name) - getattr(before, name) for name in self.__slots__))


class Store(Protocol):
    """One prefix in an object store. All methods may be called from several threads at once.

    Every method raises a subclass of ``StoreError`` and nothing else: ``ObjectNotFoundError``, ``AccessDeniedError``,
    ``StoreUnavailableError`` (after the retries that the store was opened with), else ``StoreError``.
    """

    @property
    def url(self) -> str:
        """The place, as a person would type it; never with credentials in it."""

    @property
    def requests(self) -> Requests:
        """The requests made so far (a list that needs three pages counts three)."""

    def put(self, key: str, data: Buffer) -> None:
        """Create ``key`` with ``data``, durable when this returns. ``data`` must not change until then.

        An object that is already there with the same bytes is a success (the first answer may have been lost).

        Raises:
            ObjectExistsError: ``key`` is taken by other bytes; it has not been overwritten on stores that enforce create-only puts.
        """

    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            StoreError: it is larger than ``LARGEST_OBJECT_BYTES``; nothing of it has been read.
        """

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``start``.

        Raises:
            StoreError: the object ends before ``start + length``.
        """

    def head(self, key: str) -> ObjectInfo:
        """Size and time of one object."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix`` (a folder: empty, or ending in ``/``) and is greater than ``after``, in key order.

        A failure in the middle raises; a partial listing never ends quietly. What has no well-formed key was put by others and is left out.
        """

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is already gone is a success."""

    def close(self) -> None:
        """Give back connections and threads."""


def is_key(key: str) -> bool:
    """Whether ``key`` is well formed."""
    return len(key) <= _KEY_LIMIT and _KEY.fullmatch(key) is not None


def check_key(key: str) -> str:
    """``key`` itself if it is well formed.

    Raises:
        StoreError: it is not: a bug of ours.
    """
    if not is_key(key):
        raise StoreError(f"{key!r} is not a well-formed object key")
    return key


def check_folder(prefix: str) -> str:
    """``prefix`` itself if it can be listed: empty (the whole store), or a well-formed key and a ``/``.

    Raises:
        StoreError: it cannot.
    """
    if prefix:
        if not prefix.endswith("/"):
            raise StoreError(f"{prefix!r} is not a folder: a listing takes a prefix that ends in /")
        check_key(prefix[:-1])
    return prefix


def check_range(key: str, start: int, length: int) -> str:
    """``key`` itself if it and the range are well formed: at least one byte, from a start that is not negative.

    Raises:
        StoreError: they are not.
    """
    if start < 0 or length < 1:
        raise StoreError(f"there is no range of {length} bytes from {start}", key=key)
    return check_key(key)


def check_size(key: str, size_bytes: int) -> None:
    """Raises:
    StoreError: no object of a repository is that large.
    """
    if size_bytes > LARGEST_OBJECT_BYTES:
        raise StoreError(f"{size_bytes} bytes are too large for an object of a repository, which has {LARGEST_OBJECT_BYTES} at most", key=key)
