"""No AES key seals twice, in any test of the session: the nonce is always zero, so a repeated key is a repeated (key, nonce).

Listens at ``primitives.seal_once``, the only way to AES-GCM, in every process that pytest itself starts (xdist's workers send theirs home), and
fails the session on a repeat. Keys made by a seeded generator, as in a simulated run, are compared within that run alone: the same seed is meant to
give the same keys. What it can not see: processes that a test starts, and the library's own encryption inside HPKE.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from seedcorn.crypto import primitives

__all__ = ["MARKER", "Ledger", "SealingKeys"]

MARKER = "made_up_keys"
_DIGEST_BYTES = 16
_WORKER_OUTPUT = "sealing_keys"


class Ledger:
    """Which keys have sealed; digests of them, as a session makes millions."""

    def __init__(self) -> None:
        self.seals = 0
        self.repeats: Counter[str] = Counter()  # by the test in which the key was used again
        self.digests: set[bytes] = set()
        self._seeded: set[bytes] = set()
        self._generator: object = os
        self._lock = threading.Lock()

    def record(self, key: bytes, generator: object, test: str) -> None:
        """``key`` seals, in a process whose randomness comes from ``generator`` (the module ``os``, or what stands in for it)."""
        digest = hashlib.blake2b(key, digest_size=_DIGEST_BYTES).digest()
        with self._lock:
            if generator is not os and generator is not self._generator:
                self._seeded, self._generator = set(), generator
            known = self.digests if generator is os else self._seeded
            self.seals += 1
            if digest in known:
                self.repeats[test] += 1
            known.add(digest)

    def merge(self, seals: int, repeats: dict[str, int], digests: bytes) -> None:
        """What another process has recorded."""
        theirs = {digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES)}
        self.seals += seals
        self.repeats.update(repeats)
        if both := len(theirs & self.digests):
            self.repeats["in two processes"] += both
        self.digests |= theirs


class SealingKeys:
    """The plugin. ``report``: a file for the figures as JSON."""

    def __init__(self, report: Path | None) -> None:
        self.ledger = Ledger()
        self._report = report
        self._original = primitives.seal_once
        self._is_deaf = False

    def pytest_sessionstart(self) -> None:
        primitives.seal_once = self._seal_once

    @pytest.hookimpl(tryfirst=True)  # before any fixture seals
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._is_deaf = item.get_closest_marker(MARKER) is not None

    def _seal_once(self, key: bytes, plaintext: primitives.Buffer, associated_data: bytes, out: primitives.Buffer) -> int:
        if not self._is_deaf:
            self.ledger.record(key, vars(primitives)["os"], os.environ.get("PYTEST_CURRENT_TEST", "between tests").rpartition(" ")[0])
        return self._original(key, plaintext, associated_data, out)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        primitives.seal_once = self._original
        ledger, output = self.ledger, getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_WORKER_OUTPUT] = (ledger.seals, dict(ledger.repeats), b"".join(ledger.digests))
            return
        if ledger.repeats:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._report:
            self._report.write_text(json.dumps({"seals": ledger.seals, "repeated": ledger.repeats.total(), "where": dict(ledger.repeats)}) + "\n")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        repeats = self.ledger.repeats
        terminalreporter.write_line(f"{self.ledger.seals:,} seals, {repeats.total():,} under a key that had sealed before", red=bool(repeats))
        for test, count in repeats.most_common(20):
            terminalreporter.write_line(f"{count:>8,}  {test}")

    @pytest.hookimpl(optionalhook=True)  # xdist's
    def pytest_testnodedown(self, node: Any) -> None:
        found = getattr(node, "workeroutput", {}).get(_WORKER_OUTPUT)  # a worker that was killed has none
        if found is not None:
            self.ledger.merge(*found)
