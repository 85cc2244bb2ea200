"""The keys of all objects: how they are made of numbers and ids, and what a key found in the store says.

docs/format.md, the table of "Objects". A key of another form is None to every parser here: readers ignore it.
"""

from __future__ import annotations

import re

import msgspec

from seedcorn.errors import IntegrityError
from seedcorn.format.collection import Stage
from seedcorn.format.relocation import RelocationStage
from seedcorn.ids import CollectionId, HostId, PackId, RelocationId, SegmentId, SessionId, SlotId, SnapshotId

__all__ = [
    "LAST_NUMBER",
    "SPARES",
    "CheckpointName",
    "CollectionName",
    "HostName",
    "NumberedKey",
    "ReceiptName",
    "RecordName",
    "RelocationName",
    "checkpoint_key",
    "collection_key",
    "following_number",
    "forget_key",
    "host_key",
    "is_probe_key",
    "pack_key",
    "parse_checkpoint_key",
    "parse_collection_key",
    "parse_host_key",
    "parse_numbered_key",
    "parse_pack_key",
    "parse_receipt_key",
    "parse_record_key",
    "parse_relocation_key",
    "parse_slot_key",
    "probe_key",
    "receipt_key",
    "relocation_key",
    "segment_key",
    "slot_key",
    "snapshot_key",
    "spare_key",
    "verified_key",
]


LAST_NUMBER = 10**10 - 1  # of all that have ten digits
SPARES = "spares/"


class NumberedKey(msgspec.Struct, frozen=True):
    """What the name of a segment or snapshot says: whose, which number, and the hash of its bytes."""

    host: HostId
    number: int
    object_id: bytes


class HostName(msgspec.Struct, frozen=True):
    """What the key of a host record says."""

    host: HostId
    number: int


class ReceiptName(msgspec.Struct, frozen=True):
    """What the key of a receipt says."""

    host: HostId
    seq: int
    snapshot: SnapshotId
    void: bool


class CheckpointName(msgspec.Struct, frozen=True):
    """What the key of a checkpoint says."""

    host: HostId
    session: SessionId
    number: int


class CollectionName(msgspec.Struct, frozen=True, order=True):
    """What the key of a collection record says."""

    number: int
    collection: CollectionId
    stage: Stage


class RecordName(msgspec.Struct, frozen=True, order=True):
    """What the key of a forget record or of a part of the verified set says; the id is the hash of its bytes."""

    number: int
    record: bytes


class RelocationName(msgspec.Struct, frozen=True, order=True):
    """What the key of a relocation says."""

    number: int
    relocation: RelocationId
    stage: RelocationStage


def following_number(highest: int) -> int:
    """A number for a segment after ``highest``. Numbers of segments only order them, so the last one may be used again: a host that has used it must
    not keep maintainers from writing in its room."""
    return min(highest + 1, LAST_NUMBER)


def _ten_digits(number: int) -> str:
    """Raises:
    IntegrityError: it has more; nobody would ever find what was put under such a key.
    """
    if number > LAST_NUMBER:
        raise IntegrityError(f"there is no number after {LAST_NUMBER}, which somebody has used: a host that lies has to be enrolled anew")
    return f"{number:010d}"


def slot_key(slot: SlotId) -> str:
    return f"keys/{slot.hex()}"


def host_key(host: HostId, number: int) -> str:
    return f"hosts/{host.hex()}/{number:06d}"


def pack_key(host: HostId, pack: PackId) -> str:
    return f"packs/{host.hex()}/{pack.hex()}"


def segment_key(host: HostId, number: int, segment: SegmentId) -> str:
    return f"index/{host.hex()}/{_ten_digits(number)}-{segment.hex()}"


def snapshot_key(host: HostId, seq: int, snapshot: SnapshotId) -> str:
    return f"snapshots/{host.hex()}/{_ten_digits(seq)}-{snapshot.hex()}"


def receipt_key(host: HostId, seq: int, snapshot: SnapshotId, *, void: bool = False) -> str:
    return f"receipts/{host.hex()}/{_ten_digits(seq)}-{snapshot.hex()}" + (".void" if void else "")


def checkpoint_key(host: HostId, session: SessionId, number: int) -> str:
    return f"checkpoints/{host.hex()}/{session.hex()}-{_ten_digits(number)}"


def collection_key(number: int, collection: CollectionId, stage: Stage) -> str:
    return f"gc/{_ten_digits(number)}-{collection.hex()}.{stage.name.lower()}"


