"""Scrubbing without a key: is every object whose name is its hash still what was put?

For whoever keeps the bucket and must not be able to read it. Finds what a disk or a network has done, and all tampering but that of who also changes
names; what is missing it can not know, for only the index and the snapshots say what should be there.

Memory: one object for each thread, a pack being at most 80 MiB. docs/format.md, section "Identifiers".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from seedcorn.crypto import primitives
from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, IntegrityError, ObjectNotFoundError
from seedcorn.events import Clock, Counter, Monitor
from seedcorn.format.codec import Magic
from seedcorn.format.names import parse_numbered_key, parse_pack_key, parse_record_key
from seedcorn.ops.check.choice import Subset
from seedcorn.ops.check.findings import Findings
from seedcorn.ops.parallel import work_ahead
from seedcorn.repo.records import fetch_spare
from seedcorn.repo.repository import read_header
from seedcorn.repo.roots.kinds import kind_of
from seedcorn.store.api import Store

__all__ = ["ScrubOptions", "ScrubResult", "scrub"]


@dataclass(frozen=True, slots=True)
class ScrubOptions:
    """``packs_only``: nothing but packs; ``subset``: only some of the packs. ``readers`` objects in memory at a time."""

    packs_only: bool = False
    subset: Subset | None = None
    readers: int = 2
    rng: random.Random = field(default_factory=random.Random)  # for a subset that is chosen by chance


@dataclass(frozen=True, slots=True)
class ScrubResult:
    """What was read and what is wrong with it. ``skipped_packs`` were left out by the options."""

    objects: int
    packs: int
    skipped_packs: int
    checked_bytes: int
    elapsed_ns: int
    problems: tuple[IntegrityError, ...]

    @property
    def exit_code(self) -> int:
        return EXIT_INTEGRITY if self.problems else EXIT_DONE


@dataclass(frozen=True, slots=True)
class _Hashed:
    """An object whose name says its hash."""

    key: str
    object_id: bytes
    size_bytes: int
    magic: Magic

    @property
    def pack_id(self) -> bytes:
        return self.object_id


def scrub(store: Store, options: ScrubOptions, clock: Clock, monitor: Monitor) -> ScrubResult:
    """Hash every object that is named by its hash.

    Raises:
        RepositoryNotFoundError: there is no repository.
        StoreError: the store fails to answer.
    """
    begun_ns = clock.elapsed_ns()
    read_header(store)
    findings = Findings(monitor)
    packs = list(_listed(store, "packs/", Magic.PACK, _pack_hash))
    chosen = options.subset.choose(packs, options.rng) if options.subset else packs
    objects = chosen if options.packs_only else [*chosen, *_others(store)]
    monitor.expect(Counter.CHECKED_BYTES, sum(found.size_bytes for found in objects))

    def look(found: _Hashed) -> bool:
        return _look(store, found, findings)

    seen = sum(work_ahead(look, objects, threads=options.readers))
    return ScrubResult(seen, len(chosen), len(packs) - len(chosen), findings.checked_bytes, clock.elapsed_ns() - begun_ns, findings.problems)


def _others(store: Store) -> Iterator[_Hashed]:
    yield from _listed(store, "index/", Magic.SEGMENT, _numbered_hash)
    yield from _listed(store, "snapshots/", Magic.SNAPSHOT, _numbered_hash)
    yield from _listed(store, "forget/", Magic.FORGET, _record_hash)
    yield from _listed(store, "verified/", Magic.VERIFIED, _record_hash)


def _pack_hash(key: str) -> bytes | None:
    name = parse_pack_key(key)
    return name[1] if name else None


def _numbered_hash(key: str) -> bytes | None:
    name = parse_numbered_key(key)
    return name.object_id if name else None


def _record_hash(key: str) -> bytes | None:
    name = parse_record_key(key)
    return name.record if name else None


def _listed(store: Store, room: str, magic: Magic, hash_in: Callable[[str], bytes | None]) -> Iterator[_Hashed]:
    for info in store.list(room):
        object_id = hash_in(info.key)
        if object_id is not None:  # other names are nobody's
            yield _Hashed(info.key, object_id, info.size_bytes, magic)


def _look(store: Store, found: _Hashed, findings: Findings) -> bool:
    """Whether it is still there."""
    if found.size_bytes > found.magic.limit_bytes:
        findings.problem(IntegrityError("is larger than its kind may be", object_name=found.key))
        return True
    try:
        data = store.get(found.key)
    except ObjectNotFoundError:  # a collection has taken it since it was listed
        return False
    if primitives.object_hash(data) != found.object_id and not _has_spare(store, found):
        findings.problem(IntegrityError("its bytes do not match the hash in its name", object_name=found.key))
    findings.checked(len(data))
    return True


def _has_spare(store: Store, found: _Hashed) -> bool:
    """Whether its bytes have been put once more; packs and segments are repaired in another way."""
    spare = fetch_spare(store, found.key, found.magic) if kind_of(found.key) else None
    return spare is not None and primitives.object_hash(spare) == found.object_id
