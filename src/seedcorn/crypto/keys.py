"""Keys as capabilities: a value of one of these types is the right to do something, and has no method for anything else.

    OwnerSeed -> OwnerKey         reads everything, signs as the owner, makes the other two
                   -> MaintainKey   opens what is sealed to maintainers, signs as one; sees no name and no content
                   -> DomainSecrets   names chunks, cuts content, opens indexes
    HostKey                       signs as one host and seals to the owner and the maintainers; opens nothing that is sealed to them

Owns the labels and derivations. Must never know files, formats or stores. Invariant: no secret shows in a ``repr``, so none reaches a log.

docs/format.md, section "Keys".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

from seedcorn.crypto import primitives
from seedcorn.crypto.primitives import KEM_PRIVATE_BYTES, KEM_PUBLIC_BYTES, KEY_BYTES, Buffer
from seedcorn.errors import CredentialError, IntegrityError
from seedcorn.ids import CHUNK_ID_BYTES, RANDOM_ID_BYTES, ChunkId, HostId, RepositoryId, SessionId, host_mark

__all__ = [
    "DomainSecrets",
    "HostKey",
    "MaintainKey",
    "OwnerKey",
    "OwnerSeed",
    "PublicKeys",
    "SessionKey",
    "new_owner_seed",
    "new_session_id",
    "new_session_key",
]

OwnerSeed = NewType("OwnerSeed", bytes)  # 32 random bytes: the repository's only root secret
SessionKey = NewType("SessionKey", bytes)  # 32 random bytes: seals the frames of one process

_SEED_OF_CUTTER_BYTES = 8


def new_owner_seed() -> OwnerSeed:
    """The root secret of a new repository."""
    return OwnerSeed(primitives.random_bytes(KEY_BYTES))


def new_session_id(host: HostId) -> SessionId:
    """The id of one process that writes in the room of ``host``."""
    mark = host_mark(host)
    return SessionId(mark + primitives.random_bytes(RANDOM_ID_BYTES - len(mark)))


def new_session_key() -> SessionKey:
    """The key of one process. A resumed backup is a new process and takes a new one."""
    return SessionKey(primitives.random_bytes(KEY_BYTES))


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """The owner's public keys: in the header for whoever holds the seed, pinned in the file of every host. Anyone who has them can seal."""

    owner_sign: bytes  # 32
    read_kem: bytes  # 1216
    maintain_kem: bytes  # 1216
    maintain_sign: bytes  # 32

    def __post_init__(self) -> None:
        _check_lengths(self, owner_sign=KEY_BYTES, read_kem=KEM_PUBLIC_BYTES, maintain_kem=KEM_PUBLIC_BYTES, maintain_sign=KEY_BYTES)

    def __repr__(self) -> str:
        return f"PublicKeys({self.owner_sign.hex()[:16]}…)"

    def seal_read(self, info: bytes, plaintext: bytes) -> bytes:
        """Seals to the owner. ``info`` is a ``primitives.context``."""
        return primitives.hpke_seal(self.read_kem, info, plaintext)

    def seal_maintain(self, info: bytes, plaintext: bytes) -> bytes:
        """Seals to the maintainers (and so to the owner)."""
        return primitives.hpke_seal(self.maintain_kem, info, plaintext)


@dataclass(frozen=True, slots=True)
class DomainSecrets:
    """What the hosts of one dedup domain share: enough to recognise content they already hold, not enough to read any."""

    domain: int
    chunk_id_key: bytes = field(repr=False)
    listing_id_key: bytes = field(repr=False)
    cut_key: bytes = field(repr=False)
    index_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_lengths(self, chunk_id_key=KEY_BYTES, listing_id_key=KEY_BYTES, cut_key=KEY_BYTES, index_key=KEY_BYTES)

    def chunk_id(self, data: Buffer) -> ChunkId:
        """Id of a chunk of file content."""
        return ChunkId(primitives.keyed_hash(self.chunk_id_key, data, CHUNK_ID_BYTES))

    def listing_id(self, data: Buffer) -> ChunkId:
        """Id of a chunk of a listing or of a content list. Another key: file content can never pass for a directory."""
        return ChunkId(primitives.keyed_hash(self.listing_id_key, data, CHUNK_ID_BYTES))

    @property
    def cut_seed(self) -> int:
        """Seed of the chunker, an unsigned 64-bit number."""
        return int.from_bytes(self.cut_key[:_SEED_OF_CUTTER_BYTES], "little")


@dataclass(frozen=True, slots=True)
class MaintainKey:
    """Collects garbage and applies retention without being able to read a name or a byte of content."""

    repository: RepositoryId
    public: PublicKeys
    kem_private: bytes = field(repr=False)
    sign_private: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_lengths(self, kem_private=KEM_PRIVATE_BYTES, sign_private=KEY_BYTES)

    def open_maintain(self, info: bytes, sealed: bytes) -> bytes:
        """Opens what was sealed to the maintainers. IntegrityError if it was not, or was changed."""
        return primitives.hpke_open(self.kem_private, info, sealed)

    def sign(self, message: Buffer) -> bytes:
        """Signs as a maintainer."""
        return primitives.sign(self.sign_private, message)


