"""Who may write: owner-signed records of enrolment, moving and revocation, and the host file that an enrolled machine keeps.

docs/format.md, sections "Host record" and "Host file". Invariant: a host's public key and domains are believed only from a record that the owner
signed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import DomainSecrets, HostKey, PublicKeys
from seedcorn.errors import CredentialError, IntegrityError, SeedcornError, UsageError
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.header import FormerKey, HostPrivate, HostPublic, HostState
from seedcorn.format.names import HostName, host_key, parse_host_key
from seedcorn.ids import RANDOM_ID_BYTES, HostId, RepositoryId, host_mark
from seedcorn.repo.bindings import host_binding
from seedcorn.repo.records import read_small, seal_envelope, verify_signature
from seedcorn.repo.repository import OwnerRepository, parse_public_keys, public_key_fields
from seedcorn.repo.state.state import State
from seedcorn.store.api import ObjectInfo, Store

__all__ = ["EnrolledHost", "HostFile", "HostRegistry", "enroll_host", "load_registry", "move_host", "open_host_record", "revoke_host"]


@dataclass(frozen=True, slots=True)
class EnrolledHost:
    """The ruling record of one host. ``name`` is empty unless the owner read it."""

    public: HostPublic
    name: str

    @property
    def host(self) -> HostId:
        return HostId(self.public.host)

    @property
    def revoked(self) -> bool:
        return self.public.state == HostState.REVOKED

    @property
    def domain(self) -> int:
        """The dedup domain that it is in."""
        return self.public.domain

    @property
    def domains(self) -> frozenset[int]:
        """Those that it is or has been in."""
        return frozenset((self.public.domain, *(former.domain for former in self.public.former)))

    @property
    def sign_publics(self) -> tuple[bytes, ...]:
        """Its public keys, the one in use first: what it had signed before it was moved stays its own."""
        return (self.public.sign_public, *(former.sign_public for former in reversed(self.public.former)))


@dataclass(frozen=True, slots=True)
class HostRegistry:
    """Every host that the owner ever enrolled, by id; and the key of the maintainers, who may sign index segments in the room of any of them."""

    hosts: Mapping[HostId, EnrolledHost]
    maintain_sign: bytes
    listed: tuple[ObjectInfo, ...] = ()  # the records, as the store named them
    problems: tuple[IntegrityError, ...] = ()  # damaged records; a host with one is not in ``hosts``, as nobody knows what the record said

    @property
    def recorded(self) -> frozenset[HostId]:
        """The hosts with a record, whether that can be read or not."""
        return frozenset(name.host for info in self.listed if (name := parse_host_key(info.key)))

    @property
    def revoked(self) -> frozenset[HostId]:
        """The hosts that the owner has revoked."""
        return frozenset(host for host, enrolled in self.hosts.items() if enrolled.revoked)

    @property
    def domains(self) -> frozenset[int]:
        """Every dedup domain that a host is or has been in."""
        return frozenset(domain for host in self.hosts.values() for domain in host.domains)

    def counts(self, host: HostId, seq: int) -> bool:
        """Whether what ``host`` has put under a snapshot's number may count at all: nothing after the last one of a revoked host does."""
        enrolled = self.hosts.get(host)
        return enrolled is None or not enrolled.revoked or seq <= enrolled.public.last_seq

    def verify(self, magic: Magic, host: HostId, envelope: Envelope) -> None:
        """Check that ``host`` is enrolled and signed this object.

        Raises:
            IntegrityError: it is not, or did not.
        """
        _verify_any(self._enrolled(host).sign_publics, magic, envelope)

    def verify_segment(self, host: HostId, envelope: Envelope) -> None:
        """Check that ``host`` is enrolled and signed this index segment, or a maintainer did who has rewritten it.

        Raises:
            IntegrityError: neither.
        """
        _verify_any((*self._enrolled(host).sign_publics, self.maintain_sign), Magic.SEGMENT, envelope)

    def check_domain(self, host: HostId, domain: int) -> None:
        """Check that ``host``, which is enrolled, is or has been in a domain.

        Raises:
            IntegrityError: it never was.
        """
        if domain not in self._enrolled(host).domains:
            raise IntegrityError(f"claims to be of domain {domain}, in which its host has never been")

    def _enrolled(self, host: HostId) -> EnrolledHost:
        enrolled = self.hosts.get(host)
        if enrolled is None:
            room = f"hosts/{host.hex()}/"
            raise IntegrityError(
                f"comes from host {host.hex()[:12]}, which the owner never enrolled, or whose record under {room} can not be read: that comes first"
            )
        return enrolled


