"""Enrolment, revocation, host files; passphrases and their slots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.collections.interrupted import BeforePutStore

from seedcorn.crypto import primitives
from seedcorn.errors import CredentialError, IntegrityError, RepositoryNotFoundError, SeedcornError, UsageError
from seedcorn.events import SystemClock
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.header import HostPublic, SlotPublic
from seedcorn.format.names import slot_key, snapshot_key
from seedcorn.ids import RANDOM_ID_BYTES, SlotId, SnapshotId
from seedcorn.ops import access
from seedcorn.repo import keyslots
from seedcorn.repo.bindings import signature_binding
from seedcorn.repo.hosts import HostFile, enroll_host, load_registry
from seedcorn.repo.repository import OwnerRepository
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import PASSPHRASE, SmallRepository, cheap_kdf, make_tree

CLOCK = SystemClock()


def test_a_host_file_comes_back(repository: SmallRepository) -> None:
    file = repository.made.host_file
    parsed = HostFile.parse(file.serialize(), source="x")
    assert (parsed.key, parsed.name, parsed.url) == (file.key, "alpha", "memory://")
    assert access.open_host(repository.store, parsed).host == file.key.host


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"seedcorn_host": 2}', b'{"seedcorn_host": 1, "repository": 7}'])
def test_what_is_no_host_file_is_named(data: bytes) -> None:
    with pytest.raises(CredentialError, match="the file"):
        HostFile.parse(data, source="the file")


@pytest.mark.parametrize("change", [{"host_sign": "00"}, {"cut": "zz"}, {"read_kem": None}, {"domain": "x"}, {"index": 5}])
def test_a_host_file_with_a_wrong_field(change: dict[str, object], repository: SmallRepository) -> None:
    fields = json.loads(repository.made.host_file.serialize()) | change
    with pytest.raises(CredentialError, match="the file"):
        HostFile.parse(json.dumps(fields).encode(), source="the file")


def test_secrets_do_not_show(repository: SmallRepository) -> None:
    file = repository.made.host_file
    shown = repr(file) + repr(repository.owner())
    assert file.key.sign_private.hex() not in shown
    assert repr(file.key.sign_private) not in shown
    assert repr(file.key.secrets.index_key) not in shown


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256, "\x1b[2J"])
def test_names_that_a_host_can_not_have(name: str, repository: SmallRepository) -> None:
    with pytest.raises(UsageError):
        enroll_host(repository.owner(), name, created_ns=0)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_host_whose_sessions_would_pass_for_anothers_is_not_enrolled(
    is_damaged: bool, repository: SmallRepository, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = [key for key in store.objects if key.startswith("hosts/")]
    if is_damaged:
        store.objects[key] = flip_byte(store.objects[key], 40)
    first, draw = repository.made.host_file.key.host, primitives.random_bytes
    with monkeypatch.context() as patch:
        patch.setattr(primitives, "random_bytes", lambda size: first[:8] + b"another." if size == RANDOM_ID_BYTES else draw(size))
        with pytest.raises(SeedcornError, match="try again"):
            access.add_host(repository.owner(), "beta", CLOCK)
    assert [key] == [key for key in store.objects if key.startswith("hosts/")]
    access.add_host(repository.owner(), "beta", CLOCK)


def test_names_are_for_the_owner_only(repository: SmallRepository) -> None:
    owner = repository.owner()
    assert [host.name for host in load_registry(owner.store, owner.repository, owner.key.public).hosts.values()] == [""]
    assert [host.name for host in access.registry(owner).hosts.values()] == ["alpha"]


def test_the_last_record_rules(repository: SmallRepository) -> None:
    repository.revoke("alpha")
    (host,) = access.registry(repository.owner()).hosts.values()
    assert host.revoked
    with pytest.raises(UsageError, match="already"):
        repository.revoke("alpha")


# -- domains ---------------------------------------------------------------------------------------------------------------------------------


def test_a_moved_host_is_the_same_host_with_another_key(repository: SmallRepository) -> None:
    before = repository.first.host_file
    for domain in (1, 2):
        repository.move(repository.first, "new")
        after = repository.first.host_file
        (host,) = access.registry(repository.owner()).hosts.values()
        assert (host.host, host.name, host.revoked, host.domain) == (before.key.host, "alpha", False, domain)
        assert (after.key.host, after.name, after.url) == (before.key.host, before.name, before.url)
        assert after.key.secrets == repository.owner().key.domain(domain)
        assert host.public.sign_public == after.key.sign_public != before.key.sign_public
    assert host.domains == {0, 1, 2}
    assert host.sign_publics[0] == after.key.sign_public and host.sign_publics[-1] == before.key.sign_public
    assert access.registry(repository.owner()).domains == {0, 1, 2}
    for _ in range(2):  # back, and a new file for where it is
        repository.move(repository.first, "0")
    (host,) = access.registry(repository.owner()).hosts.values()
    assert (host.domain, sorted(host.domains), len(set(host.sign_publics))) == (0, [0, 1, 2], 5)


def test_a_host_that_can_not_be_moved(repository: SmallRepository) -> None:
    owner = repository.owner()
    with pytest.raises(UsageError, match="no host is named"):
        access.move(owner, "nobody", CLOCK, domain="new")
    with pytest.raises(UsageError, match="there is no domain"):
        access.move(owner, "alpha", CLOCK, domain="7")
    repository.revoke("alpha")
    with pytest.raises(UsageError, match="host add"):
        access.move(owner, "alpha", CLOCK, domain="new")


@pytest.mark.parametrize("act", ["add", "move"])
def test_two_owners_who_begin_a_domain_at_the_same_moment(act: str, repository: SmallRepository, store: MemoryStore) -> None:
    """The one who has put a record and then sees the other's is told; both may be."""
    machine = repository.machine("mover")

    def begin(owner: OwnerRepository) -> HostFile:
        if act == "add":
            return access.add_host(owner, "added", CLOCK, domain="new")
        return access.move(owner, "mover", CLOCK, domain="new")

    meanwhile = BeforePutStore(store, "hosts/", lambda: access.move(repository.owner(), "alpha", CLOCK, domain="new"))
    with pytest.raises(SeedcornError, match=r"domain 1 is not new.*host move (added|mover) --domain new"):
        begin(repository.owner(meanwhile))
    again = access.move(repository.owner(), "added" if act == "add" else "mover", CLOCK, domain="new")
    assert again.key.secrets.domain == 2
    assert machine.host_file.key.secrets.domain == 0


