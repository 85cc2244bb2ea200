"""Repositories as they are after ``init`` and enrolment: made once in a process, because keys are dear, and copied into every run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from seedcorn.events import SystemClock
from seedcorn.ops import access
from seedcorn.ops.access import HostFile
from seedcorn.repo.maintenance import MaintainFile
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import PASSPHRASE, cheap_kdf
from seedcorn.testing.simulation.surroundings import seeded

__all__ = ["HOSTS_LIMIT", "Founding", "founding"]

HOSTS_LIMIT = 4


@dataclass(frozen=True, slots=True)
class Founding:
    """What the owner has after making it: the words, a file for each host and one for maintainers, and the objects in the store."""

    words: str
    host_files: tuple[HostFile, ...]
    maintain_file: MaintainFile
    objects: dict[str, bytes]


class _FoundingClock(SystemClock):
    def now_ns(self) -> int:
        return 10**18


@lru_cache(maxsize=4)
def founding(*, trust_hosts: bool, domains: bool = False) -> Founding:
    """One of four repositories, the same in every process. ``domains``: every other host is in dedup domain 1."""
    store, clock = MemoryStore(), _FoundingClock()
    with seeded(random.Random(f"founding {trust_hosts}")):
        made = access.initialize(store, PASSPHRASE, "host-1", clock, trust_hosts=trust_hosts, kdf=cheap_kdf())
        words = " ".join(made.words)
        owner = access.open_owner_with_words(store, words)
        added = []
        for number in range(2, HOSTS_LIMIT + 1):
            domain = ("new" if number == 2 else str((number + 1) % 2)) if domains else None
            added.append(access.add_host(owner, f"host-{number}", clock, domain=domain))
        maintain_file = access.maintain_file(owner)
    return Founding(words, (made.host_file, *added), maintain_file, dict(store.objects))
