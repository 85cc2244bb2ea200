"""How patiently and how widely a cloud store is used. Plain values; the environment and the configuration are read elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StoreOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Settings of a connection. The defaults suit a server behind a slow, sometimes absent line.

    A single request may take ``timeout_seconds``, and one that can carry a pack also the time that the largest pack needs at
    ``slowest_bytes_per_second``. Failures that may pass by themselves are tried again ``retries`` times within ``retry_timeout_seconds``
    (signatures age: keep it to a few minutes). Until the store has answered once, only ``first_retries`` are made, so that a wrong address
    is reported in seconds.
    """

    connections: int = 8  # puts and gets that callers should have under way at once; they take their thread count from here
    retries: int = 50
    retry_timeout_seconds: float = 300.0
    first_retries: int = 6
    timeout_seconds: float = 60.0
    slowest_bytes_per_second: int = 32 * 1024
    connect_timeout_seconds: float = 10.0
    ca_certificate: bytes | None = None  # PEM, one or several, trusted besides the system's own
    unsigned_payload: bool = False  # over https only: saves hashing each put with SHA-256, and gives up the store's check of what arrived
