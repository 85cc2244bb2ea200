"""A repository opened by a maintainer: can tell what is needed and remove the rest, and can read no name and no content. And the file that makes one.

Owns the maintain file's form. Invariant: the header's public keys are compared with the pinned ones, as a host does. docs/format.md, section "Host
file and maintain file".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from seedcorn.crypto.keys import MaintainKey
from seedcorn.crypto.primitives import KEY_BYTES
from seedcorn.errors import CredentialError, IntegrityError
from seedcorn.format.header import Header
from seedcorn.ids import RepositoryId
from seedcorn.repo.repository import OwnerRepository, SignedHeader, parse_public_keys, public_key_fields
from seedcorn.store.api import Store

__all__ = ["MaintainFile", "MaintainRepository", "maintained_by_owner", "open_as_maintainer"]


@dataclass(frozen=True, slots=True)
class MaintainRepository:
    """A repository opened for forgetting and pruning. ``index_key`` gives the key of the segments of a domain, or raises."""

    store: Store
    header: Header
    key: MaintainKey
    index_key: Callable[[int], bytes]

    @property
    def repository(self) -> RepositoryId:
        return self.key.repository


@dataclass(frozen=True, slots=True)
class MaintainFile:
    """What a maintaining machine keeps, mode 0600. ``index_keys`` by domain."""

    key: MaintainKey
    url: str
    index_keys: Mapping[int, bytes] = field(repr=False)

    @staticmethod
    def of(owner: OwnerRepository, domains: Iterable[int]) -> MaintainFile:
        """The file of the owner's maintainers; ``domains`` are those that hosts are or have been in."""
        return MaintainFile(owner.key.maintain_key(), owner.store.url, {domain: owner.key.index_key(domain) for domain in sorted(domains)})

    def index_key(self, domain: int) -> bytes:
        """The index key of one domain.

        Raises:
            CredentialError: it is not in this file. A maintainer who did not see a part of the index would take its packs for garbage.
        """
        try:
            return self.index_keys[domain]
        except KeyError:
            raise CredentialError(
                f"this maintain file has no key for domain {domain}, which is newer than it: get a new one with `seedcorn key export-maintain`"
            ) from None

    def serialize(self) -> bytes:
        fields = {
            "seedcorn_maintainer": 1,
            "repository": self.key.repository.hex(),
            "url": self.url,
            "maintain_kem_private": self.key.kem_private.hex(),
            "maintain_sign_private": self.key.sign_private.hex(),
            **public_key_fields(self.key.public),
            "index": {str(domain): key.hex() for domain, key in self.index_keys.items()},
        }
        return json.dumps(fields, indent=1).encode("ascii") + b"\n"

    @staticmethod
    def parse(data: bytes, *, source: str) -> MaintainFile:
        """Raises:
        CredentialError: not a maintain file of a version that this program knows; ``source`` is named.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
            if fields["seedcorn_maintainer"] != 1:
                raise CredentialError(f"{source} is a maintain file of version {fields['seedcorn_maintainer']}; a newer seedcorn may read it")
            raw = {name: bytes.fromhex(fields[name]) for name in ("repository", "maintain_kem_private", "maintain_sign_private")}
            public = parse_public_keys(fields)
            key = MaintainKey(RepositoryId(raw["repository"]), public, raw["maintain_kem_private"], raw["maintain_sign_private"])
            index_keys = {int(domain): bytes.fromhex(value) for domain, value in fields["index"].items()}
            if any(len(index_key) != KEY_BYTES for index_key in index_keys.values()):
                raise CredentialError(f"{source} has an index key of the wrong length")
            return MaintainFile(key, str(fields["url"]), index_keys)
        except (ValueError, KeyError, TypeError, AttributeError, IntegrityError) as error:
            raise CredentialError(f"{source} is not a maintain file ({error!r}); get a new one with `seedcorn key export-maintain`") from error


def maintained_by_owner(owner: OwnerRepository) -> MaintainRepository:
    """The owner may do all that a maintainer may."""
    return MaintainRepository(owner.store, owner.header, owner.key.maintain_key(), owner.key.index_key)


def open_as_maintainer(store: Store, signed: SignedHeader, file: MaintainFile) -> MaintainRepository:
    """Open with a maintain file.

    Raises:
        CredentialError: it is another repository's.
        IntegrityError: the header does not carry the owner's signature, or keys other than the pinned ones.
    """
    if signed.repository != file.key.repository:
        raise CredentialError(
            f"this maintain file belongs to repository {file.key.repository.hex()[:12]}, but {store.url} is {signed.header.repository[:12]}"
        )
    signed.verify(file.key.public)
    return MaintainRepository(store, signed.header, file.key, file.index_key)
