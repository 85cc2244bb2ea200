"""Getting in: making a repository, opening it as host or owner, key slots, hosts. The front ends' only door to ``repo`` and ``store``.

Nothing here reads a file, the environment or a terminal: callers bring passphrases, words and host files as values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from seedcorn.crypto.keys import OwnerKey, new_owner_seed
from seedcorn.crypto.slots import KdfParameters
from seedcorn.crypto.words import seed_to_words, words_to_seed
from seedcorn.errors import IntegrityError, SeedcornError, UsageError
from seedcorn.events import Clock
from seedcorn.format.header import FLAG_TRUST_HOSTS
from seedcorn.ids import RepositoryId, SlotId, match_prefix
from seedcorn.ops.domains import NEW_DOMAIN, choose_domain, refuse_shared
from seedcorn.repo import keyslots
from seedcorn.repo.hosts import EnrolledHost, HostFile, HostRegistry, enroll_host, load_registry, move_host
from seedcorn.repo.keyslots import KeySlot
from seedcorn.repo.maintenance import MaintainFile, MaintainRepository, maintained_by_owner, open_as_maintainer
from seedcorn.repo.repository import (
    HostRepository,
    OwnerRepository,
    new_repository,
    new_repository_id,
    open_as_host,
    open_as_owner,
    put_header,
    read_header,
    refuse_existing,
)
from seedcorn.repo.roots.roots import RootsReader
from seedcorn.repo.state.state import State
from seedcorn.store.address import open_store
from seedcorn.store.api import Store
from seedcorn.store.options import StoreOptions
from seedcorn.store.wrappers import DryRunStore
from seedcorn.version import PROGRAM

__all__ = [
    "EnrolledHost",
    "HostFile",
    "HostRegistry",
    "HostRepository",
    "InitResult",
    "KdfParameters",
    "KeySlot",
    "MaintainFile",
    "MaintainRepository",
    "OwnerRepository",
    "State",
    "Store",
    "StoreOptions",
    "add_host",
    "add_key",
    "dry_run",
    "find_host",
    "host_called",
    "host_policy",
    "initialize",
    "keys",
    "list_hosts",
    "maintain_file",
    "maintained_by_owner",
    "match_hosts",
    "move",
    "open_at",
    "open_host",
    "open_host_with",
    "open_maintainer",
    "open_owner",
    "open_owner_with",
    "open_owner_with_words",
    "open_state",
    "recover_key",
    "registry",
    "remove_key",
    "repository_id",
]

INITIAL_LABEL = "first passphrase"


@dataclass(frozen=True, slots=True)
class InitResult:
    """A new repository: the 24 words exist only here, the host file is the caller's to keep."""

    repository: RepositoryId
    words: tuple[str, ...]
    host_file: HostFile


def open_at(url: str, credentials: Mapping[str, str], options: StoreOptions) -> Store:
    """The store at ``url`` (a path, ``s3://…``, ``gs://…``, ``az://…``). ``credentials`` are provider settings by their usual variable names."""
    return open_store(url, credentials=credentials, options=options)


def dry_run(store: Store) -> Store:
    """The same store, with puts that are counted and not made."""
    return DryRunStore(store)


def initialize(
    store: Store,
    passphrase: str,
    host_name: str,
    clock: Clock,
    *,
    label: str = INITIAL_LABEL,
    trust_hosts: bool = False,
    kdf: KdfParameters | None = None,
    keep: Callable[[InitResult], None] = lambda _: None,
) -> InitResult:
    """Make a repository: new owner seed, one passphrase slot, this machine enrolled as its first host, and the header last. ``keep`` puts what is
    made where it will be found; if it fails, there is no repository.

    Raises:
        UsageError: there is a repository already, or the passphrase is empty.
    """
    refuse_existing(store)
    repository, seed = new_repository_id(), new_owner_seed()
    now_ns = clock.now_ns()
    key = OwnerKey.from_seed(seed, repository)
    flags = (FLAG_TRUST_HOSTS,) if trust_hosts else ()
    owner = new_repository(store, repository, key, flags=flags, created_ns=now_ns, program=PROGRAM)
    try:
        keyslots.add_slot(store, repository, key, passphrase, label=label, created_ns=now_ns, kdf=kdf)
        made = InitResult(repository, tuple(seed_to_words(seed)), enroll_host(owner, host_name, created_ns=now_ns))
        keep(made)
        put_header(owner)
    except SeedcornError:
        _remove_beginnings(store)
        raise
    return made


def _remove_beginnings(store: Store) -> None:
    """Take away what an ``initialize`` that failed has put: nobody has the words for it. Nothing else was there before."""
    with suppress(SeedcornError):
        store.delete([info.key for room in ("keys/", "hosts/") for info in store.list(room)])


