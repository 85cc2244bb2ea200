"""Capabilities: what each key can do, what it can not, and that none shows its secrets."""

from __future__ import annotations

import dataclasses

import pytest

from seedcorn.crypto import primitives
from seedcorn.crypto.keys import DomainSecrets, HostKey, OwnerKey, OwnerSeed, PublicKeys, new_owner_seed, new_session_id, new_session_key
from seedcorn.errors import CredentialError, IntegrityError
from seedcorn.ids import HostId, RepositoryId, belongs_to

REPOSITORY = RepositoryId(b"r" * 16)
SEED = OwnerSeed(b"s" * 32)
OWNER = OwnerKey.from_seed(SEED, REPOSITORY)
MAINTAINER = OWNER.maintain_key()
HOST = HostKey.create(REPOSITORY, HostId(b"h" * 16), OWNER.public, OWNER.domain(0))
INFO = primitives.context("snapshot-owner", b"part 1")


def test_the_same_seed_gives_the_same_keys() -> None:
    again = OwnerKey.from_seed(SEED, REPOSITORY)
    assert again == OWNER
    assert again.domain(3) == OWNER.domain(3)


def test_keys_are_those_of_the_labels() -> None:
    def derived(label: str, length: int = 32) -> bytes:
        return primitives.derive(SEED, REPOSITORY, label, length)

    assert OWNER.public == PublicKeys(
        owner_sign=primitives.sign_public_key(derived("owner-sign")),
        read_kem=primitives.kem_public_key(derived("read-kem", 96)),
        maintain_kem=primitives.kem_public_key(derived("maintain-kem", 96)),
        maintain_sign=primitives.sign_public_key(derived("maintain-sign")),
    )
    assert OWNER.domain(12) == DomainSecrets(12, *(derived(f"domain/12/{name}") for name in ("chunk-id", "listing-id", "cut", "index")))


def test_another_seed_repository_or_domain_gives_other_keys() -> None:
    others = [OwnerKey.from_seed(new_owner_seed(), REPOSITORY), OwnerKey.from_seed(SEED, RepositoryId(b"q" * 16))]
    for name in ("owner_sign", "read_kem", "maintain_kem", "maintain_sign"):
        assert len({getattr(owner.public, name) for owner in (OWNER, *others)}) == 3
    secrets = [key for owner in (OWNER, *others) for number in (0, 1) for key in dataclasses.astuple(owner.domain(number))[1:]]
    assert len(set(secrets)) == len(secrets) == 24


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(CredentialError, match="32 bytes"):
        OwnerKey.from_seed(OwnerSeed(b"short"), REPOSITORY)


def test_what_a_host_seals_to_the_owner_only_the_owner_opens() -> None:
    sealed = HOST.seal_read(INFO, b"names")
    assert OWNER.open_read(INFO, sealed) == b"names"
    for attempt in (MAINTAINER.open_maintain, OWNER.open_maintain):
        with pytest.raises(IntegrityError):
            attempt(INFO, sealed)
    with pytest.raises(IntegrityError):
        OwnerKey.from_seed(new_owner_seed(), REPOSITORY).open_read(INFO, sealed)


def test_what_a_host_seals_to_maintainers_maintainer_and_owner_open() -> None:
    sealed = HOST.seal_maintain(INFO, b"sizes")
    assert MAINTAINER.open_maintain(INFO, sealed) == OWNER.open_maintain(INFO, sealed) == b"sizes"
    with pytest.raises(IntegrityError):
        OWNER.open_read(INFO, sealed)


def test_sealed_parts_of_one_kind_do_not_pass_for_another() -> None:
    kinds = [primitives.context(label, b"part 1") for label in ("session", "host", "snapshot-owner", "snapshot-maintain")]
    for made in kinds:
        sealed = HOST.seal_read(made, b"x")
        for read in kinds:
            if read == made:
                assert OWNER.open_read(read, sealed) == b"x"
            else:
                with pytest.raises(IntegrityError):
                    OWNER.open_read(read, sealed)


def test_signatures_are_told_apart() -> None:
    signers = {OWNER.public.owner_sign: OWNER.sign, OWNER.public.maintain_sign: MAINTAINER.sign, HOST.sign_public: HOST.sign}
    assert len(signers) == 3
    for signer, sign in signers.items():
        for public in signers:
            if public == signer:
                primitives.verify(public, sign(b"m"), b"m")
            else:
                with pytest.raises(IntegrityError):
                    primitives.verify(public, sign(b"m"), b"m")


