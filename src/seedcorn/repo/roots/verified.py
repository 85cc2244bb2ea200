"""The verified set: packs of which the owner has opened every frame and recomputed every chunk id, and says so to all hosts.

Owns how the set is put and read. Invariant: nothing is believed that the owner did not sign for this repository, and of a pack only the very frame
entries that were verified: a host that lists other ones later is not believed.

docs/format.md, section "Verified set"; docs/threat-model.md, "malicious host".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import PublicKeys
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Magic
from seedcorn.format.collection import VerifiedPack, VerifiedRecord
from seedcorn.format.names import RecordName, parse_record_key, verified_key
from seedcorn.ids import HostId, PackId, RepositoryId
from seedcorn.repo.records import build_record, open_record, read_small
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.state.state import State
from seedcorn.store.api import Store

__all__ = ["ROOM", "VerifiedSet", "open_verified", "publish_verified", "read_verified"]

ROOM = "verified/"


@dataclass(frozen=True, slots=True)
class VerifiedSet:
    """What the owner has verified: digests of frame entries by (host, pack). ``problems`` are records that are not believed, named."""

    digests: Mapping[tuple[bytes, bytes], Collection[bytes]]
    problems: tuple[IntegrityError, ...] = ()

    def believes(self, host: HostId, pack: PackId, digest: bytes) -> bool:
        """Whether the owner has verified this pack as it is listed with this digest (``packs.entries_digest``)."""
        return digest in self.digests.get((host, pack), ())

    def holds(self, pack: VerifiedPack) -> bool:
        """Whether the set says this already."""
        return pack.digest in self.digests.get((pack.host, pack.pack), ())


def read_verified(store: Store, state: State, repository: RepositoryId, public: PublicKeys) -> VerifiedSet:
    """The set as the store has it now; records that this machine has read before come from its state, and are verified again."""
    digests: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
    problems: list[IntegrityError] = []
    for info in store.list(ROOM):
        name = parse_record_key(info.key)
        if name is None:
            continue
        try:
            record = read_small(store, state, info, Magic.VERIFIED, partial(open_verified, name, repository, public))
        except IntegrityError as error:
            problems.append(error)
            continue
        for pack in record.packs:
            digests[pack.host, pack.pack].add(pack.digest)
    return VerifiedSet(dict(digests), tuple(problems))


def open_verified(name: RecordName, repository: RepositoryId, public: PublicKeys, data: bytes) -> VerifiedRecord:
    """Verify and open one record.

    Raises:
        IntegrityError: with what is wrong.
    """
    if primitives.object_hash(data) != name.record:
        raise IntegrityError("its bytes do not match the hash in its name")
    record = open_record(Magic.VERIFIED, data, VerifiedRecord, public.owner_sign)
    if record.repository != repository or record.number != name.number:
        raise IntegrityError("belongs to another repository, or has been moved")
    return record


def publish_verified(repository: OwnerRepository, packs: Sequence[VerifiedPack], now_ns: int) -> str | None:
    """Add ``packs`` to the set; the new record's key, None if there are none."""
    if not packs:
        return None
    names = [name for info in repository.store.list(ROOM) if (name := parse_record_key(info.key))]
    number = max((name.number for name in names), default=0) + 1
    data = build_record(Magic.VERIFIED, VerifiedRecord(repository.repository, number, now_ns, tuple(packs)), repository.key.sign)
    key = verified_key(number, primitives.object_hash(data))
    repository.store.put(key, data)
    return key
