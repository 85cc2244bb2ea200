"""Small signed objects: building one, and reading one that is named by its hash or whose name is repeated in it.

Owns that a record is believed only after its signature; what it means is for the modules that read it. docs/format.md, section "Objects".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from seedcorn.crypto import primitives
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.repo.bindings import signature_binding
from seedcorn.repo.state.state import State
from seedcorn.store.api import ObjectInfo, Store

__all__ = ["build_record", "fetch_small", "open_record", "seal_envelope", "verify_signature"]

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


def fetch_small(store: Store, state: State | None, info: ObjectInfo, magic: Magic) -> bytes:
    """An immutable object, from the state if it has been fetched before; who verifies it may then keep it with ``State.cache_object``.

    Raises:
        IntegrityError: it is larger than its kind may be.
        ObjectNotFoundError: it has been deleted since it was listed.
    """
    data = state.cached_object(info.key) if state else None
    if data is not None:
        return data
    if info.size_bytes > magic.limit_bytes:
        raise IntegrityError("is larger than its kind may be", object_name=info.key)
    return store.get(info.key)
