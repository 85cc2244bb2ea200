"""What the conformance probe asks of a store that nothing else may: the writes that ``Store`` has no verb for, to see whether they are refused.

Owns two optional capabilities, beside ``Store`` and never part of it, and the race that ``doctor`` and the store contract of the tests share. Only
these two use them, and only on keys of their own: production code that overwrites is a bug. docs/threat-model.md, "Grades of a store".
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from seedcorn.errors import ObjectExistsError
from seedcorn.store.api import Buffer, Store

__all__ = ["Probeable", "RemoteProbeable", "race"]


@runtime_checkable
class Probeable(Protocol):
    """A store that can be asked to break its own rules."""

    @property
    def refuses_by_itself(self) -> bool:
        """Whether it is the store that refuses a put under a taken key. False if this program looks first: then others need not."""

    def overwrite(self, key: str, data: Buffer) -> None:
        """Put without any condition."""

    def clear_folder(self, prefix: str) -> None:
        """Take away what is left of a folder, other than objects, when its objects have been deleted."""


@runtime_checkable
class RemoteProbeable(Probeable, Protocol):
    """The same behind a wire: checksums are sent, and there may be versions."""

    def takes_checksum(self, key: str, data: Buffer, of: bytes) -> bool:
        """Put ``data`` with the MD5 of ``of``. False if the store calls the request a bad one.

        Raises:
            StoreError: it was refused for another reason.
        """

    def version_of(self, key: str) -> str | None:
        """The store's name for the present bytes under ``key``; None if it has none."""

    def get_version(self, key: str, version: str) -> bytes:
        """The bytes that ``version_of`` named, whatever has happened to the key since."""


def race(store: Store, key: str, *, same_bytes: bool = False, racers: int = 16) -> list[bytes]:
    """Put ``key`` from many threads at once; returns what those put that were told they had succeeded."""
    start = threading.Barrier(racers)

    def run(number: int) -> bytes | None:
        data = b"racer " + (b"any" if same_bytes else str(number).encode())
        start.wait()
        try:
            store.put(key, data)
        except ObjectExistsError:
            return None
        return data

    with ThreadPoolExecutor(racers, thread_name_prefix="seedcorn-race") as pool:
        return [data for data in pool.map(run, range(racers)) if data is not None]
