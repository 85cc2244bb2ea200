"""Passphrase slots in the repository: several, labelled, added and removed without touching data.

docs/format.md, section "Key slot".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seedcorn.crypto import primitives, slots
from seedcorn.crypto.keys import OwnerKey, OwnerSeed
from seedcorn.errors import CredentialError, IntegrityError, UsageError
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.header import SlotPublic
from seedcorn.format.names import parse_slot_key, slot_key
from seedcorn.ids import RANDOM_ID_BYTES, RepositoryId, SlotId, match_prefix
from seedcorn.repo.bindings import signature_binding, slot_binding
from seedcorn.store.api import ObjectInfo, Store

__all__ = ["KeySlot", "add_slot", "open_with_passphrase", "read_slots", "remove_slot"]


@dataclass(frozen=True, slots=True)
class KeySlot:
    """One slot as stored."""

    public: SlotPublic
    public_part: bytes
    sealed_seed: bytes

    @property
    def slot(self) -> SlotId:
        return SlotId(self.public.slot)


def add_slot(
    store: Store, repository: RepositoryId, key: OwnerKey, passphrase: str, *, label: str, created_ns: int, kdf: slots.KdfParameters | None = None
) -> SlotId:
    """Wrap the owner seed under one more passphrase."""
    parameters = kdf or slots.KdfParameters.fresh()
    slot = SlotId(primitives.random_bytes(RANDOM_ID_BYTES))
    public_part = encode(
        SlotPublic(
            repository,
            slot,
            "passphrase",
            label,
            created_ns,
            "argon2id",
            parameters.memory_kib,
            parameters.iterations,
            parameters.lanes,
            parameters.salt,
        )
    )
    sealed_seed = slots.wrap_seed(passphrase, parameters, slot_binding(public_part), key.seed)
    body = Envelope.build(Magic.SLOT, [public_part, sealed_seed])
    store.put(slot_key(slot), body + key.sign(signature_binding(Magic.SLOT) + body))
    return slot


def read_slots(
    store: Store, repository: RepositoryId, owner_sign: bytes, *, listed: Sequence[ObjectInfo] | None = None
) -> tuple[list[KeySlot], list[IntegrityError]]:
    """Every slot that the holder of ``owner_sign`` signed, oldest first, and what is wrong with the others. ``listed`` are all, if that is known."""
    found: list[KeySlot] = []
    problems: list[IntegrityError] = []
    for info in store.list("keys/") if listed is None else listed:
        slot = parse_slot_key(info.key)
        if slot is None:
            continue
        try:
            if info.size_bytes > Magic.SLOT.limit_bytes:
                raise IntegrityError("is far too long for a key slot")
            envelope = Envelope.parse(Magic.SLOT, store.get(info.key))
            primitives.verify(owner_sign, envelope.signature, signature_binding(Magic.SLOT) + envelope.signed_bytes)
            public = decode(envelope.parts[0], SlotPublic)
            if public.repository != repository or public.slot != slot:
                raise IntegrityError("belongs to another repository or has been moved")
        except IntegrityError as error:
            problems.append(_damaged(slot, error))
            continue
        found.append(KeySlot(public, *envelope.parts))
    return sorted(found, key=lambda slot: (slot.public.created_ns, slot.public.slot)), problems


def _damaged(slot: SlotId, error: IntegrityError) -> IntegrityError:
    """What is wrong with a slot, and how an operator gets rid of it."""
    remove = f"`seedcorn key remove {slot.hex()}` (if no other passphrase is left, `seedcorn key recover` comes first)"
    return IntegrityError(f"{error.message}; put it back from a copy, or {remove}", object_name=slot_key(slot))


def open_with_passphrase(store: Store, repository: RepositoryId, owner_sign: bytes, passphrase: str) -> OwnerSeed:
    """The owner seed.

    Raises:
        CredentialError: no slot opens with it, or there is no slot.
        IntegrityError: a slot is malformed and no other one opens.
    """
    slots_found, problems = read_slots(store, repository, owner_sign)
    if not slots_found:
        if problems:
            raise problems[0]
        raise CredentialError(f"{store.url} has no key slot; open it with the recovery words: `seedcorn key recover`")
    for slot in slots_found:
        public = slot.public
        if public.method != "passphrase" or public.kdf != "argon2id":
            continue
        try:
            parameters = slots.KdfParameters(public.memory_kib, public.iterations, public.lanes, public.salt)
            return slots.unwrap_seed(passphrase, parameters, slot_binding(slot.public_part), slot.sealed_seed)
        except CredentialError:
            continue
        except IntegrityError as error:
            problems.append(_damaged(slot.slot, error))
    if problems:
        raise problems[0]
    noun = "the key slot" if len(slots_found) == 1 else f"any of the {len(slots_found)} key slots"
    raise CredentialError(f"this passphrase does not open {noun} of {store.url}")


def remove_slot(store: Store, repository: RepositoryId, owner_sign: bytes, slot_prefix: str) -> SlotId:
    """Delete the slot whose id starts with ``slot_prefix``, be it good or damaged; its id.

    Raises:
        UsageError: there is none or there are several, or it is the last good one.
    """
    good, problems = read_slots(store, repository, owner_sign)
    damaged = [slot for problem in problems if (slot := parse_slot_key(problem.object_name))]
    slot = SlotId(match_prefix(slot_prefix, [*(one.slot for one in good), *damaged], noun="key slot"))
    if all(other.slot == slot for other in good):
        raise UsageError("this is the last key slot that is good: add another one first, or only the recovery words could open the repository")
    store.delete([slot_key(slot)])
    return slot
