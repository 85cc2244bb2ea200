"""The verified set: who is believed, about what, and who is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import new_owner_seed
from seedcorn.format.codec import Magic
from seedcorn.format.collection import VerifiedPack, VerifiedRecord
from seedcorn.format.names import parse_record_key, verified_key
from seedcorn.format.pack import FrameEntry, KeyRow, PackKind
from seedcorn.ids import HostId, PackId
from seedcorn.repo.packs import entries_digest
from seedcorn.repo.records import build_record
from seedcorn.repo.repository import OwnerRepository, new_repository
from seedcorn.repo.roots.verified import VerifiedSet, publish_verified, read_verified
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository

HOST, OTHER = HostId(b"h" * 16), HostId(b"i" * 16)
PACK = PackId(b"p" * 32)
ROWS = (KeyRow(b"s" * 16, HOST, 1, b"sealed"),)
FRAMES = (FrameEntry(b"s" * 16, 0, 100, 50, 40, b"r" * 28), FrameEntry(b"s" * 16, 1, 150, 60, 50, b"t" * 28))


def told(frames: Sequence[FrameEntry], rows: Sequence[KeyRow] = ROWS, domain: int = 0, kind: PackKind = PackKind.DATA) -> bytes:
    return entries_digest(domain, kind, frames, rows)


def verified(*packs: VerifiedPack) -> VerifiedSet:
    digests: dict[tuple[bytes, bytes], set[bytes]] = {}
    for pack in packs:
        digests.setdefault((pack.host, pack.pack), set()).add(pack.digest)
    return VerifiedSet(digests)


def test_only_the_very_entries_that_were_verified_are_believed() -> None:
    known = verified(VerifiedPack(HOST, PACK, told(FRAMES)))
    assert known.believes(HOST, PACK, told(FRAMES))
    assert known.believes(HOST, PACK, told(FRAMES[::-1]))  # in whatever order a segment lists them
    assert not known.believes(OTHER, PACK, told(FRAMES))
    assert not known.believes(HOST, PackId(b"q" * 32), told(FRAMES))
    assert not known.believes(HOST, PACK, told(FRAMES[:1]))
    assert not known.believes(HOST, PACK, told((FRAMES[0], FrameEntry(b"s" * 16, 1, 150, 60, 50, b"u" * 28))))
    assert known.believes(HOST, PACK, told(FRAMES, (*ROWS, KeyRow(b"t" * 16, HOST, 1, b"of another session"))))
    assert not known.believes(HOST, PACK, told(FRAMES, (KeyRow(b"s" * 16, HOST, 1, b"another key"),)))
    assert not known.believes(HOST, PACK, told(FRAMES, domain=1)) and not known.believes(HOST, PACK, told(FRAMES, kind=PackKind.LISTING))
    assert not VerifiedSet({}).believes(HOST, PACK, told(()))


def test_entries_of_two_records_are_both_believed() -> None:
    known = verified(VerifiedPack(HOST, PACK, told(FRAMES)), VerifiedPack(HOST, PACK, told(FRAMES[:1])))
    assert known.believes(HOST, PACK, told(FRAMES)) and known.believes(HOST, PACK, told(FRAMES[:1]))
    assert known.holds(VerifiedPack(HOST, PACK, told(FRAMES)))
    assert not known.holds(VerifiedPack(HOST, PACK, bytes(32)))


def read(repository: SmallRepository) -> VerifiedSet:
    owner = repository.owner()
    return read_verified(repository.store, repository.owner_state(), owner.repository, owner.key.public)


def test_what_is_published_is_read_by_everybody(repository: SmallRepository, store: MemoryStore) -> None:
    packs = [VerifiedPack(HOST, PackId(bytes([n]) * 32), bytes([n]) * 32) for n in range(3)]
    first = publish_verified(repository.owner(), packs[:2], 5)
    second = publish_verified(repository.owner(), packs[2:], 6)
    assert publish_verified(repository.owner(), [], 7) is None
    assert first and second and [name.number for key in (first, second) if (name := parse_record_key(key))] == [1, 2]
    machine = repository.first
    as_host = read_verified(store, machine.state, machine.host_file.key.repository, machine.host_file.key.public)
    for found in (as_host, read(repository)):
        assert all(found.holds(pack) for pack in packs)
        assert found.problems == ()
    gets = store.requests.get
    read_verified(store, machine.state, machine.host_file.key.repository, machine.host_file.key.public)
    assert store.requests.get == gets  # remembered


def test_a_damaged_record_is_named_and_not_believed(repository: SmallRepository, store: MemoryStore) -> None:
    pack = VerifiedPack(HOST, PACK, bytes(32))
    key = publish_verified(repository.owner(), [pack], 5)
    assert key
    good = publish_verified(repository.owner(), [VerifiedPack(OTHER, PACK, bytes(32))], 6)
    store.objects[key] = flip_byte(store.objects[key], 40)
    found = read(repository)
    assert [problem.object_name for problem in found.problems] == [key]
    assert not found.holds(pack) and found.holds(VerifiedPack(OTHER, PACK, bytes(32)))
    assert good in store.objects


def put(store: MemoryStore, owner: OwnerRepository, record: VerifiedRecord, number: int, sign: object = None) -> str:
    data = build_record(Magic.VERIFIED, record, sign or owner.key.sign)  # type: ignore[arg-type]  # a signer
    key = verified_key(number, primitives.object_hash(data))
    store.put(key, data)
    return key


@pytest.mark.parametrize("forger", ["host", "maintainer", "another owner", "another repository", "another number"])
def test_who_is_not_the_owner_is_not_believed(forger: str, repository: SmallRepository, store: MemoryStore) -> None:
    owner = repository.owner()
    pack = VerifiedPack(HOST, PACK, bytes(32))
    record = VerifiedRecord(owner.repository, 1, 5, (pack,))
    if forger == "host":
        key = put(store, owner, record, 1, repository.first.host_file.key.sign)
    elif forger == "maintainer":
        key = put(store, owner, record, 1, owner.key.maintain_key().sign)
    elif forger == "another owner":
        stranger = type(owner.key).from_seed(new_owner_seed(), owner.repository)
        key = put(store, new_repository(store, owner.repository, stranger, flags=(), created_ns=0, program=""), record, 1)
    elif forger == "another repository":
        key = put(store, owner, VerifiedRecord(b"r" * 16, 1, 5, (pack,)), 1)
    else:
        key = put(store, owner, record, 2)
    found = read(repository)
    assert [problem.object_name for problem in found.problems] == [key]
    assert not found.holds(pack)
