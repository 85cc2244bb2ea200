"""What a thief makes of a host file: every secret in it, in every role that it could be tried in, and everything that is sealed to somebody else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence

from seedcorn.crypto import primitives
from seedcorn.format.codec import Envelope, Magic, decode
from seedcorn.format.header import HostPublic
from seedcorn.format.pack import KeyRow, SegmentPublic
from seedcorn.repo.bindings import host_binding, session_binding, snapshot_maintain_binding, snapshot_owner_binding

__all__ = ["private_keys_of", "sealed_to_the_owner", "secrets_of", "with_derived"]


def secrets_of(host_file: bytes) -> list[bytes]:
    """Every 32-byte value in a host file, secret or public."""
    values = [bytes.fromhex(value) for value in json.loads(host_file).values() if isinstance(value, str) and _is_hex(value)]
    found = [value for value in values if len(value) == 32]
    assert len(found) == 7, "the file has gained or lost a key: look at these tests again"
    return found


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and all(char in "0123456789abcdef" for char in text)


def with_derived(keys: Sequence[bytes], repository: bytes) -> list[bytes]:
    """The same, and all that is derived from each if it is taken for the owner's seed."""
    labels = ("owner-sign", "maintain-sign", "domain/0/chunk-id", "domain/0/listing-id", "domain/0/cut", "domain/0/index")
    return [*keys, *(primitives.derive(key, repository, label) for key in keys for label in labels)]


def private_keys_of(secrets: Sequence[bytes], repository: bytes) -> list[bytes]:
    """Each three secrets as a private key of 96 bytes, and what each gives as the seed."""
    private_keys = [b"".join(three) for three in itertools.product(secrets, repeat=3)]
    return private_keys + [primitives.derive(secret, repository, label, 96) for secret in secrets for label in ("read-kem", "maintain-kem")]


def sealed_to_the_owner(objects: Mapping[str, bytes], repository: bytes, host: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """(what it is, HPKE info, sealed bytes) of everything that ``host`` has sealed to the owner, and of its enrolment."""
    own = f"/{host.hex()}/"
    for key, data in objects.items():
        if own not in key:
            continue
        if key.startswith("index/"):
            for row in decode(Envelope.parse(Magic.SEGMENT, data).parts[0], SegmentPublic).key_rows:
                assert isinstance(row, KeyRow)
                yield "session key", session_binding(repository, host, row.session), row.sealed_key
        elif key.startswith("snapshots/"):
            public, maintain, owner = Envelope.parse(Magic.SNAPSHOT, data).parts
            yield "snapshot for maintainers", snapshot_maintain_binding(public), maintain
            yield "snapshot for the owner", snapshot_owner_binding(public), owner
        elif key.startswith("hosts/"):
            public, sealed = Envelope.parse(Magic.HOST, data).parts
            assert decode(public, HostPublic).host == host
            yield "host name", host_binding(public), sealed