def _verify_any(keys: Sequence[bytes], magic: Magic, envelope: Envelope) -> None:
    """Raises:
    IntegrityError: none of these keys has signed this.
    """
    for key in keys[:-1]:
        with suppress(IntegrityError):
            verify_signature(key, magic, envelope)
            return
    verify_signature(keys[-1], magic, envelope)


@dataclass(frozen=True, slots=True)
class HostFile:
    """What an enrolled machine keeps, mode 0600: all it needs to write, nothing with which to read."""

    key: HostKey
    name: str
    url: str

    def serialize(self) -> bytes:
        key, secrets = self.key, self.key.secrets
        fields = {
            "seedcorn_host": 1,
            "repository": key.repository.hex(),
            "host": key.host.hex(),
            "name": self.name,
            "url": self.url,
            "domain": secrets.domain,
            "host_sign": key.sign_private.hex(),
            "chunk_id": secrets.chunk_id_key.hex(),
            "listing_id": secrets.listing_id_key.hex(),
            "cut": secrets.cut_key.hex(),
            "index": secrets.index_key.hex(),
            **public_key_fields(key.public),
        }
        return json.dumps(fields, indent=1).encode("ascii") + b"\n"

    @staticmethod
    def parse(data: bytes, *, source: str) -> HostFile:
        """Raises:
        CredentialError: not a host file of a version that this program knows; ``source`` is named.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
            if fields["seedcorn_host"] != 1:
                raise CredentialError(f"{source} is a host file of version {fields['seedcorn_host']}; a newer seedcorn may read it")
            raw = {name: bytes.fromhex(fields[name]) for name in ("repository", "host", "host_sign", "chunk_id", "listing_id", "cut", "index")}
            secrets = DomainSecrets(int(fields["domain"]), raw["chunk_id"], raw["listing_id"], raw["cut"], raw["index"])
            public = parse_public_keys(fields)
            key = HostKey(RepositoryId(raw["repository"]), HostId(raw["host"]), raw["host_sign"], public, secrets)
            return HostFile(key, str(fields["name"]), str(fields["url"]))
        except (ValueError, KeyError, TypeError, IntegrityError) as error:
            raise CredentialError(
                f"{source} is not a host file, or is damaged: the owner makes another one with `seedcorn host move NAME --domain D --out FILE`, "
                "with the name and domain that `seedcorn host list` shows"
            ) from error


def enroll_host(repository: OwnerRepository, name: str, *, created_ns: int, domain: int = 0, others: Iterable[HostId] = ()) -> HostFile:
    """A new host: its record is put, its host file returned (the only copy of its signing key). ``others`` are all hosts with a record, good or bad.

    Raises:
        UsageError: that can not be a host's name.
        SeedcornError: by chance its sessions would pass for those of another host.
    """
    if not name or len(name.encode()) > 255 or not name.isprintable():
        raise UsageError(f"{name!r} can not be a host's name: give 1 to 255 printable characters")
    host = HostId(primitives.random_bytes(RANDOM_ID_BYTES))
    if host_mark(host) in map(host_mark, others):
        raise SeedcornError("the new host's id begins as that of another host does, and hosts are told apart by that: try again")
    key = HostKey.create(repository.repository, host, repository.key.public, repository.key.domain(domain))
    public = HostPublic(repository.repository, host, 1, HostState.ENROLLED, key.sign_public, created_ns, domain=domain)
    _put_record(repository, public, HostPrivate(name))
    return HostFile(key, name, repository.store.url)


def move_host(repository: OwnerRepository, host: EnrolledHost, *, created_ns: int, domain: int) -> HostFile:
    """The same host in a domain, with a new signing key: its record is put, its new host file returned. In the domain that it is in already it only
    gets that: a file may be lost, also the one that this makes.

    A backup that is running with the old file still counts; the next one with it is refused.

    Raises:
        UsageError: the host has been revoked.
    """
    if host.revoked:
        raise UsageError(f"host {host.name} has been revoked: enrol the machine anew with `seedcorn host add`")
    key = HostKey.create(repository.repository, host.host, repository.key.public, repository.key.domain(domain))
    before = host.public
    former = (*before.former, FormerKey(before.sign_public, before.domain))
    public = replace(before, number=before.number + 1, sign_public=key.sign_public, created_ns=created_ns, domain=domain, former=former)
    _put_record(repository, public, HostPrivate(host.name))
    return HostFile(key, host.name, repository.store.url)


def revoke_host(repository: OwnerRepository, host: EnrolledHost, *, created_ns: int, last_seq: int) -> None:
    """Put the record by which nothing of this host counts any more that comes after its snapshot of number ``last_seq`` (0: nothing at all): no
    snapshot, no receipt, and no checkpoint. One that has been revoked already is so from then on as of this number."""
    public = replace(host.public, number=host.public.number + 1, state=HostState.REVOKED, created_ns=created_ns, last_seq=last_seq)
    _put_record(repository, public, HostPrivate(host.name))


def _put_record(repository: OwnerRepository, public: HostPublic, private: HostPrivate) -> None:
    public_part = encode(public)
    sealed = primitives.hpke_seal(repository.key.public.read_kem, host_binding(public_part), encode(private))
    data = seal_envelope(Magic.HOST, [public_part, sealed], repository.key.sign)
    repository.store.put(host_key(HostId(public.host), public.number), data)


def load_registry(
    store: Store,
    repository: RepositoryId,
    public: PublicKeys,
    *,
    state: State | None = None,
    reader: OwnerRepository | None = None,
    only: HostId | None = None,
    listed: Sequence[ObjectInfo] | None = None,
) -> HostRegistry:
    """Read and verify every host record, or those of one host; names are opened only with ``reader``. ``listed`` are the records, if that is known.

    A host with a damaged record is left out, since that record may have revoked it.
    """
    if listed is None:
        listed = list(store.list(f"hosts/{only.hex()}/" if only else "hosts/"))
    newest: dict[HostId, EnrolledHost] = {}
    problems: list[IntegrityError] = []
    doubtful: set[HostId] = set()
    for info in listed:
        name = parse_host_key(info.key)
        if name is None:
            continue
        try:
            enrolled = read_small(store, state, info, Magic.HOST, partial(open_host_record, name, repository, public, reader=reader))
        except IntegrityError as error:
            problems.append(error)
            doubtful.add(name.host)
            continue
        newest[enrolled.host] = enrolled  # keys come in order of their number
    good = {host: enrolled for host, enrolled in newest.items() if host not in doubtful}
    return HostRegistry(good, public.maintain_sign, tuple(listed), tuple(problems))


def open_host_record(
    name: HostName, repository: RepositoryId, public: PublicKeys, data: bytes, *, reader: OwnerRepository | None = None
) -> EnrolledHost:
    """Verify a host record; its name is opened only with ``reader``.

    Raises:
        IntegrityError: with what is wrong.
    """
    envelope = Envelope.parse(Magic.HOST, data)
    verify_signature(public.owner_sign, Magic.HOST, envelope)
    public_part, sealed = envelope.parts
    record = decode(public_part, HostPublic)
    if (record.repository, record.host, record.number) != (repository, name.host, name.number):
        raise IntegrityError("belongs to another repository or has been moved")
    host_name = decode(reader.key.open_read(host_binding(public_part), sealed), HostPrivate).name if reader else ""
    return EnrolledHost(record, host_name)