def probe_key(name: bytes) -> str:
    """An empty object that is put to learn the store's time, and deleted again."""
    return f"gc/probe-{name.hex()}"


def is_probe_key(key: str) -> bool:
    return key.startswith("gc/probe-")


def forget_key(number: int, record: bytes) -> str:
    return f"forget/{_ten_digits(number)}-{record.hex()}"


def verified_key(number: int, record: bytes) -> str:
    return f"verified/{_ten_digits(number)}-{record.hex()}"


def relocation_key(number: int, relocation: RelocationId, stage: RelocationStage) -> str:
    return f"relocations/{_ten_digits(number)}-{relocation.hex()}" + (".done" if stage is RelocationStage.DONE else "")


def spare_key(key: str) -> str:
    """Where the bytes of a small signed object are that its own key does not give any more."""
    return f"{SPARES}{key}"


_SLOT = re.compile(r"keys/([0-9a-f]{32})")
_HOST = re.compile(r"hosts/([0-9a-f]{32})/([0-9]{6})")
_NUMBERED = re.compile(r"(?:index|snapshots)/([0-9a-f]{32})/([0-9]{10})-([0-9a-f]{64})")
_PACK = re.compile(r"packs/([0-9a-f]{32})/([0-9a-f]{64})")
_RECEIPT = re.compile(r"receipts/([0-9a-f]{32})/([0-9]{10})-([0-9a-f]{64})(\.void)?")
_CHECKPOINT = re.compile(r"checkpoints/([0-9a-f]{32})/([0-9a-f]{32})-([0-9]{10})")
_COLLECTION = re.compile(r"gc/([0-9]{10})-([0-9a-f]{16})\.(mark|sweep|done)")
_RECORD = re.compile(r"(?:forget|verified)/([0-9]{10})-([0-9a-f]{64})")
_RELOCATION = re.compile(r"relocations/([0-9]{10})-([0-9a-f]{16})(\.done)?")


def parse_slot_key(key: str) -> SlotId | None:
    """None for a key of another form."""
    match = _SLOT.fullmatch(key)
    return SlotId(bytes.fromhex(match[1])) if match else None


def parse_host_key(key: str) -> HostName | None:
    """None for a key of another form (which readers ignore)."""
    match = _HOST.fullmatch(key)
    return HostName(HostId(bytes.fromhex(match[1])), int(match[2])) if match else None


def parse_numbered_key(key: str) -> NumberedKey | None:
    """The parts of a segment's or snapshot's key; None for a key of another form (which readers ignore)."""
    match = _NUMBERED.fullmatch(key)
    if match is None:
        return None
    return NumberedKey(HostId(bytes.fromhex(match[1])), int(match[2]), bytes.fromhex(match[3]))


def parse_pack_key(key: str) -> tuple[HostId, PackId] | None:
    """None for a key of another form (which readers ignore)."""
    match = _PACK.fullmatch(key)
    return (HostId(bytes.fromhex(match[1])), PackId(bytes.fromhex(match[2]))) if match else None


def parse_receipt_key(key: str) -> ReceiptName | None:
    """None for a key of another form (which readers ignore)."""
    match = _RECEIPT.fullmatch(key)
    if match is None:
        return None
    return ReceiptName(HostId(bytes.fromhex(match[1])), int(match[2]), SnapshotId(bytes.fromhex(match[3])), match[4] is not None)


def parse_checkpoint_key(key: str) -> CheckpointName | None:
    """None for a key of another form (which readers ignore)."""
    match = _CHECKPOINT.fullmatch(key)
    return CheckpointName(HostId(bytes.fromhex(match[1])), SessionId(bytes.fromhex(match[2])), int(match[3])) if match else None


def parse_collection_key(key: str) -> CollectionName | None:
    """None for a key of another form (which readers ignore)."""
    match = _COLLECTION.fullmatch(key)
    return CollectionName(int(match[1]), CollectionId(bytes.fromhex(match[2])), Stage[match[3].upper()]) if match else None


def parse_record_key(key: str) -> RecordName | None:
    """None for a key of another form (which readers ignore)."""
    match = _RECORD.fullmatch(key)
    return RecordName(int(match[1]), bytes.fromhex(match[2])) if match else None


def parse_relocation_key(key: str) -> RelocationName | None:
    """None for a key of another form (which readers ignore)."""
    match = _RELOCATION.fullmatch(key)
    if match is None:
        return None
    stage = RelocationStage.DONE if match[3] else RelocationStage.ANNOUNCED
    return RelocationName(int(match[1]), RelocationId(bytes.fromhex(match[2])), stage)
