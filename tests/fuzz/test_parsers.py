"""Mutated objects into every parser: only IntegrityError may come out.

Deterministic for a seed. The time is bounded: SEEDCORN_FUZZ_SECONDS (default 4, for all parsers together), SEEDCORN_FUZZ_SEED (default 2008);
``make fuzz`` runs longer with another seed each time.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from seedcorn.compression import compress, decompress, decompress_bounded
from seedcorn.crypto.frames import Sealer
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.collection import (
    CheckpointMaintain,
    CheckpointPublic,
    CollectionRecord,
    CopiedPack,
    ForgetRecord,
    HostPacks,
    PackCopy,
    Receipt,
    ReceiptState,
    SnapshotRef,
    Stage,
    VerifiedPack,
    VerifiedRecord,
)
from seedcorn.format.header import HostPrivate, HostPublic, SlotPublic, parse_header
from seedcorn.format.pack import PackEntry, PackHead, PackKind, SegmentPublic, check_frames, parse_pack_head, parse_trailer
from seedcorn.format.relocation import RelocatedSnapshot, RelocationRecord, RelocationStage
from seedcorn.format.snapshot import NeededFrames, SnapshotMaintain, SnapshotOwner, SnapshotPublic
from seedcorn.format.tree import content_records, decode_nodes
from seedcorn.repo.bindings import segment_binding, snapshot_maintain_binding, snapshot_owner_binding
from seedcorn.repo.roots.needed import open_bitmap
from seedcorn.testing.damage import keys_by_kind
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree

SECONDS = float(os.environ.get("SEEDCORN_FUZZ_SECONDS", "4"))
SEED = int(os.environ.get("SEEDCORN_FUZZ_SEED", "2008"))

Parser = Callable[[bytes], object]

INTERESTING = [b"", b"\0", b"\xff", b"\x80", b"\xc0", b"\x91" * 300, b"\x81\xa1a", b"\xa1\xff", b"9" * 400, b"{", b"["]
INTERESTING += [first + b"\xff\xff\xff\xff" for first in (b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9")]  # MessagePack: four thousand million of each
INTERESTING += [b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcb" + b"\xff" * 8]  # its extreme numbers


def parse_segment_packs(data: bytes) -> None:
    for entry in decode(data, list[PackEntry]):
        check_frames(entry.frames)


def corpus(folder: Path) -> dict[str, tuple[Parser, list[bytes]]]:
    """Every parser with good inputs of its kind, from a small real repository."""
    store = MemoryStore()
    with SmallRepository(store, folder) as repository:
        repository.backup(make_tree(folder / "tree", {f"d/{n}": os.urandom(n * 40) for n in range(30)}))
        keys = keys_by_kind(store)
        good = {kind: store.objects[found[0]] for kind, found in keys.items()}
        owner = repository.owner()
        browser = repository.browser()
        directory = browser.entry(browser.find("latest"), os.fsencode(folder / "tree/d")).node
        listing_chunks = [bytes(browser.reader.chunk(PackKind.LISTING, i, n)) for i, n in content_records(browser.reader.records(directory))]
        segment = Envelope.parse(Magic.SEGMENT, good["segment"])
        plain = Sealer(owner.key.domain(0).index_key, "segment").open(segment.parts[1], segment_binding(segment.parts[0]))
        snapshot = Envelope.parse(Magic.SNAPSHOT, good["snapshot"])
        maintain = owner.key.open_maintain(snapshot_maintain_binding(snapshot.parts[0]), snapshot.parts[1])
        owner_part = owner.key.open_read(snapshot_owner_binding(snapshot.parts[0]), snapshot.parts[2])
        bitmaps = [needed.bitmap for needed in decode(maintain, SnapshotMaintain).needed]
    text = b"seed corn " * 300
    zstd = compress(text)
    return {
        "header": (parse_header, [good["header"]]),
        **{f"envelope {magic.name}": (partial(Envelope.parse, magic), [good[kind]]) for magic, kind in KINDS.items()},
        "slot": (lambda data: decode(data, SlotPublic), [Envelope.parse(Magic.SLOT, good["slot"]).parts[0]]),
        "host": (lambda data: decode(data, HostPublic), [Envelope.parse(Magic.HOST, good["host record"]).parts[0]]),
        "host's name": (lambda data: decode(data, HostPrivate), [b"\x82\xa4name\xa1n\xa4note\xa0"]),
        "pack": (parse_pack_head, [good["data pack"][:2000], good["listing pack"][:2000]]),
        "pack head": (lambda data: decode(data, PackHead), [good["data pack"][20:1300]]),
        "pack end": (parse_trailer, [good["data pack"][-40:]]),
        "segment": (lambda data: decode(data, SegmentPublic), [segment.parts[0]]),
        "segment's packs": (parse_segment_packs, [decompress_bounded(plain, limit_bytes=1 << 20)]),
        "snapshot": (lambda data: decode(data, SnapshotPublic), [snapshot.parts[0]]),
        "snapshot for maintainers": (lambda data: decode(data, SnapshotMaintain), [maintain]),
        "snapshot for the owner": (lambda data: decode(data, SnapshotOwner), [owner_part]),
        **{name: (partial(_decode, kind), [good]) for name, (kind, good) in RECORDS.items()},
        "bitmap": (lambda data: open_bitmap(NeededFrames(b"", data)), bitmaps),
        "listing": (decode_nodes, listing_chunks),
        "zstd": (lambda data: decompress_bounded(data, limit_bytes=1 << 20), [zstd]),
        "codec": (lambda data: decompress(memoryview(data), len(text)), [b"\1" + zstd, b"\0" + text]),
    }


def _decode(kind: type, data: bytes) -> None:
    decode(data, kind)


ID, OBJECT = bytes(range(16)), bytes(range(32))
SNAPSHOTS = (SnapshotRef(ID, 1, OBJECT), SnapshotRef(ID, 2**40, b""))
FRAMES = (NeededFrames(ID, OBJECT),)
RECORDS: dict[str, tuple[type, bytes]] = {
    type(record).__name__: (type(record), encode(record))
    for record in (
        Receipt(ID, ID, 1, OBJECT, ReceiptState.RECEIPT),
        CheckpointPublic(ID, ID, ID, 1, 0),
        CheckpointMaintain(0, ID, FRAMES),
        ForgetRecord(ID, 1, 0, SNAPSHOTS, SNAPSHOTS),
        CollectionRecord(
            repository=ID,
            number=1,
            collection=ID[:8],
            stage=Stage.SWEEP,
            packs=(HostPacks(ID, (OBJECT,)),),
            frames=FRAMES,
            expired=SNAPSHOTS,
            expired_checkpoints=(),
            removed=SNAPSHOTS,
            copies=(PackCopy(ID, OBJECT, OBJECT, (CopiedPack(OBJECT, OBJECT),)),),
            relocations=(),
        ),
        VerifiedRecord(ID, 1, 0, (VerifiedPack(ID, OBJECT, OBJECT),)),
        RelocationRecord(ID, 1, ID[:8], RelocationStage.ANNOUNCED, FRAMES, (RelocatedSnapshot(ID, 1, OBJECT, (0, 1)),), (ID[:8],)),
    )
}

KINDS = {Magic.SEGMENT: "segment", Magic.SNAPSHOT: "snapshot", Magic.HOST: "host record", Magic.SLOT: "slot"}


def mutated(chosen: random.Random, good: list[bytes]) -> bytes:
    data = bytearray(chosen.choice(good))
    for _ in range(chosen.choice((1, 1, 2, 5))):
        at = chosen.randrange(len(data) + 1)
        size = chosen.choice((1, 1, 2, 4, 8, 40))
        match chosen.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << chosen.randrange(8)
            case 1:
                data[at : at + size] = chosen.randbytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = chosen.choice(INTERESTING)
            case 4:
                data[at : at + size] = chosen.choice(INTERESTING)
            case _:
                other = chosen.choice(good)
                begin = chosen.randrange(len(other) + 1)
                data[at : at + size] = other[begin : begin + size]
    return bytes(data)


@pytest.fixture(scope="module")
def parsers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Parser, list[bytes]]]:
    return corpus(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.timeout(SECONDS * 3 + 60)
def test_only_integrity_errors_come_out(parsers: dict[str, tuple[Parser, list[bytes]]], record_property: Callable[[str, object], None]) -> None:
    refused = dict.fromkeys(parsers, 0)
    accepted = dict.fromkeys(parsers, 0)
    for number, (name, (parse, good)) in enumerate(parsers.items()):
        for data in good:
            if name != "pack head":  # cut from a pack without regard to its end
                parse(data)
        chosen = random.Random(SEED * 1000 + number)
        end = time.monotonic() + SECONDS / len(parsers)
        while time.monotonic() < end:
            data = mutated(chosen, good)
            try:
                parse(data)
                accepted[name] += 1
            except IntegrityError:
                refused[name] += 1
            except Exception as error:
                pytest.fail(f"{name}: {error!r} for {data[:200].hex()} ({len(data)} bytes, seed {SEED})")
    record_property("parsers", len(parsers))
    record_property("refused", sum(refused.values()))
    record_property("accepted", sum(accepted.values()))
    assert all(refused.values()), refused
    assert sum(refused.values()) > 1_000