def test_what_a_host_has_backed_up_is_counted_by_what_it_has_signed(repository: SmallRepository, store: MemoryStore, tmp_path: Path) -> None:
    repository.backup(make_tree(tmp_path / "tree", {"f": b"content"}))
    store.put(snapshot_key(repository.first.host_file.key.host, 1_000_000, SnapshotId(bytes(32))), b"garbage")
    ((host, newest),) = access.list_hosts(repository.owner(), repository.new_state())
    assert (host.name, newest) == ("alpha", 1)


def test_a_moved_host_can_be_revoked(repository: SmallRepository) -> None:
    repository.move(repository.first, "new")
    repository.revoke("alpha")
    (host,) = access.registry(repository.owner()).hosts.values()
    assert (host.revoked, host.domain, sorted(host.domains)) == (True, 1, [0, 1])


def test_a_record_from_before_there_were_domains(repository: SmallRepository) -> None:
    (host,) = access.registry(repository.owner()).hosts.values()
    *fields, domain, former = decode(encode(host.public), list[Any])
    assert (domain, former) == (0, [])
    assert decode(encode(fields), HostPublic) == host.public


def test_whatever_a_host_has_signed_is_its_own(repository: SmallRepository) -> None:
    files = [repository.first.host_file]
    repository.move(repository.first, "new")
    files.append(repository.first.host_file)
    stranger = repository.machine("beta", domain="0").host_file
    registry = access.registry(repository.owner())

    def verify(signer: HostFile) -> None:
        data = Envelope.build(Magic.RECEIPT, [b"what was signed"])
        envelope = Envelope.parse(Magic.RECEIPT, data + signer.key.sign(signature_binding(Magic.RECEIPT) + data))
        registry.verify(Magic.RECEIPT, files[0].key.host, envelope)

    for file in files:
        verify(file)
    with pytest.raises(IntegrityError, match="signature"):
        verify(stranger)


