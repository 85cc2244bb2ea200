"""Counts the requests of one open store from many threads. Owns the lock around a ``Requests``; knows no store."""

from __future__ import annotations

from threading import Lock

from seedcorn.store.api import Requests

__all__ = ["RequestMeter"]


class RequestMeter:
    """What a store adds to as it works; ``requests`` is what it shows."""

    def __init__(self) -> None:
        self.requests = Requests()
        self._lock = Lock()

    def put(self, sent_bytes: int) -> None:
        """One put that carried ``sent_bytes``."""
        with self._lock:
            self.requests.put += 1
            self.requests.put_bytes += sent_bytes

    def get(self, received_bytes: int) -> None:
        """One get, of an object or of a range, that brought ``received_bytes``."""
        with self._lock:
            self.requests.get += 1
            self.requests.get_bytes += received_bytes

    def head(self) -> None:
        """One head."""
        with self._lock:
            self.requests.head += 1

    def list(self) -> None:
        """One page of a listing."""
        with self._lock:
            self.requests.list += 1

    def delete(self, requests: int = 1) -> None:
        """``requests`` deletes, each of as many objects as the store takes at once."""
        with self._lock:
            self.requests.delete += requests
