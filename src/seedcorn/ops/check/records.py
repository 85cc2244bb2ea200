"""The small signed records: receipts, checkpoints, collections, forget records, relocations, the verified set. Is each one what its name says, and
signed by who may?

Owns what a check learns from them beside the standing of snapshots, which is for ``repo.roots.roots``. A record that is damaged says nothing, unless
it has a good spare.

docs/format.md, sections "Receipt" to "Spare".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.events import Monitor
from seedcorn.format.collection import CheckpointMaintain, VerifiedRecord
from seedcorn.format.names import SPARES
from seedcorn.format.relocation import RelocationRecord
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.findings import Findings
from seedcorn.ops.parallel import work_ahead
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.records import read_small
from seedcorn.repo.roots.collections import CollectionLog, Collections, list_collections
from seedcorn.repo.roots.kinds import KINDS
from seedcorn.repo.roots.needed import open_bitmap
from seedcorn.repo.roots.verified import VerifiedSet
from seedcorn.store.api import ObjectInfo

__all__ = ["Records", "check_records", "note_spares"]

_ROOMS = ("receipts/", "checkpoints/", "forget/", "verified/", "relocations/")
_REMOVABLE = ("receipts/", "checkpoints/")  # of these, an object may go between a listing and the look at it


@dataclass(frozen=True, slots=True)
class Records:
    """What the good ones say. ``log`` is what the store had of collections, good or not."""

    log: CollectionLog
    collections: Collections
    verified: VerifiedSet


def check_records(browser: Browser, registry: HostRegistry, findings: Findings, connections: int) -> Records:
    """Read every record anew. Goes on after a damaged one; what the browser has found already is not said in other words."""
    return _RecordCheck(browser, registry, findings, connections).all()


def note_spares(browser: Browser, monitor: Monitor) -> None:
    """Say which objects a repair has put once more: they are as good as new, and what they stand for is on a disk that turns bits."""
    spares = [info.key for info in browser.repository.store.list(SPARES)]
    if spares:
        many = len(spares) > 1
        monitor.note(f"{len(spares)} damaged object{'s' * many} put once more by a repair, and read from there: {spares[0]}{' …' * many}")


class _RecordCheck:
    def __init__(self, browser: Browser, registry: HostRegistry, findings: Findings, connections: int) -> None:
        self._repository = browser.repository
        self._store = browser.repository.store
        self._named = {problem.object_name for problem in browser.problems}
        self._registry = registry
        self._findings = findings
        self._connections = connections

    def all(self) -> Records:
        digests: defaultdict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
        for room in _ROOMS:
            for record in self._read_room(room):
                if isinstance(record, VerifiedRecord):
                    for pack in record.packs:
                        digests[pack.host, pack.pack].add(pack.digest)
        log = list_collections(self._store)
        return Records(log, self._read_collections(log), VerifiedSet(dict(digests)))

    def _read_collections(self, log: CollectionLog) -> Collections:
        collections = log.read_all(self._store, None, self._repository.repository, self._repository.key.public)
        for problem in (*collections.problems, *collections.oddities):
            self._problem(problem)
        for info in log.records.values():
            self._findings.checked(info.size_bytes)
        return collections

    def _read_room(self, room: str) -> Iterator[Any]:
        """Every good record of a room."""
        kind = KINDS[room]

        def read(info: ObjectInfo) -> Any:
            name = kind.parse(info.key)
            try:
                record = read_small(self._store, None, info, kind.magic, lambda data: kind.open_one(name, self._repository, self._registry, data))
                _check_bitmaps(record)
            except IntegrityError as error:
                self._problem(error.named(info.key))
                record = None
            except ObjectNotFoundError:
                if room not in _REMOVABLE:
                    self._problem(IntegrityError("is missing from the store", object_name=info.key))
                return None
            self._findings.checked(info.size_bytes)
            return record

        counting = (info for info in self._store.list(room) if kind.parse(info.key) is not None and self._counts(room, info.key))
        yield from (record for record in work_ahead(read, counting, threads=self._connections) if record is not None)

    def _counts(self, room: str, key: str) -> bool:
        """Whether it says anything, as after the end of a revoked host nothing does."""
        name = KINDS[room].parse(key)
        if room == "receipts/":
            return self._registry.counts(name.host, name.seq)
        return room != "checkpoints/" or name.host not in self._registry.revoked

    def _problem(self, error: IntegrityError) -> None:
        if error.object_name not in self._named:
            self._findings.problem(error)


def _check_bitmaps(record: Any) -> None:
    """Raises:
    IntegrityError: a set of frames in it is malformed.
    """
    if isinstance(record, CheckpointMaintain):
        needed = record.needed
    elif isinstance(record, RelocationRecord):
        needed = record.frames
    else:
        return
    for entry in needed:
        open_bitmap(entry)