# -- records ---------------------------------------------------------------------------------------------------------------------------------


def test_a_record_of_another_owner_is_refused(repository: SmallRepository, store: MemoryStore, trusting: SmallRepository) -> None:
    planted, data = next((key, data) for key, data in trusting.store.objects.items() if key.startswith("hosts/"))  # type: ignore[attr-defined]
    store.put(planted, data)
    registry = access.registry(repository.owner())
    assert [host.name for host in registry.hosts.values()] == ["alpha"]
    assert [problem.object_name for problem in registry.problems] == [planted]


def test_a_damaged_record_is_not_kept_by_the_state(repository: SmallRepository, store: MemoryStore) -> None:
    key = next(key for key in store.objects if key.startswith("hosts/"))
    good = store.objects[key]
    store.objects[key] = flip_byte(good, 200)
    state = repository.new_state()
    assert access.registry(repository.owner(), state).hosts == {}
    store.objects[key] = good
    assert len(access.registry(repository.owner(), state).hosts) == 1


def test_another_repositorys_host_file_is_refused(repository: SmallRepository, trusting: SmallRepository) -> None:
    with pytest.raises(CredentialError, match="belongs"):
        access.open_host(repository.store, trusting.made.host_file)


def test_a_header_with_other_keys_is_refused_by_a_host(store: MemoryStore, repository: SmallRepository) -> None:
    """The operator of the store makes a repository of its own under the same id."""
    text = store.objects["seedcorn.json"].decode()
    fields = json.loads(text)
    fields["seedcorn"]["read_kem"] = "00" * 1216
    store.objects["seedcorn.json"] = json.dumps(fields).encode()
    with pytest.raises(IntegrityError, match=r"seedcorn\.json"):
        access.open_host(store, repository.made.host_file)
    with pytest.raises(IntegrityError, match=r"seedcorn\.json"):
        repository.owner()


def test_no_repository(store: MemoryStore) -> None:
    with pytest.raises(RepositoryNotFoundError):
        access.repository_id(MemoryStore())


# -- key slots -------------------------------------------------------------------------------------------------------------------------------


def test_several_passphrases(repository: SmallRepository) -> None:
    slot = access.add_key(repository.owner(), "second", "for the safe", CLOCK, kdf=cheap_kdf())
    assert [key.public.label for key in access.keys(repository.store)[0]] == [access.INITIAL_LABEL, "for the safe"]
    seeds = {access.open_owner(repository.store, passphrase).key.seed for passphrase in (PASSPHRASE, "second")}
    assert seeds == {repository.owner().key.seed}
    access.remove_key(repository.owner(), slot.hex()[:8])
    with pytest.raises(CredentialError):
        access.open_owner(repository.store, "second")
    access.open_owner(repository.store, PASSPHRASE)


def test_the_last_slot_stays(repository: SmallRepository) -> None:
    ((slot,), _) = access.keys(repository.store)
    with pytest.raises(UsageError, match="last"):
        access.remove_key(repository.owner(), slot.slot.hex())


