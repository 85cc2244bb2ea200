"""The kinds of small signed objects, by the room of a key: what its name says, and how its bytes are verified.

For who looks at objects of any kind, as a check and a repair do; who reads one kind has its own module. Invariant: what passes here is what a reader
believes, and nothing else. docs/format.md, section "Objects".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seedcorn.format.codec import Magic
from seedcorn.format.names import (
    parse_checkpoint_key,
    parse_collection_key,
    parse_host_key,
    parse_numbered_key,
    parse_receipt_key,
    parse_record_key,
    parse_relocation_key,
)
from seedcorn.repo.hosts import HostRegistry, open_host_record
from seedcorn.repo.roots.checkpoints import open_checkpoint
from seedcorn.repo.roots.collections import open_collection
from seedcorn.repo.roots.forgetting import open_forget
from seedcorn.repo.roots.receipts import open_receipt
from seedcorn.repo.roots.relocations import open_relocation
from seedcorn.repo.roots.roots import RootRepository
from seedcorn.repo.roots.snapshots import open_snapshot
from seedcorn.repo.roots.verified import open_verified

__all__ = ["KINDS", "SmallKind", "kind_of"]


@dataclass(frozen=True, slots=True)
class SmallKind:
    """``parse`` says what is in a key, None if it is of another form. ``open_one`` takes that, and gives what is in an object's bytes or raises
    ``IntegrityError``. ``of_host``: only the host in the key may sign it."""

    magic: Magic
    parse: Callable[[str], Any]
    open_one: Callable[[Any, RootRepository, HostRegistry, bytes], Any]
    of_host: bool = False


KINDS: Mapping[str, SmallKind] = {
    "hosts/": SmallKind(
        Magic.HOST, parse_host_key, lambda name, repository, _, data: open_host_record(name, repository.repository, repository.key.public, data)
    ),
    "snapshots/": SmallKind(
        Magic.SNAPSHOT,
        parse_numbered_key,
        lambda name, repository, registry, data: open_snapshot(name, repository.repository, repository.key.open_maintain, registry, data),
        of_host=True,
    ),
    "receipts/": SmallKind(
        Magic.RECEIPT,
        parse_receipt_key,
        lambda name, repository, registry, data: open_receipt(name, repository.repository, registry, data),
        of_host=True,
    ),
    "checkpoints/": SmallKind(
        Magic.CHECKPOINT,
        parse_checkpoint_key,
        lambda name, repository, registry, data: open_checkpoint(name, repository.repository, repository.key.open_maintain, registry, data),
        of_host=True,
    ),
    "forget/": SmallKind(
        Magic.FORGET, parse_record_key, lambda name, repository, _, data: open_forget(name, repository.repository, repository.key.public, data)
    ),
    "gc/": SmallKind(
        Magic.COLLECTION,
        parse_collection_key,
        lambda name, repository, _, data: open_collection(name, repository.repository, repository.key.public, data),
    ),
    "verified/": SmallKind(
        Magic.VERIFIED, parse_record_key, lambda name, repository, _, data: open_verified(name, repository.repository, repository.key.public, data)
    ),
    "relocations/": SmallKind(
        Magic.RELOCATION,
        parse_relocation_key,
        lambda name, repository, _, data: open_relocation(name, repository.repository, repository.key.public, data),
    ),
}


def kind_of(key: str) -> SmallKind | None:
    """The kind of a small signed object that has such a key, None for any other key."""
    kind = KINDS.get(key.partition("/")[0] + "/")
    return kind if kind and kind.parse(key) is not None else None