def repository_id(store: Store) -> RepositoryId:
    """Which repository this is, as its header claims.

    Raises:
        RepositoryNotFoundError: none there.
    """
    return read_header(store).repository


def open_state(folder: Path, repository: RepositoryId) -> State:
    """The local state of one repository; ``folder`` holds those of all."""
    return State(folder / repository.hex(), repository)


def open_host(store: Store, host_file: HostFile) -> HostRepository:
    """Open for backing up."""
    return open_host_with(store, lambda _: host_file)


def open_host_with(store: Store, find_host_file: Callable[[RepositoryId], HostFile]) -> HostRepository:
    """Open for backing up with the host file that ``find_host_file`` gives for the repository that is there."""
    signed = read_header(store)
    host_file = find_host_file(signed.repository)
    return open_as_host(store, signed, host_file.key, host_file.name)


def open_owner(store: Store, passphrase: str) -> OwnerRepository:
    """Open for reading, by passphrase.

    Raises:
        CredentialError: it opens no key slot.
    """
    return open_owner_with(store, lambda: passphrase)


def open_owner_with(store: Store, ask_passphrase: Callable[[], str]) -> OwnerRepository:
    """Open for reading; the passphrase is asked for once a repository has been found.

    Raises:
        CredentialError: it opens no key slot.
    """
    signed = read_header(store)
    return open_as_owner(store, signed, keyslots.open_with_passphrase(store, signed.repository, signed.header.owner_sign_public, ask_passphrase()))


def open_owner_with_words(store: Store, words: str) -> OwnerRepository:
    """Open for reading, by the 24 recovery words.

    Raises:
        CredentialError: not the words of this repository.
    """
    return open_as_owner(store, read_header(store), words_to_seed(words))


def open_maintainer(store: Store, file: MaintainFile) -> MaintainRepository:
    """Open for forgetting and pruning.

    Raises:
        CredentialError: the maintain file is another repository's.
    """
    return open_as_maintainer(store, read_header(store), file)


def maintain_file(owner: OwnerRepository) -> MaintainFile:
    """What lets a machine forget and prune, with the index key of every dedup domain that there is now.

    Raises:
        IntegrityError: a host record is damaged, and nobody knows which domain it names.
    """
    known = registry(owner)
    for problem in known.problems:
        raise problem
    return MaintainFile.of(owner, known.domains)


# -- key slots -------------------------------------------------------------------------------------------------------------------------------


def keys(store: Store) -> tuple[list[KeySlot], list[IntegrityError]]:
    """The key slots, oldest first, and what is wrong with those that are damaged. Needs no secret."""
    signed = read_header(store)
    return keyslots.read_slots(store, signed.repository, signed.header.owner_sign_public)


def add_key(owner: OwnerRepository, passphrase: str, label: str, clock: Clock, *, kdf: KdfParameters | None = None) -> SlotId:
    """One more passphrase for the same repository."""
    return keyslots.add_slot(owner.store, owner.repository, owner.key, passphrase, label=label, created_ns=clock.now_ns(), kdf=kdf)


def remove_key(owner: OwnerRepository, slot_prefix: str) -> SlotId:
    """Remove the slot whose id starts with ``slot_prefix``, a damaged one too. Whoever opened it before may still know the seed.

    Raises:
        UsageError: there is none or there are several, or it is the last good one.
    """
    return keyslots.remove_slot(owner.store, owner.repository, owner.key.public.owner_sign, slot_prefix)


def recover_key(store: Store, words: str, passphrase: str, label: str, clock: Clock, *, kdf: KdfParameters | None = None) -> SlotId:
    """Make a new passphrase slot from the recovery words and the store alone."""
    return add_key(open_owner_with_words(store, words), passphrase, label, clock, kdf=kdf)


# -- hosts -----------------------------------------------------------------------------------------------------------------------------------


def registry(owner: OwnerRepository, state: State | None = None) -> HostRegistry:
    """Every enrolled host with its name."""
    return load_registry(owner.store, owner.repository, owner.key.public, state=state, reader=owner)


def list_hosts(owner: OwnerRepository, state: State) -> list[tuple[EnrolledHost, int]]:
    """(host, number of its newest good snapshot, 0 if none), by name. What has only the name of a snapshot may be anything."""
    known = registry(owner, state)
    newest = {ref.host: ref.seq for ref in sorted(root.ref for root in RootsReader(owner, state, checkpoints=False).read(known).snapshots)}
    return sorted(((host, newest.get(host.host, 0)) for host in known.hosts.values()), key=lambda pair: (pair[0].name, pair[0].host))


