"""The repository header ``seedcorn.json``, key slots and host records.

docs/format.md, sections "Header", "Key slot" and "Host record".
"""

from __future__ import annotations

import enum
import json
from typing import Any

import msgspec

from seedcorn.errors import IntegrityError
from seedcorn.format.codec import SUITE, VERSION
from seedcorn.ids import RepositoryId

__all__ = [
    "FLAG_TRUST_HOSTS",
    "HEADER_KEY",
    "HEADER_LIMIT_BYTES",
    "HEADER_WAY_OUT",
    "FormerKey",
    "Header",
    "HostPrivate",
    "HostPublic",
    "HostState",
    "SlotPublic",
    "header_payload",
    "parse_header",
    "serialize_header",
]

HEADER_KEY = "seedcorn.json"
HEADER_WAY_OUT = "put it back from a copy"  # what nobody can make anew
HEADER_LIMIT_BYTES = 64 << 10
FLAG_TRUST_HOSTS = "trust-hosts"
_KNOWN_FLAGS = {FLAG_TRUST_HOSTS}


class Header(msgspec.Struct, frozen=True):
    """What ``seedcorn.json`` says. Public keys in it are claims until the signature is verified with a key from elsewhere."""

    format: int
    suite: int
    repository: str
    flags: tuple[str, ...]
    created_ns: int
    program: str
    owner_sign: str
    read_kem: str
    maintain_kem: str
    maintain_sign: str

    @property
    def repository_id(self) -> RepositoryId:
        return RepositoryId(bytes.fromhex(self.repository))

    @property
    def owner_sign_public(self) -> bytes:
        """The owner's public signing key, as claimed."""
        return bytes.fromhex(self.owner_sign)

    @property
    def trust_hosts(self) -> bool:
        """Hosts reuse what any enrolled host has indexed."""
        return FLAG_TRUST_HOSTS in self.flags


def header_payload(fields: dict[str, Any]) -> bytes:
    """The canonical bytes that the owner signs."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def serialize_header(header: Header, signature: bytes) -> bytes:
    return json.dumps({"seedcorn": msgspec.to_builtins(header), "signature": signature.hex()}, indent=2, sort_keys=True).encode("ascii") + b"\n"


def parse_header(data: bytes) -> tuple[Header, bytes, bytes]:
    """(header, the bytes its signature covers, signature). Unknown fields are covered by the signature too.

    Raises:
        IntegrityError: not a header, or of a format that this program does not know.
    """
    try:
        outer = json.loads(data)
        fields = outer["seedcorn"]
        signature = bytes.fromhex(outer["signature"])
        header = msgspec.convert(fields, Header)
        sizes = [
            len(bytes.fromhex(text)) for text in (header.repository, header.owner_sign, header.read_kem, header.maintain_kem, header.maintain_sign)
        ]
    except (ValueError, KeyError, TypeError, RecursionError, msgspec.ValidationError) as error:
        raise IntegrityError(f"malformed repository header ({error}): {HEADER_WAY_OUT}", object_name=HEADER_KEY) from error
    if header.format != VERSION or header.suite != SUITE:
        raise IntegrityError(
            f"format {header.format}, suite {header.suite} is not known to this program; a newer seedcorn may read it", object_name=HEADER_KEY
        )
    if unknown := set(header.flags) - _KNOWN_FLAGS:
        raise IntegrityError(f"needs features this program does not have: {', '.join(sorted(unknown))}", object_name=HEADER_KEY)
    if sizes != [16, 32, 1216, 1216, 32]:
        raise IntegrityError("a key in the repository header has the wrong length", object_name=HEADER_KEY)
    return header, header_payload(fields), signature


class SlotPublic(msgspec.Struct, array_like=True, frozen=True):
    """Part 1 of a key slot: readable by anyone."""

    repository: bytes
    slot: bytes
    method: str
    label: str
    created_ns: int
    kdf: str
    memory_kib: int
    iterations: int
    lanes: int
    salt: bytes


class HostState(enum.IntEnum):
    """What a host record says of its host."""

    ENROLLED = 1
    REVOKED = 2


class FormerKey(msgspec.Struct, array_like=True, frozen=True):
    """What a host signed with before it was moved, and the domain that it was in then."""

    sign_public: bytes
    domain: int


class HostPublic(msgspec.Struct, array_like=True, frozen=True):
    """Part 1 of a host record."""

    repository: bytes
    host: bytes
    number: int
    state: HostState
    sign_public: bytes
    created_ns: int
    last_seq: int = 0  # of a revoked host: its highest snapshot that still counts
    domain: int = 0
    former: tuple[FormerKey, ...] = ()  # oldest first


class HostPrivate(msgspec.Struct, frozen=True):
    """Part 2 of a host record, for the owner."""

    name: str
    note: str = ""
