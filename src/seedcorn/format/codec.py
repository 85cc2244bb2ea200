"""The outer form that all binary objects share, and the strict MessagePack inside. Owns magics, lengths and caps.

docs/format.md, section "Objects". Invariant: ``Envelope.parse`` looks at lengths only, never past them, so it may run before authentication.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from seedcorn.errors import IntegrityError

__all__ = [
    "ENVELOPE_HEAD_BYTES",
    "NUMBER_LIMIT",
    "SIGNATURE_BYTES",
    "SUITE",
    "VERSION",
    "Envelope",
    "Magic",
    "check_head",
    "decode",
    "encode",
    "envelope_head",
]

VERSION = 1
SUITE = 1
SIGNATURE_BYTES = 64
NUMBER_LIMIT = (1 << 64) - 1  # the largest that MessagePack can hold
_HEAD = struct.Struct("<8sHHI")
_LENGTH = struct.Struct("<I")
ENVELOPE_HEAD_BYTES = _HEAD.size

_MIB = 1 << 20
T = TypeVar("T")


class Magic(enum.Enum):
    """The binary objects: first eight bytes, number of parts, cap on the whole object in bytes, and whether a signature ends it."""

    PACK = (b"SEEDPACK", 1, 80 * _MIB, False)
    SEGMENT = (b"SEEDINDX", 2, 256 * _MIB, True)
    SNAPSHOT = (b"SEEDSNAP", 3, 256 * _MIB, True)
    HOST = (b"SEEDHOST", 2, 64 << 10, True)
    SLOT = (b"SEEDSLOT", 2, 64 << 10, True)
    RECEIPT = (b"SEEDRCPT", 1, 64 << 10, True)
    CHECKPOINT = (b"SEEDCKPT", 2, 256 * _MIB, True)
    FORGET = (b"SEEDFRGT", 1, 256 * _MIB, True)
    COLLECTION = (b"SEEDCOLL", 1, 256 * _MIB, True)
    VERIFIED = (b"SEEDVRFY", 1, 256 * _MIB, True)
    RELOCATION = (b"SEEDRELO", 1, 256 * _MIB, True)

    def __init__(self, mark: bytes, part_count: int, limit_bytes: int, signed: bool) -> None:
        self.mark = mark
        self.part_count = part_count
        self.limit_bytes = limit_bytes
        self.signed = signed


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed object. ``signed_bytes`` is what ``signature`` covers (without its context prefix); ``signature`` is empty for unsigned kinds."""

    parts: tuple[bytes, ...]
    signed_bytes: bytes
    signature: bytes

    @staticmethod
    def build(magic: Magic, parts: Sequence[bytes]) -> bytes:
        """The object's bytes up to its signature, which the caller appends if ``magic.signed``.

        Raises:
            IntegrityError: it would be over its cap. What is put and can not be read may stop everybody for ever.
        """
        size_bytes = ENVELOPE_HEAD_BYTES + sum(_LENGTH.size + len(part) for part in parts) + (SIGNATURE_BYTES if magic.signed else 0)
        if size_bytes > magic.limit_bytes:
            raise IntegrityError(f"a {magic.name.lower()} of {size_bytes} bytes is not put: nobody would read more than {magic.limit_bytes}")
        pieces = [envelope_head(magic)]
        for part in parts:
            pieces += (_LENGTH.pack(len(part)), part)
        return b"".join(pieces)

    @staticmethod
    def parse(magic: Magic, data: bytes) -> Envelope:
        """Split ``data`` by its lengths. Nothing in the result is authenticated yet.

        Raises:
            IntegrityError: another kind of object, a version, suite or flag of the future, lengths that do not fit, or an object over its cap.
        """
        if len(data) > magic.limit_bytes:
            raise IntegrityError(f"object of {len(data)} bytes is larger than its kind may be ({magic.limit_bytes})")
        check_head(magic, data)
        end = len(data) - (SIGNATURE_BYTES if magic.signed else 0)
        parts: list[bytes] = []
        at = ENVELOPE_HEAD_BYTES
        for _ in range(magic.part_count):
            if at + _LENGTH.size > end:
                raise IntegrityError("object is cut short")
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            if length > end - at:
                raise IntegrityError("object is cut short or a length in it is wrong")
            parts.append(data[at : at + length])
            at += length
        if at != end:
            raise IntegrityError("object has bytes after its end")
        return Envelope(tuple(parts), data[:end], data[end:])


def envelope_head(magic: Magic) -> bytes:
    """The first 16 bytes of every object of this kind."""
    return _HEAD.pack(magic.mark, VERSION, SUITE, 0)


def check_head(magic: Magic, data: bytes | memoryview) -> None:
    """Refuse what is not an object of this kind that this program understands.

    Raises:
        IntegrityError: with the reason.
    """
    if len(data) < ENVELOPE_HEAD_BYTES:
        raise IntegrityError("object is cut short")
    mark, version, suite, flags = _HEAD.unpack_from(data)
    if mark != magic.mark:
        raise IntegrityError(f"not a {magic.name.lower()} object (it begins with {bytes(mark)!r})")
    if version != VERSION or suite != SUITE:
        raise IntegrityError(f"format version {version} or suite {suite} is not known to this program; a newer seedcorn may read it")
    if flags:
        raise IntegrityError(f"needs a feature this program does not have (flags {flags:#x}); a newer seedcorn may read it")


def encode(value: object) -> bytes:
    """MessagePack of a struct."""
    return msgspec.msgpack.encode(value)


def decode(data: bytes | memoryview, kind: type[T]) -> T:
    """The struct in ``data``.

    Raises:
        IntegrityError: not MessagePack, or not of that shape.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise IntegrityError(f"malformed {kind.__name__}: {error}") from error