def test_a_host_offers_no_way_to_open_and_holds_none() -> None:
    assert [name for name in dir(HostKey) if "open" in name] == []
    held = b"".join(flattened(dataclasses.asdict(HOST)))
    privates = [SEED] + [primitives.derive(SEED, REPOSITORY, label, 96) for label in ("owner-sign", "read-kem", "maintain-kem", "maintain-sign")]
    for private in privates:
        assert not any(private[at : at + 16] in held for at in range(0, len(private), 16))


def test_a_maintainer_can_not_read() -> None:
    assert [name for name in dir(MAINTAINER) if "read" in name or "domain" in name or "seed" in name] == []
    held = b"".join(flattened(dataclasses.asdict(MAINTAINER)))
    for private in (SEED, *(primitives.derive(SEED, REPOSITORY, label, 96) for label in ("owner-sign", "read-kem"))):
        assert not any(private[at : at + 16] in held for at in range(0, len(private), 16))


def flattened(value: object) -> list[bytes]:
    if isinstance(value, dict):
        return [part for inner in value.values() for part in flattened(inner)]
    return [value] if isinstance(value, bytes) else []


def test_hosts_do_not_share_a_signing_key() -> None:
    other = HostKey.create(REPOSITORY, HOST.host, OWNER.public, OWNER.domain(0))
    assert other.sign_public != HOST.sign_public


@pytest.mark.parametrize("key", [OWNER, MAINTAINER, HOST, OWNER.domain(0)], ids=lambda key: type(key).__name__)
def test_no_secret_is_shown(key: object) -> None:
    shown = repr(key) + str(key)
    secrets = [SEED, HOST.sign_private, *dataclasses.astuple(OWNER.domain(0))[1:]]
    secrets += [primitives.derive(SEED, REPOSITORY, label, 96) for label in ("owner-sign", "read-kem", "maintain-kem", "maintain-sign")]
    for secret in secrets:
        for form in (repr(secret[:8])[2:-1], secret[:8].hex()):
            assert form not in shown


@pytest.mark.parametrize("key", [OWNER, MAINTAINER, HOST, OWNER.domain(0), OWNER.public], ids=lambda key: type(key).__name__)
def test_keys_are_frozen(key: object) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(key, dataclasses.fields(key)[0].name, None)  # type: ignore[arg-type]  # every key is a dataclass


def test_keys_of_a_wrong_length_are_refused() -> None:
    with pytest.raises(IntegrityError, match="read_kem"):
        dataclasses.replace(OWNER.public, read_kem=b"")
    with pytest.raises(IntegrityError, match="cut_key"):
        dataclasses.replace(OWNER.domain(0), cut_key=bytes(31))
    with pytest.raises(IntegrityError, match="sign_private"):
        dataclasses.replace(HOST, sign_private=bytes(33))
    for name, length in (("kem_private", 95), ("sign_private", 31)):
        with pytest.raises(IntegrityError, match=f"the key {name} has {length} bytes instead of {length + 1}"):
            dataclasses.replace(MAINTAINER, **{name: bytes(length)})  # type: ignore[arg-type]  # both are bytes


def test_the_index_key_is_that_of_the_domain() -> None:
    assert HOST.index_key(0) == OWNER.index_key(0) == OWNER.domain(0).index_key
    assert HOST.index_key(1) is None
    assert OWNER.index_key(1) == OWNER.domain(1).index_key != OWNER.index_key(0)


def test_public_keys_show_enough_to_compare_them() -> None:
    assert repr(OWNER.public) == f"PublicKeys({OWNER.public.owner_sign.hex()[:16]}…)"
    assert OWNER.public.owner_sign.hex()[:17] not in repr(OWNER.public)


def test_ids_of_content_and_of_listings_differ() -> None:
    secrets = OWNER.domain(0)
    assert len(secrets.chunk_id(b"data")) == len(secrets.listing_id(b"data")) == 24
    assert secrets.chunk_id(b"data") != secrets.listing_id(b"data")
    assert secrets.chunk_id(b"data") == secrets.chunk_id(memoryview(b"data")) != OWNER.domain(1).chunk_id(b"data")


def test_cut_seed_is_the_start_of_the_cut_key() -> None:
    secrets = dataclasses.replace(OWNER.domain(0), cut_key=b"\x01" + bytes(6) + b"\xff" + bytes(24))
    assert secrets.cut_seed == 0xFF00000000000001


def test_session_keys_and_seeds_are_fresh() -> None:
    assert len({new_session_key() for _ in range(100)} | {new_owner_seed() for _ in range(100)}) == 200


def test_session_ids_are_of_their_host_and_never_the_same() -> None:
    host = HostId(bytes(range(16)))
    ids = {new_session_id(host) for _ in range(1000)}
    assert len(ids) == 1000 and all(belongs_to(session, host) for session in ids)