def add_host(owner: OwnerRepository, name: str, clock: Clock, *, domain: str | None = None) -> HostFile:
    """Enrol a host in a dedup domain (see ``choose_domain``). The returned file is the only copy of its signing key.

    Raises:
        UsageError: an enrolled host has that name, or there is no such domain.
        SeedcornError: the domain was to be new, and somebody else has begun it at the same moment.
    """
    known = registry(owner)
    for host in known.hosts.values():
        if host.name == name and not host.revoked:
            raise UsageError(
                f"there is a host named {name} already: choose another name. If it needs a new host file: `seedcorn host move {name} --domain "
                f"{host.domain} --out FILE`; if that machine is gone: `seedcorn host revoke {name}` first"
            )
    made = enroll_host(owner, name, created_ns=clock.now_ns(), domain=choose_domain(known, domain), others=known.recorded)
    return _in_its_domain(owner, made, domain)


def move(owner: OwnerRepository, name_or_id: str, clock: Clock, *, domain: str) -> HostFile:
    """Put a host in a dedup domain: it gets a new file, and the old one is refused. What it has backed up stays where and what it is.

    Raises:
        UsageError: there is no such host or domain, or the host has been revoked.
        SeedcornError: as of ``add_host``.
    """
    known = registry(owner)
    made = move_host(owner, host_called(name_or_id, known), created_ns=clock.now_ns(), domain=choose_domain(known, domain))
    return _in_its_domain(owner, made, domain)


def _in_its_domain(owner: OwnerRepository, made: HostFile, wanted: str | None) -> HostFile:
    if wanted == NEW_DOMAIN:
        refuse_shared(registry(owner), made.key.host, made.name, made.key.secrets.domain)
    return made


def find_host(owner: OwnerRepository, name_or_id: str) -> EnrolledHost:
    """The host of that name, else the one whose id starts with it.

    Raises:
        UsageError: none or several.
    """
    return host_called(name_or_id, registry(owner))


def host_called(name_or_id: str, registry: HostRegistry) -> EnrolledHost:
    """As ``find_host``, among hosts that are known. Of several with that name the one that has not been revoked.

    Raises:
        UsageError: none or several.
    """
    hosts = registry.hosts
    named = [host for host in hosts.values() if host.name == name_or_id]
    current = [host for host in named if not host.revoked] or named
    if len(current) == 1:
        return current[0]
    try:
        return hosts[match_prefix(name_or_id, hosts, noun="host")]  # type: ignore[index]  # the ids come from hosts
    except UsageError as error:
        raise UsageError(f"no host is named {name_or_id!r}, and {error}") from error


def match_hosts(references: Iterable[str], registry: HostRegistry, names: Mapping[bytes, str]) -> set[bytes]:
    """The hosts that are meant by names, as far as those are known, or by the beginnings of their ids. A name may be that of several.

    Raises:
        UsageError: no host is.
    """
    found: set[bytes] = set()
    for reference in references:
        named = {host for host, name in names.items() if name == reference}
        found |= named or {match_prefix(reference, registry.hosts, noun="host")}
    return found


def host_policy(host: EnrolledHost, bucket: str, prefix: str) -> dict[str, object]:
    """The IAM policy for the store credential of one host: it can add objects of its own, overwrite and delete nothing, and read no pack or snapshot.
    Nor can it add what the store gives nobody but the host, or nobody at once: encrypted there under a key of the host's, or archived.

    docs/threat-model.md, "The store".
    """
    base = f"{prefix}/" if prefix else ""
    own = host.host.hex()
    bucket_arn = f"arn:aws:s3:::{bucket}"
    rooms = [f"{base}{room}/{own}/*" for room in ("packs", "index", "snapshots", "receipts", "checkpoints")]
    written = [f"{bucket_arn}/{room}" for room in rooms]
    written.append(f"{bucket_arn}/{base}doctor/*")
    read = [f"{bucket_arn}/{base}{name}" for name in ("seedcorn.json", "hosts/*", "index/*", "verified/*", "gc/*", "doctor/*")]
    read += [f"{bucket_arn}/{base}spares/{room}/*" for room in ("hosts", "verified", "gc")]
    listed = [f"{base}{room}/*" for room in ("hosts", "index", "snapshots", "verified", "gc", "doctor")]
    unfetchable = ("server-side-encryption-customer-algorithm", "server-side-encryption-aws-kms-key-id", "storage-class")
    listed += rooms  # what has become of a put whose answer was lost is known from a listing alone, and `backup --force` asks which packs are left
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AddOwnObjectsOnce",
                "Effect": "Allow",
                "Action": "s3:PutObject",
                "Resource": written,
                "Condition": {"Null": {"s3:if-none-match": "false"} | {f"s3:x-amz-{header}": "true" for header in unfetchable}},
            },
            {"Sid": "ReadWhatHostsMay", "Effect": "Allow", "Action": "s3:GetObject", "Resource": read},
            {
                "Sid": "ListByPrefix",
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": bucket_arn,
                "Condition": {"StringLike": {"s3:prefix": listed}},
            },
        ],
    }
