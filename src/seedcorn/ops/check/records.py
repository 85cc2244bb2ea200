"""The small signed records: receipts, checkpoints, collections, forget records, relocations, the verified set. Is each one what its name says, and
signed by who may?

Owns what a check learns from them beside the standing of snapshots, which is for ``repo.roots.roots``. A record that is damaged says nothing.

docs/format.md, sections "Receipt" to "Verified set".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from seedcorn.crypto import primitives
from seedcorn.errors import IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Envelope, Magic, decode
from seedcorn.format.collection import (
    CheckpointMaintain,
    CheckpointPublic,
    ForgetRecord,
    Receipt,
    ReceiptState,
)
from seedcorn.format.names import (
    CheckpointName,
    ReceiptName,
    RecordName,
    RelocationName,
    parse_checkpoint_key,
    parse_receipt_key,
    parse_record_key,
    parse_relocation_key,
)
from seedcorn.ops.browse import Browser
from seedcorn.ops.check.findings import Findings
from seedcorn.ops.parallel import work_ahead
from seedcorn.repo.bindings import checkpoint_maintain_binding
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.records import open_record
from seedcorn.repo.roots.collections import CollectionLog, Collections, list_collections
from seedcorn.repo.roots.needed import open_bitmap
from seedcorn.repo.roots.relocations import open_relocation
from seedcorn.repo.roots.verified import VerifiedSet, open_verified

__all__ = ["Records", "check_records"]

_REMOVABLE = ("receipts/", "checkpoints/")  # rooms in which an object may go between a listing and the look at it
N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class Records:
    """What the good ones say. ``log`` is what the store had of collections, good or not."""

    log: CollectionLog
    collections: Collections
    verified: VerifiedSet


def check_records(browser: Browser, registry: HostRegistry, findings: Findings, connections: int) -> Records:
    """Read every record anew. Goes on after a damaged one; what the browser has found already is not said in other words."""
    return _RecordCheck(browser, registry, findings, connections).all()


class _RecordCheck:
    def __init__(self, browser: Browser, registry: HostRegistry, findings: Findings, connections: int) -> None:
        self._repository = browser.repository
        self._public = browser.repository.key.public
        self._named = {problem.object_name for problem in browser.problems}
        self._registry = registry
        self._findings = findings
        self._connections = connections
        self._digests: defaultdict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)

    def all(self) -> Records:
        self._room("receipts/", Magic.RECEIPT, self._receipt_name, self._receipt)
        self._room("checkpoints/", Magic.CHECKPOINT, self._checkpoint_name, self._checkpoint)
        self._room("forget/", Magic.FORGET, parse_record_key, self._forget)
        self._room("verified/", Magic.VERIFIED, parse_record_key, self._verified)
        self._room("relocations/", Magic.RELOCATION, parse_relocation_key, self._relocation)
        log = list_collections(self._repository.store)
        return Records(log, self._collections(log), VerifiedSet(dict(self._digests)))

    def _collections(self, log: CollectionLog) -> Collections:
        collections = log.read_all(self._repository.store, None, self._repository.repository, self._public)
        for problem in collections.problems:
            self._problem(problem)
        for info in log.records.values():
            self._findings.checked(info.size_bytes)
        return collections

    def _room(self, room: str, magic: Magic, parse: Callable[[str], N | None], open_one: Callable[[N, bytes], None]) -> None:
        store = self._repository.store
        names: dict[str, N] = {}
        for info in store.list(room):
            name = parse(info.key)
            if name is not None and info.size_bytes > magic.limit_bytes:
                self._problem(IntegrityError("is larger than its kind may be", object_name=info.key))
            elif name is not None:
                names[info.key] = name

        def fetch(key: str) -> tuple[str, bytes | None]:
            try:
                return key, store.get(key)
            except ObjectNotFoundError:
                if room not in _REMOVABLE:
                    self._problem(IntegrityError("is missing from the store", object_name=key))
                return key, None

        for key, data in work_ahead(fetch, names, threads=self._connections):
            if data is None:
                continue
            try:
                open_one(names[key], data)
            except IntegrityError as error:
                self._problem(error.named(key))
            self._findings.checked(len(data))

    def _problem(self, error: IntegrityError) -> None:
        if error.object_name not in self._named:
            self._findings.problem(error)

    def _receipt_name(self, key: str) -> ReceiptName | None:
        """None if it says nothing, because the owner has revoked its host."""
        name = parse_receipt_key(key)
        return name if name and self._registry.counts(name.host, name.seq) else None

    def _checkpoint_name(self, key: str) -> CheckpointName | None:
        """As of a receipt."""
        name = parse_checkpoint_key(key)
        return name if name and name.host not in self._registry.revoked else None

    def _receipt(self, name: ReceiptName, data: bytes) -> None:
        envelope = Envelope.parse(Magic.RECEIPT, data)
        self._registry.verify(Magic.RECEIPT, name.host, envelope)
        state = ReceiptState.VOID if name.void else ReceiptState.RECEIPT
        if decode(envelope.parts[0], Receipt) != Receipt(self._repository.repository, name.host, name.seq, name.snapshot, state):
            raise _misplaced()

    def _checkpoint(self, name: CheckpointName, data: bytes) -> None:
        envelope = Envelope.parse(Magic.CHECKPOINT, data)
        self._registry.verify(Magic.CHECKPOINT, name.host, envelope)
        public_part, sealed = envelope.parts
        public = decode(public_part, CheckpointPublic)
        if (public.repository, public.host, public.session, public.number) != (self._repository.repository, name.host, name.session, name.number):
            raise _misplaced()
        maintain = decode(self._repository.key.open_maintain(checkpoint_maintain_binding(public_part), sealed), CheckpointMaintain)
        for needed in maintain.needed:
            open_bitmap(needed)

    def _forget(self, name: RecordName, data: bytes) -> None:
        if primitives.object_hash(data) != name.record:
            raise IntegrityError("its bytes do not match the hash in its name")
        record = open_record(Magic.FORGET, data, ForgetRecord, self._public.maintain_sign)
        if record.repository != self._repository.repository or record.number != name.number:
            raise _misplaced()

    def _verified(self, name: RecordName, data: bytes) -> None:
        for pack in open_verified(data, name, self._repository.repository, self._public).packs:
            self._digests[pack.host, pack.pack].add(pack.digest)

    def _relocation(self, name: RelocationName, data: bytes) -> None:
        for entry in open_relocation(data, name, self._repository.repository, self._public).frames:
            open_bitmap(entry)


def _misplaced() -> IntegrityError:
    return IntegrityError("belongs to something else or another repository, or has been moved")
