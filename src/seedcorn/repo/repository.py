"""Making and opening a repository by capability: as a host (can write, can not read) or as the owner.

docs/format.md, sections "Header", "Key slot", "Host file". Invariant: a host compares the header's public keys with its pinned ones; an owner with
those derived from the seed. Nobody believes the header by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import HostKey, OwnerKey, OwnerSeed, PublicKeys
from seedcorn.errors import CredentialError, IntegrityError, ObjectNotFoundError, RepositoryNotFoundError, UsageError
from seedcorn.format.codec import SUITE, VERSION
from seedcorn.format.header import HEADER_KEY, HEADER_LIMIT_BYTES, HEADER_WAY_OUT, Header, header_payload, parse_header, serialize_header
from seedcorn.ids import RANDOM_ID_BYTES, HostId, RepositoryId
from seedcorn.repo.bindings import header_binding
from seedcorn.store.api import Store

__all__ = [
    "HostRepository",
    "OwnerRepository",
    "SignedHeader",
    "new_repository",
    "new_repository_id",
    "open_as_host",
    "open_as_owner",
    "parse_public_keys",
    "public_key_fields",
    "put_header",
    "read_header",
    "refuse_existing",
]

_PUBLIC_KEYS = ("owner_sign", "read_kem", "maintain_kem", "maintain_sign")


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header as read: ``payload`` is what ``signature`` covers; not verified yet."""

    header: Header
    payload: bytes
    signature: bytes

    @property
    def repository(self) -> RepositoryId:
        return self.header.repository_id

    def verify(self, public: PublicKeys) -> None:
        """Refuse a header that the holder of ``public`` did not sign or that names other keys.

        Raises:
            IntegrityError: with what differs.
        """
        if parse_public_keys(msgspec.structs.asdict(self.header)) != public:
            raise IntegrityError("the public keys in it are not the owner's: somebody has replaced them", object_name=HEADER_KEY)
        self.check_signature(public.owner_sign)

    def check_signature(self, owner_sign: bytes) -> None:
        """Raises:
        IntegrityError: the holder of ``owner_sign`` did not sign this.
        """
        try:
            primitives.verify(owner_sign, self.signature, header_binding() + self.payload)
        except IntegrityError as error:
            raise IntegrityError(f"{error.message}: {HEADER_WAY_OUT}", object_name=HEADER_KEY) from error


@dataclass(frozen=True, slots=True)
class HostRepository:
    """A repository opened with a host file: can seal and sign, can open nothing."""

    store: Store
    header: Header
    key: HostKey
    host_name: str

    @property
    def repository(self) -> RepositoryId:
        return self.key.repository

    @property
    def host(self) -> HostId:
        return self.key.host


@dataclass(frozen=True, slots=True)
class OwnerRepository:
    """A repository opened with the owner seed: can read everything."""

    store: Store
    header: Header
    key: OwnerKey

    @property
    def repository(self) -> RepositoryId:
        return self.header.repository_id


def public_key_fields(public: PublicKeys) -> dict[str, str]:
    """The owner's public keys as they stand in the header, host files and maintain files."""
    return {name: getattr(public, name).hex() for name in _PUBLIC_KEYS}


def parse_public_keys(fields: Mapping[str, Any]) -> PublicKeys:
    """The same the other way; other fields may be beside them.

    Raises:
        KeyError, TypeError, ValueError: one is missing or malformed.
        IntegrityError: one is of the wrong length.
    """
    return PublicKeys(**{name: bytes.fromhex(fields[name]) for name in _PUBLIC_KEYS})


def new_repository_id() -> RepositoryId:
    return RepositoryId(primitives.random_bytes(RANDOM_ID_BYTES))


def new_repository(
    store: Store, repository: RepositoryId, key: OwnerKey, *, flags: tuple[str, ...], created_ns: int, program: str
) -> OwnerRepository:
    """A repository as its owner sees it, before anything of it is in the store. ``put_header`` makes it exist."""
    header = Header(
        format=VERSION,
        suite=SUITE,
        repository=repository.hex(),
        flags=flags,
        created_ns=created_ns,
        program=program,
        **public_key_fields(key.public),
    )
    return OwnerRepository(store, header, key)


def put_header(owner: OwnerRepository) -> None:
    """Put the signed header."""
    signature = owner.key.sign(header_binding() + header_payload(msgspec.to_builtins(owner.header)))
    owner.store.put(HEADER_KEY, serialize_header(owner.header, signature))


def refuse_existing(store: Store) -> None:
    """Raises:
    UsageError: there is a repository at this place.
    """
    try:
        store.head(HEADER_KEY)
    except ObjectNotFoundError:
        if not _holds_objects(store):
            return
        message = f"{store.url} holds objects of a repository whose {HEADER_KEY} is missing: put that back, or choose another place"
        raise UsageError(message) from None
    raise UsageError(f"there is a repository at {store.url} already; back up to it with `seedcorn backup`, or choose another place")


def _holds_objects(store: Store) -> bool:
    """Whether something that only a repository has is there, though no header is."""
    return any(next(store.list(room), None) is not None for room in ("keys/", "hosts/", "snapshots/"))


def read_header(store: Store) -> SignedHeader:
    """The header, undamaged as far as its own signature tells: who made it is still open.

    Raises:
        RepositoryNotFoundError: none there.
        IntegrityError: malformed, damaged, or from the future.
    """
    try:
        data = store.get(HEADER_KEY)
    except ObjectNotFoundError as error:
        if _holds_objects(store):
            message = f"is missing, but {store.url} holds objects of a repository: put it back from a copy; do not run `seedcorn init` there"
            raise IntegrityError(message, object_name=HEADER_KEY) from error
        raise RepositoryNotFoundError(f"there is no repository at {store.url}; make one with `seedcorn init -r {store.url}`") from error
    if len(data) > HEADER_LIMIT_BYTES:
        raise IntegrityError("is far too long for a header", object_name=HEADER_KEY)
    signed = SignedHeader(*parse_header(data))
    signed.check_signature(signed.header.owner_sign_public)
    return signed


def open_as_host(store: Store, signed: SignedHeader, key: HostKey, host_name: str) -> HostRepository:
    """Open with a host file's keys.

    Raises:
        CredentialError: the host file is another repository's.
        IntegrityError: the header does not carry the owner's signature or keys that this host has pinned.
    """
    if signed.repository != key.repository:
        raise CredentialError(f"this host file belongs to repository {key.repository.hex()[:12]}, but {store.url} is {signed.header.repository[:12]}")
    signed.verify(key.public)
    return HostRepository(store, signed.header, key, host_name)


def open_as_owner(store: Store, signed: SignedHeader, seed: OwnerSeed) -> OwnerRepository:
    """Open with the owner seed.

    Raises:
        CredentialError: the seed is another repository's.
        IntegrityError: the header's signature is wrong.
    """
    key = OwnerKey.from_seed(seed, signed.repository)
    if key.public.owner_sign.hex() != signed.header.owner_sign:
        raise CredentialError(f"these recovery words or this passphrase belong to another repository than {store.url}")
    signed.verify(key.public)
    return OwnerRepository(store, signed.header, key)
