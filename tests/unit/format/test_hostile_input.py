"""Every decoder with input that no honest program writes: only IntegrityError comes out, and memory stays small whatever lengths are claimed."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest

from seedcorn.errors import IntegrityError
from seedcorn.format.codec import ENVELOPE_HEAD_BYTES, Envelope, Magic, decode, encode, envelope_head
from seedcorn.format.collection import (
    CheckpointMaintain,
    CheckpointPublic,
    CheckpointRef,
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
from seedcorn.format.header import FormerKey, Header, HostPrivate, HostPublic, HostState, SlotPublic, parse_header
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackHead, SegmentPublic, check_frames, parse_pack_head, parse_trailer
from seedcorn.format.relocation import RelocatedSnapshot, RelocationRecord, RelocationStage
from seedcorn.format.snapshot import CopiedFrom, Head, NeededFrames, SnapshotMaintain, SnapshotOwner, SnapshotPublic, Statistics
from seedcorn.format.tree import Extra, Node, decode_nodes, pack_content

MIB = 1 << 20

STRUCTS: list[type] = [
    PackHead,
    PackEntry,
    FrameEntry,
    KeyRow,
    SegmentPublic,
    SnapshotPublic,
    SnapshotMaintain,
    SnapshotOwner,
    NeededFrames,
    Head,
    Statistics,
    SlotPublic,
    HostPublic,
    HostPrivate,
    Node,
    Extra,
    FormerKey,
    CopiedFrom,
    Receipt,
    CheckpointPublic,
    CheckpointMaintain,
    ForgetRecord,
    CollectionRecord,
    VerifiedRecord,
    RelocationRecord,
]

HOSTILE = {
    "nothing": b"",
    "array of 4 G": b"\xdd\xff\xff\xff\xff",
    "map of 4 G": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "text of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "array of 64 K": b"\xdc\xff\xff" + b"\xc0" * 10,
    "deep arrays": b"\x91" * 1_000_000,
    "deep maps": b"\x81\xa1k" * 300_000,
    "deep after ten fields": b"\x9b" + b"\xc4\x00" * 10 + b"\x91" * 1_000_000,
    "deep in an unknown key": b"\x81\xa3xyz" + b"\x91" * 1_000_000,
    "text that is not UTF-8": b"\x81\xa2\xff\xfe\x01",
    "reserved type": b"\xc1",
    "extension": b"\xc9\xff\xff\xff\xff\x05",
    "two values": b"\x90\x90",
    "a float": b"\xcb" + bytes(8),
    "true": b"\xc3",
}


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A test that allocates more than 64 MiB at a time fails."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * MIB


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_struct_decoders(data: bytes) -> None:
    for kind in STRUCTS:
        if kind in (Extra, Statistics) and data.startswith(b"\x81") and b"xyz" not in data:
            continue  # see test_unknown_keys
        with pytest.raises(IntegrityError):
            decode(data, kind)
    with pytest.raises(IntegrityError):
        decode_nodes(data)
    with pytest.raises(IntegrityError):
        decode(data, list[PackEntry])


LENGTHS = [0, 1, 3, 4, 15, 16, 17, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("magic", [magic for magic in Magic if magic is not Magic.PACK])
@pytest.mark.parametrize("length", LENGTHS)
def test_lengths_of_parts(magic: Magic, length: int) -> None:
    body = envelope_head(magic) + struct.pack("<I", length) + b"\xff" * 20
    with pytest.raises(IntegrityError):
        Envelope.parse(magic, body)


def test_an_object_over_its_cap_is_not_made() -> None:
    """A move too many would make a host's record one that nobody reads, and stop every collection."""
    most = Magic.HOST.limit_bytes - len(Envelope.build(Magic.HOST, [b"", b""])) - 64
    body = Envelope.build(Magic.HOST, [bytes(most), b""])
    assert Envelope.parse(Magic.HOST, body + bytes(64)).parts[0] == bytes(most)
    with pytest.raises(IntegrityError, match="nobody would read"):
        Envelope.build(Magic.HOST, [bytes(most + 1), b""])


