"""Small signed objects: building one, and reading one that is named by its hash or whose name is repeated in it.

Owns where their bytes come from, and that only what has been verified is believed and remembered; what it means is for the modules that read it.
docs/format.md, section "Objects".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from seedcorn.crypto import primitives
from seedcorn.errors import AccessDeniedError, IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.names import spare_key
from seedcorn.repo.bindings import signature_binding
from seedcorn.repo.state.state import State
from seedcorn.store.api import ObjectInfo, Store

__all__ = ["build_record", "fetch_spare", "open_record", "read_small", "seal_envelope", "verify_signature"]

T = TypeVar("T")


def seal_envelope(magic: Magic, parts: list[bytes], sign: Callable[[bytes], bytes]) -> bytes:
    """The bytes of a signed object."""
    body = Envelope.build(magic, parts)
    return body + sign(signature_binding(magic) + body)


def build_record(magic: Magic, value: object, sign: Callable[[bytes], bytes]) -> bytes:
    """The bytes of a signed object with one public part."""
    return seal_envelope(magic, [encode(value)], sign)


def open_record(magic: Magic, data: bytes, kind: type[T], sign_public: bytes) -> T:
    """The public part of a signed object that has one.

    Raises:
        IntegrityError: not signed with that key, or malformed.
    """
    envelope = Envelope.parse(magic, data)
    verify_signature(sign_public, magic, envelope)
    return decode(envelope.parts[0], kind)


def verify_signature(sign_public: bytes, magic: Magic, envelope: Envelope) -> None:
    """Check that the holder of a key signed an object of this kind.

    Raises:
        IntegrityError: another one did, or the object has been changed.
    """
    primitives.verify(sign_public, envelope.signature, signature_binding(magic) + envelope.signed_bytes)


def read_small(store: Store, state: State | None, info: ObjectInfo, magic: Magic, open_one: Callable[[bytes], T]) -> T:
    """A small immutable object as ``open_one`` verifies and opens it. Its bytes are what the state remembers; else what is in the store, or if that
    is damaged, its spare: and if they are good, the state remembers them from then on.

    Raises:
        IntegrityError: with what is wrong with the object itself; named.
        ObjectNotFoundError: it has been deleted since it was listed.
    """
    try:
        remembered = state.cached_object(info.key) if state else None
        if remembered is not None:
            return open_one(remembered)
        data, opened = _fetch(store, info, magic, open_one)
    except IntegrityError as error:
        raise error.named(info.key) from error
    if state:
        state.cache_object(info.key, data)
    return opened


def _fetch(store: Store, info: ObjectInfo, magic: Magic, open_one: Callable[[bytes], T]) -> tuple[bytes, T]:
    try:
        if info.size_bytes > magic.limit_bytes:
            raise IntegrityError("is larger than its kind may be")
        data = store.get(info.key)
        return data, open_one(data)
    except IntegrityError as damage:
        spare = fetch_spare(store, info.key, magic)
        if spare is None:
            raise
        try:
            return spare, open_one(spare)
        except IntegrityError:
            raise damage from None


def fetch_spare(store: Store, key: str, magic: Magic) -> bytes | None:
    """What has been put beside a damaged object, not verified; None if nothing is there that may be read, or nothing of the right size."""
    try:
        if store.head(spare_key(key)).size_bytes > magic.limit_bytes:
            return None
        return store.get(spare_key(key))
    except (ObjectNotFoundError, AccessDeniedError):  # a host may not list, so to it some stores say that they do not tell
        return None
