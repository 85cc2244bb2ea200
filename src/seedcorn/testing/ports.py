"""Loopback ports for servers that tests start, without two test processes ever choosing the same one.

Owns one lock file per port in the temporary directory; a lease holds its locks until it is closed or its process ends. Ports lie below the range that
systems hand out for outgoing connections.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

__all__ = ["PortLeases"]

_FIRST, _COUNT = 12_000, 9_900  # a server that also opens port + 10000 still stays below 32768


class PortLeases:
    """The ports of one server, freed together by ``close``."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.gettempdir()) / f"seedcorn-ports-{os.getuid()}"
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._held = ExitStack()

    def lease(self, *, also: Iterable[int] = ()) -> int:
        """A free port p such that each p + n for n in ``also`` is free as well."""
        start = os.getpid() * 101
        for step in range(_COUNT):
            port = _FIRST + (start + step) % _COUNT
            wanted = (port, *(port + offset for offset in also))
            with ExitStack() as attempt:
                if all(self._lock(number, attempt) and _is_free(number) for number in wanted):
                    self._held.push(attempt.pop_all())
                    return port
        raise RuntimeError("no free port is left for a test server")

    def close(self) -> None:
        """Give all ports back."""
        self._held.close()

    def _lock(self, port: int, stack: ExitStack) -> bool:
        fd = os.open(self._directory / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