@pytest.mark.parametrize("magic", list(Magic))
def test_an_object_over_its_cap_is_refused_by_its_length_alone(magic: Magic) -> None:
    class Long(bytes):
        def __len__(self) -> int:
            return magic.limit_bytes + 1

    with pytest.raises(IntegrityError, match="larger"):
        Envelope.parse(magic, Long(b""))


@pytest.mark.parametrize("magic", list(Magic))
def test_every_truncation_of_an_envelope_is_refused(magic: Magic) -> None:
    whole = Envelope.build(magic, [b"part %d" % n for n in range(magic.part_count)]) + bytes(64 if magic.signed else 0)
    assert Envelope.parse(magic, whole).parts == tuple(b"part %d" % n for n in range(magic.part_count))
    for end in range(len(whole)):
        with pytest.raises(IntegrityError):
            Envelope.parse(magic, whole[:end])
    with pytest.raises(IntegrityError):
        Envelope.parse(magic, whole + b"\0")


@pytest.mark.parametrize(("offset", "what"), [(0, "begins with"), (8, "version"), (10, "suite"), (12, "feature"), (15, "feature")])
@pytest.mark.parametrize("magic", list(Magic))
def test_a_head_of_the_future_is_refused(magic: Magic, offset: int, what: str) -> None:
    whole = bytearray(Envelope.build(magic, [b""] * magic.part_count) + bytes(64 if magic.signed else 0))
    whole[offset] ^= 0x80
    with pytest.raises(IntegrityError, match=what):
        Envelope.parse(magic, bytes(whole))
    if magic is Magic.PACK:
        with pytest.raises(IntegrityError, match=what):
            parse_pack_head(bytes(whole))


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_length_of_a_packs_head(length: int) -> None:
    with pytest.raises(IntegrityError):
        parse_pack_head(envelope_head(Magic.PACK) + struct.pack("<I", length) + bytes(3))


def test_frames_that_overlap() -> None:
    """Each is as large as a frame may be, and all lie in the same place."""
    frame = FrameEntry(bytes(16), 0, 0, 8 * MIB, 4 * MIB, pack_content([(bytes(24), 4 * MIB)]))
    check_frames((frame,) * 10)
    with pytest.raises(IntegrityError, match="more in a pack than it can hold"):
        check_frames((frame,) * 11)


@pytest.mark.parametrize("data", [b"", b"SEEDPEND", bytes(15), bytes(16), b"SEEDPEND" + bytes(8)])
def test_trailers_that_are_none(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_trailer(data)


def header_fields() -> dict[str, object]:
    return {
        "format": 1,
        "suite": 1,
        "repository": "00" * 16,
        "flags": [],
        "created_ns": 0,
        "program": "p",
        "owner_sign": "00" * 32,
        "read_kem": "00" * 1216,
        "maintain_kem": "00" * 1216,
        "maintain_sign": "00" * 32,
    }


def header_bytes(**changes: object) -> bytes:
    fields = {name: value for name, value in (header_fields() | changes).items() if value is not None}
    return json.dumps({"seedcorn": fields, "signature": "00" * 64}).encode()


def test_a_good_header_with_fields_of_the_future() -> None:
    header, payload, signature = parse_header(header_bytes(colour="green"))
    assert isinstance(header, Header)
    assert b'"colour":"green"' in payload
    assert signature == bytes(64)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"seedcorn":' * 50_000,
        b'{"seedcorn": {}, "signature": ""}',
        b'{"seedcorn": 7, "signature": "00"}',
        header_bytes()[:-1],
        header_bytes() + b"x",
        header_bytes().replace(b'"signature": "00', b'"signature": "0g'),
        header_bytes(format=2),
        header_bytes(format="1"),
        header_bytes(format=10**400),
        header_bytes(suite=2),
        header_bytes(flags=["needs-more"]),
        header_bytes(flags="trust-hosts"),
        header_bytes(repository="00" * 15),
        header_bytes(repository="zz" * 16),
        header_bytes(owner_sign="00"),
        header_bytes(read_kem=None),
        header_bytes(created_ns=[]),
        b'{"seedcorn": {"format": ' + b"9" * 10_000 + b"}}",
    ],
    ids=range(24),
)
def test_headers_that_are_none(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"seedcorn\.json"):
        parse_header(data)