@dataclass(frozen=True, slots=True)
class OwnerKey:
    """Everything that the seed gives for one repository. Made by ``from_seed`` only."""

    repository: RepositoryId
    public: PublicKeys
    seed: OwnerSeed = field(repr=False)
    _sign_private: bytes = field(repr=False)
    _read_private: bytes = field(repr=False)
    _maintain: MaintainKey = field(repr=False)

    @classmethod
    def from_seed(cls, seed: OwnerSeed, repository: RepositoryId) -> OwnerKey:
        """Derives the owner's keys of this repository. Whether the seed is the right one only the header's signature tells."""
        if len(seed) != KEY_BYTES:
            raise CredentialError(f"an owner seed has {KEY_BYTES} bytes, this one has {len(seed)}")
        sign_private = primitives.derive(seed, repository, "owner-sign")
        read_private = primitives.derive(seed, repository, "read-kem", KEM_PRIVATE_BYTES)
        maintain_private = primitives.derive(seed, repository, "maintain-kem", KEM_PRIVATE_BYTES)
        maintain_sign_private = primitives.derive(seed, repository, "maintain-sign")
        public = PublicKeys(
            owner_sign=primitives.sign_public_key(sign_private),
            read_kem=primitives.kem_public_key(read_private),
            maintain_kem=primitives.kem_public_key(maintain_private),
            maintain_sign=primitives.sign_public_key(maintain_sign_private),
        )
        maintain = MaintainKey(repository, public, maintain_private, maintain_sign_private)
        return cls(repository, public, seed, sign_private, read_private, maintain)

    def sign(self, message: Buffer) -> bytes:
        """Signs as the owner."""
        return primitives.sign(self._sign_private, message)

    def open_read(self, info: bytes, sealed: bytes) -> bytes:
        """Opens what was sealed to the owner. IntegrityError if it was not, or was changed."""
        return primitives.hpke_open(self._read_private, info, sealed)

    def open_maintain(self, info: bytes, sealed: bytes) -> bytes:
        """Opens what was sealed to the maintainers."""
        return self._maintain.open_maintain(info, sealed)

    def domain(self, number: int) -> DomainSecrets:
        """The secrets of dedup domain ``number``."""

        def secret(name: str) -> bytes:
            return primitives.derive(self.seed, self.repository, f"domain/{number}/{name}")

        return DomainSecrets(
            number, chunk_id_key=secret("chunk-id"), listing_id_key=secret("listing-id"), cut_key=secret("cut"), index_key=secret("index")
        )

    def index_key(self, domain: int) -> bytes:
        """What opens the footers and index segments of a domain."""
        return self.domain(domain).index_key

    def maintain_key(self) -> MaintainKey:
        """The part of this key that a maintainer is given."""
        return self._maintain


@dataclass(frozen=True, slots=True)
class HostKey:
    """What a host holds. A thief of it can write new backups in the host's name and read none."""

    repository: RepositoryId
    host: HostId
    sign_private: bytes = field(repr=False)
    public: PublicKeys
    secrets: DomainSecrets

    def __post_init__(self) -> None:
        _check_lengths(self, sign_private=KEY_BYTES)

    @classmethod
    def create(cls, repository: RepositoryId, host: HostId, public: PublicKeys, secrets: DomainSecrets) -> HostKey:
        """The key of a new host: its signing key is its own, not derived from the seed."""
        return cls(repository, host, primitives.random_bytes(KEY_BYTES), public, secrets)

    @property
    def sign_public(self) -> bytes:
        """The host's public signing key, which its host record states."""
        return primitives.sign_public_key(self.sign_private)

    def index_key(self, domain: int) -> bytes | None:
        """What opens the index segments of this host's domain; None for any other domain."""
        return self.secrets.index_key if domain == self.secrets.domain else None

    def sign(self, message: Buffer) -> bytes:
        """Signs as this host."""
        return primitives.sign(self.sign_private, message)

    def seal_read(self, info: bytes, plaintext: bytes) -> bytes:
        """Seals to the owner: from here on this host can not read it either."""
        return self.public.seal_read(info, plaintext)

    def seal_maintain(self, info: bytes, plaintext: bytes) -> bytes:
        """Seals to the maintainers."""
        return self.public.seal_maintain(info, plaintext)


def _check_lengths(key: object, **lengths: int) -> None:
    for name, length in lengths.items():
        found = len(getattr(key, name))
        if found != length:
            raise IntegrityError(f"the key {name} has {found} bytes instead of {length}")
