"""The keys of objects are exactly those of docs/format.md, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from seedcorn.format import names
from seedcorn.format.collection import Stage
from seedcorn.format.names import CheckpointName, CollectionName, HostName, NumberedKey, ReceiptName, RecordName, RelocationName
from seedcorn.format.relocation import RelocationStage
from seedcorn.ids import CollectionId, HostId, PackId, RelocationId, SegmentId, SessionId, SlotId, SnapshotId

HOST, SESSION, COLLECTION, OBJECT = b"\xab" * 16, b"\xcd" * 16, b"\xef" * 8, bytes(range(32))
H, S, C = "ab" * 16, "cd" * 16, "ef" * 8
HASH = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
Parser = Callable[[str], object]

MADE = {
    names.slot_key(SlotId(HOST)): f"keys/{H}",
    names.host_key(HostId(HOST), 7): f"hosts/{H}/000007",
    names.pack_key(HostId(HOST), PackId(OBJECT)): f"packs/{H}/{HASH}",
    names.segment_key(HostId(HOST), 7, SegmentId(OBJECT)): f"index/{H}/0000000007-{HASH}",
    names.snapshot_key(HostId(HOST), 7, SnapshotId(OBJECT)): f"snapshots/{H}/0000000007-{HASH}",
    names.receipt_key(HostId(HOST), 7, SnapshotId(OBJECT)): f"receipts/{H}/0000000007-{HASH}",
    names.receipt_key(HostId(HOST), 7, SnapshotId(OBJECT), void=True): f"receipts/{H}/0000000007-{HASH}.void",
    names.checkpoint_key(HostId(HOST), SessionId(SESSION), 7): f"checkpoints/{H}/{S}-0000000007",
    names.collection_key(7, CollectionId(COLLECTION), Stage.MARK): f"gc/0000000007-{C}.mark",
    names.collection_key(7, CollectionId(COLLECTION), Stage.SWEEP): f"gc/0000000007-{C}.sweep",
    names.collection_key(7, CollectionId(COLLECTION), Stage.DONE): f"gc/0000000007-{C}.done",
    names.probe_key(COLLECTION): f"gc/probe-{C}",
    names.forget_key(7, OBJECT): f"forget/0000000007-{HASH}",
    names.verified_key(7, OBJECT): f"verified/0000000007-{HASH}",
    names.relocation_key(7, RelocationId(COLLECTION), RelocationStage.ANNOUNCED): f"relocations/0000000007-{C}",
    names.relocation_key(7, RelocationId(COLLECTION), RelocationStage.DONE): f"relocations/0000000007-{C}.done",
    names.spare_key(f"gc/0000000007-{C}.mark"): f"spares/gc/0000000007-{C}.mark",
}
PARSED: list[tuple[Parser, str, object]] = [
    (names.parse_slot_key, f"keys/{H}", SlotId(HOST)),
    (names.parse_host_key, f"hosts/{H}/000007", HostName(HostId(HOST), 7)),
    (names.parse_numbered_key, f"index/{H}/0000000007-{HASH}", NumberedKey(HostId(HOST), 7, OBJECT)),
    (names.parse_numbered_key, f"snapshots/{H}/0000000007-{HASH}", NumberedKey(HostId(HOST), 7, OBJECT)),
    (names.parse_pack_key, f"packs/{H}/{HASH}", (HOST, OBJECT)),
    (names.parse_receipt_key, f"receipts/{H}/0000000007-{HASH}", ReceiptName(HostId(HOST), 7, SnapshotId(OBJECT), False)),
    (names.parse_receipt_key, f"receipts/{H}/0000000007-{HASH}.void", ReceiptName(HostId(HOST), 7, SnapshotId(OBJECT), True)),
    (names.parse_checkpoint_key, f"checkpoints/{H}/{S}-0000000007", CheckpointName(HostId(HOST), SessionId(SESSION), 7)),
    (names.parse_collection_key, f"gc/0000000007-{C}.mark", CollectionName(7, CollectionId(COLLECTION), Stage.MARK)),
    (names.parse_collection_key, f"gc/0000000007-{C}.sweep", CollectionName(7, CollectionId(COLLECTION), Stage.SWEEP)),
    (names.parse_collection_key, f"gc/0000000007-{C}.done", CollectionName(7, CollectionId(COLLECTION), Stage.DONE)),
    (names.parse_record_key, f"forget/0000000007-{HASH}", RecordName(7, OBJECT)),
    (names.parse_record_key, f"verified/0000000007-{HASH}", RecordName(7, OBJECT)),
    (names.parse_relocation_key, f"relocations/0000000007-{C}", RelocationName(7, RelocationId(COLLECTION), RelocationStage.ANNOUNCED)),
    (names.parse_relocation_key, f"relocations/0000000007-{C}.done", RelocationName(7, RelocationId(COLLECTION), RelocationStage.DONE)),
]
IDS = [key.partition("/")[0] + key[-5:] for _, key, _ in PARSED]


def test_keys_are_written_as_the_format_says() -> None:
    assert list(MADE) == list(MADE.values())


@pytest.mark.parametrize(("parser", "key", "meaning"), PARSED, ids=IDS)
def test_a_key_says_what_it_was_made_of(parser: Parser, key: str, meaning: object) -> None:
    assert parser(key) == meaning


@pytest.mark.parametrize(("parser", "key"), [(parser, key) for parser, key, _ in PARSED], ids=IDS)
def test_any_other_key_is_nobodys(parser: Parser, key: str) -> None:
    own = {known for other, known, _ in PARSED if other is parser}
    others = [*MADE, key + "0", key + "\n", key[:-1], "x" + key, key.upper(), key.replace("0000000007", "000000007"), key.replace("-", "")]
    assert {other for other in others if parser(other) is not None} <= own


def test_probes() -> None:
    assert names.is_probe_key(names.probe_key(b"any"))
    assert not any(names.is_probe_key(key) for key in MADE if "probe" not in key)