# -- what a later version may add ------------------------------------------------------------------------------------------------------------


def longer(data: bytes) -> bytes:
    """A MessagePack array with two more elements at its end."""
    items = msgspec.msgpack.decode(data)
    return msgspec.msgpack.encode([*items, {"new": [1, 2]}, "newer"])


ARRAYS: list[object] = [
    KeyRow(b"s", b"h", 1, b"k"),
    FrameEntry(b"s", 0, 1, 2, 3, b""),
    NeededFrames(b"s", b"b"),
    Head(b"h", 1, b"s"),
    SnapshotPublic(b"r", b"h", 1, b"", b"s", 0),
    SnapshotMaintain(0, b"g", ("t",), True, (), ()),
    SegmentPublic(b"r", b"h", b"s", 1, 0, (b"p",), ()),
    SlotPublic(b"r", b"s", "passphrase", "l", 0, "argon2id", 64, 1, 1, b"salt"),
    HostPublic(b"r", b"h", 1, HostState.REVOKED, b"k", 0, 7, 1, (FormerKey(b"k", 0),)),
    CopiedFrom(b"r", b"s"),
    Receipt(b"r", b"h", 1, b"s", ReceiptState.VOID),
    CheckpointPublic(b"r", b"h", b"s", 1, 0),
    CheckpointMaintain(0, b"g", (NeededFrames(b"s", b"b"),)),
    ForgetRecord(b"r", 1, 0, (SnapshotRef(b"h", 1, b"s"),), (SnapshotRef(b"h", 2, b"s"),)),
    CollectionRecord(
        repository=b"r",
        number=1,
        collection=b"c",
        stage=Stage.SWEEP,
        packs=(HostPacks(b"h", (b"p",)),),
        frames=(NeededFrames(b"s", b"b"),),
        expired=(SnapshotRef(b"h", 1, b"s"),),
        expired_checkpoints=(CheckpointRef(b"h", b"s"),),
        removed=(SnapshotRef(b"h", 2, b"s"),),
        copies=(PackCopy(b"h", b"p", b"d", (CopiedPack(b"s", b"d"),)),),
        relocations=(b"l",),
    ),
    VerifiedRecord(b"r", 1, 0, (VerifiedPack(b"h", b"p", b"d"),)),
    RelocationRecord(b"r", 1, b"i", RelocationStage.DONE, (NeededFrames(b"s", b"b"),), (RelocatedSnapshot(b"h", 1, b"s", (0,)),), (b"e",)),
]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: type(value).__name__)
def test_elements_after_the_known_ones_are_ignored(value: object) -> None:
    assert decode(longer(encode(value)), type(value)) == value


def test_a_node_and_its_extra_may_grow() -> None:
    node = Node(b"n", 3, 0o777, 0, 0, 0, 0, 0, 0, 0, b"", Extra(target=b"t"))
    items = msgspec.msgpack.decode(encode(node))
    items[11]["colour"] = {"deep": [1, {"er": b"x"}]}
    assert decode_nodes(msgspec.msgpack.encode([[*items, 1, b"2"]])) == [node]


def test_unknown_keys_of_maps_are_ignored() -> None:
    assert decode(msgspec.msgpack.encode({"name": "n", "colour": 7}), HostPrivate) == HostPrivate("n")
    assert decode(msgspec.msgpack.encode({"source_files": 3, "cats": 9}), Statistics) == Statistics(source_files=3)


def test_envelope_head_is_sixteen_bytes() -> None:
    assert {len(envelope_head(magic)) for magic in Magic} == {ENVELOPE_HEAD_BYTES} == {16}
