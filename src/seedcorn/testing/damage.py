"""Ways in which stored objects go wrong, as small named values: for matrices of every damage against every kind of object.

A damage changes the dictionary of a ``MemoryStore``; work on a ``copy_store``. Random places are seeded, so every run is the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from seedcorn.format.pack import PackKind, parse_pack_head
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository

__all__ = ["DAMAGES", "OBJECT_KINDS", "Damage", "Pristine", "apply_damage", "copy_store", "flip_byte", "keys_by_kind"]

OBJECT_KINDS = ("header", "slot", "host record", "data pack", "listing pack", "segment", "snapshot", "receipt")

Objects = MutableMapping[str, bytes]
_ROOMS = {"seedcorn.json": "header", "keys": "slot", "hosts": "host record", "index": "segment", "snapshots": "snapshot", "receipts": "receipt"}
_SEEDED_PLACES = 4


@dataclass(frozen=True, slots=True)
class Damage:
    """``apply(objects, key, same, other)``: harm ``key``; ``same`` is another object of its kind, if there is one, ``other`` one of another kind."""

    name: str
    apply: Callable[[Objects, str, str | None, str], None]
    needs_same: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Pristine:
    """A repository before any damage. ``trees``: for each snapshot, by its key, every path in it and the content of files."""

    repository: SmallRepository
    store: MemoryStore
    trees: dict[str, dict[bytes, bytes | None]]
    passphrases: tuple[str, ...]


def copy_store(store: MemoryStore) -> MemoryStore:
    """The same objects in another store."""
    copy = MemoryStore(url=store.url)
    for key, data in store.objects.items():
        copy.put(key, data)
    return copy


def keys_by_kind(store: MemoryStore) -> dict[str, list[str]]:
    """Every key of the store that is of one of ``OBJECT_KINDS``, in order."""
    found: dict[str, list[str]] = {kind: [] for kind in OBJECT_KINDS}
    for key, data in sorted(store.objects.items()):
        room = key.partition("/")[0]
        if room == "packs":
            head, _ = parse_pack_head(data)
            kind = "data pack" if head.kind is PackKind.DATA else "listing pack"
        elif room in _ROOMS:
            kind = _ROOMS[room]
        else:
            continue
        found[kind].append(key)
    return found


def apply_damage(damage: Damage, store: MemoryStore, kind: str, *, which: int = 0, of: str = "") -> str:
    """Harm the object number ``which`` among those of a kind whose keys contain ``of`` (a host); returns its key."""
    keys = keys_by_kind(store)
    key = [key for key in keys[kind] if of in key][which]
    same = next((other for other in keys[kind] if other != key), None)
    other_kind = OBJECT_KINDS[(OBJECT_KINDS.index(kind) + 1) % len(OBJECT_KINDS)]
    damage.apply(store.objects, key, same, keys[other_kind][0])
    return key


def flip_byte(data: bytes, place: int, bit: int = 0) -> bytes:
    """``data`` with one bit of one byte changed."""
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def _change(change: Callable[[bytes], bytes]) -> Callable[[Objects, str, str | None, str], None]:
    def apply(objects: Objects, key: str, _same: str | None, _other: str) -> None:
        objects[key] = change(objects[key])

    return apply


def _flip_seeded(seed: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        chosen = random.Random(seed * 1_000_003 + len(data))
        return flip_byte(data, chosen.randrange(len(data)), chosen.randrange(8))

    return change


def _delete(objects: Objects, key: str, _same: str | None, _other: str) -> None:
    del objects[key]


def _swap(objects: Objects, key: str, same: str | None, _other: str) -> None:
    assert same is not None
    objects[key], objects[same] = objects[same], objects[key]


def _replace_by_same(objects: Objects, key: str, same: str | None, _other: str) -> None:
    assert same is not None
    objects[key] = objects[same]


def _replace_by_other(objects: Objects, key: str, _same: str | None, other: str) -> None:
    objects[key] = objects[other]


DAMAGES = (
    Damage("flip the first byte", _change(lambda data: flip_byte(data, 0))),
    Damage("flip a byte of the head", _change(lambda data: flip_byte(data, min(20, len(data) // 2)))),
    Damage("flip the middle byte", _change(lambda data: flip_byte(data, len(data) // 2, 3))),
    Damage("flip the last byte but one", _change(lambda data: flip_byte(data, len(data) - 2, 5))),
    Damage("flip the last byte", _change(lambda data: flip_byte(data, len(data) - 1, 7))),
    *(Damage(f"flip a seeded bit ({seed})", _change(_flip_seeded(seed))) for seed in range(_SEEDED_PLACES)),
    Damage("cut off one byte", _change(lambda data: data[:-1])),
    Damage("cut in half", _change(lambda data: data[: len(data) // 2])),
    Damage("cut off the first byte", _change(lambda data: data[1:])),
    Damage("keep the first 17 bytes", _change(lambda data: data[:17])),
    Damage("add one byte", _change(lambda data: data + b"\0")),
    Damage("add itself once more", _change(lambda data: data + data)),
    Damage("put zeros in the middle", _change(lambda data: data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * (len(data) // 3) :])),
    Damage("empty it", _change(lambda _data: b"")),
    Damage("delete it", _delete),
    Damage("swap it with another of its kind", _swap, needs_same=True),
    Damage("replace it by another of its kind", _replace_by_same, needs_same=True),
    Damage("replace it by another kind", _replace_by_other),
)