def test_without_a_slot_the_words_open_it(repository: SmallRepository, store: MemoryStore) -> None:
    for key in [key for key in store.objects if key.startswith("keys/")]:
        del store.objects[key]
    with pytest.raises(CredentialError, match="recovery words"):
        access.open_owner(store, PASSPHRASE)
    access.recover_key(store, repository.words, "new", "after the loss", CLOCK, kdf=cheap_kdf())
    assert access.open_owner(store, "new").repository == repository.made.repository


def test_a_slot_of_another_repository_is_refused(repository: SmallRepository, store: MemoryStore, trusting: SmallRepository) -> None:
    planted, data = next((key, data) for key, data in trusting.store.objects.items() if key.startswith("keys/"))  # type: ignore[attr-defined]
    store.put(planted, data)
    _, problems = keyslots.read_slots(store, repository.made.repository, repository.owner().key.public.owner_sign)
    assert [problem.object_name for problem in problems] == [planted]
    access.open_owner(store, PASSPHRASE)


def test_a_damaged_slot_can_be_removed_by_what_is_said_of_it(repository: SmallRepository, store: MemoryStore) -> None:
    slot = access.add_key(repository.owner(), "second", "", CLOCK, kdf=cheap_kdf())
    data = bytearray(store.get(slot_key(slot)))
    data[-1] ^= 1
    store.objects[slot_key(slot)] = bytes(data)
    good, (problem,) = access.keys(store)
    assert len(good) == 1 and f"`seedcorn key remove {slot.hex()}`" in problem.message
    with pytest.raises(UsageError, match="last"):  # of the good ones
        access.remove_key(repository.owner(), good[0].slot.hex())
    assert access.remove_key(repository.owner(), slot.hex()) == slot
    assert access.keys(store)[1] == []


def _signed(repository: SmallRepository, parts: list[bytes]) -> bytes:
    body = Envelope.build(Magic.SLOT, parts)
    return body + repository.owner().key.sign(signature_binding(Magic.SLOT) + body)


def test_a_slot_that_the_owner_did_not_sign_is_not_tried(repository: SmallRepository, store: MemoryStore) -> None:
    key = next(key for key in store.objects if key.startswith("keys/"))
    data = bytearray(store.get(key))
    data[-100] ^= 1  # in the sealed seed: without a signature this would look like a wrong passphrase
    store.delete([key])
    store.put(key, data)
    with pytest.raises(IntegrityError, match=key):
        access.open_owner(store, PASSPHRASE)


def test_a_slot_with_hostile_parameters_costs_nothing(repository: SmallRepository, store: MemoryStore) -> None:
    """4 TiB of memory asked for, even with the owner's signature: refused before deriving, and the good slot opens all the same."""
    hostile = SlotPublic(repository.made.repository, bytes(16), "passphrase", "x", 0, "argon2id", 1 << 32, 1 << 30, 1 << 30, bytes(16))
    store.put(slot_key(SlotId(bytes(16))), _signed(repository, [encode(hostile), bytes(48)]))
    access.open_owner(store, PASSPHRASE)
    with pytest.raises(IntegrityError, match="keys/00000000"):
        access.open_owner(store, "wrong")


def test_a_slot_of_a_future_method_is_passed_over(repository: SmallRepository, store: MemoryStore) -> None:
    future = SlotPublic(repository.made.repository, bytes(16), "security-key", "x", 0, "none", 0, 0, 0, b"")
    store.put(slot_key(SlotId(bytes(16))), _signed(repository, [encode(future), bytes(5)]))
    access.open_owner(store, PASSPHRASE)
    assert len(access.keys(store)[0]) == 2


def test_what_lies_beside_key_slots_is_ignored(repository: SmallRepository) -> None:
    """docs/format.md, "Objects": a program ignores keys that it does not know."""
    owner = repository.owner()
    for key in ("keys/readme.txt", f"keys/{'ab' * 17}", "keys/ab/cd"):
        owner.store.put(key, b"not of this program")
    slots, problems = keyslots.read_slots(owner.store, owner.repository, owner.key.public.owner_sign)
    assert (len(slots), problems) == (1, [])
