"""repo/roots/roots.py, forgetting.py, maintenance.py: who is a root, which record rules, and what a maintain file opens."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from seedcorn.crypto.keys import OwnerKey, new_owner_seed, new_session_id
from seedcorn.crypto.primitives import object_hash
from seedcorn.errors import CredentialError, IntegrityError
from seedcorn.format.collection import CheckpointMaintain, CollectionRecord, ForgetRecord, SnapshotRef, Stage
from seedcorn.format.names import checkpoint_key, forget_key
from seedcorn.ids import RepositoryId, SessionId
from seedcorn.ops import access
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.maintenance import MaintainFile, maintained_by_owner
from seedcorn.repo.roots.checkpoints import build_checkpoint
from seedcorn.repo.roots.collections import build_collection
from seedcorn.repo.roots.forgetting import ForgetLog, build_forget, read_forget_log
from seedcorn.repo.roots.receipts import build_receipt
from seedcorn.repo.roots.roots import Roots, RootsReader, Standing
from seedcorn.store.wrappers import RecordingStore
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree


def roots(repository: SmallRepository) -> Roots:
    maintainer = maintained_by_owner(repository.owner())
    registry = load_registry(repository.store, maintainer.repository, maintainer.key.public)
    return RootsReader(maintainer, repository.new_state()).read(registry)


def standings(repository: SmallRepository) -> list[Standing]:
    return [snapshot.standing for snapshot in roots(repository).snapshots]


def unconfirm(store: MemoryStore, number: int) -> None:
    (key,) = [key for key in store.objects if key.startswith("receipts/") and f"/{number:010d}-" in key]
    del store.objects[key]


@pytest.fixture
def three(repository: SmallRepository, tmp_path: Path) -> SmallRepository:
    """Three snapshots of one group."""
    tree = make_tree(tmp_path / "tree", {"file": os.urandom(2_000)})
    for _ in range(3):
        repository.backup(tree)
    return repository


# -- roots -----------------------------------------------------------------------------------------------------------------------------------


def test_standings_by_receipts(three: SmallRepository, store: MemoryStore) -> None:
    assert standings(three) == [Standing.CONFIRMED] * 3
    unconfirm(store, 1)
    unconfirm(store, 3)
    assert standings(three) == [Standing.SUPERSEDED, Standing.CONFIRMED, Standing.UNCONFIRMED]
    (second,) = [snapshot for snapshot in roots(three).snapshots if snapshot.ref.seq == 2]
    store.put(*build_receipt(three.first.repository, 2, second.id, void=True))
    assert standings(three) == [Standing.UNCONFIRMED, Standing.VOID, Standing.UNCONFIRMED]


def test_another_group_does_not_supersede(three: SmallRepository, store: MemoryStore, tmp_path: Path) -> None:
    unconfirm(store, 3)
    three.backup(make_tree(tmp_path / "other", {"file": b"x"}))
    assert standings(three)[2:] == [Standing.UNCONFIRMED, Standing.CONFIRMED]


def test_a_checkpoint_is_a_root_until_its_session_or_a_later_one_has_ended(three: SmallRepository, store: MemoryStore, tmp_path: Path) -> None:
    found = roots(three)
    group, ended = found.snapshots[0].maintain.group, SessionId(found.snapshots[0].public.session)
    running = new_session_id(three.first.host_file.key.host)
    for session, of_group, numbers in ((running, group, 2), (ended, b"another group...", 1)):
        for number in range(1, numbers + 1):
            maintain = CheckpointMaintain(0, of_group, found.snapshots[0].maintain.needed)
            store.put(*build_checkpoint(three.first.repository, session, number, maintain))
    by_session = {checkpoint.ref.session: checkpoint for checkpoint in roots(three).checkpoints}
    assert by_session[running].is_root and len(by_session[running].older) == 1
    assert not by_session[ended].is_root
    three.backup(tmp_path / "tree")
    assert not any(checkpoint.is_root for checkpoint in roots(three).checkpoints)


@pytest.mark.parametrize("harm", ["number", "session", "host", "signer", "cut", "session of another"])
def test_a_checkpoint_that_is_not_what_its_name_says(three: SmallRepository, store: MemoryStore, harm: str) -> None:
    found, host = roots(three), three.first.repository
    session, other = new_session_id(host.host), three.machine("beta").repository
    if harm == "session of another":
        session = new_session_id(other.host)
    data = build_checkpoint(other if harm == "signer" else host, session, 1, CheckpointMaintain(0, b"g" * 16, found.snapshots[0].maintain.needed))[1]
    key = checkpoint_key(
        other.host if harm == "host" else host.host, new_session_id(host.host) if harm == "session" else session, 2 if harm == "number" else 1
    )
    store.put(key, data[:-1] if harm == "cut" else data)
    store.put("checkpoints/something", b"")
    found = roots(three)
    assert [(one.key, one.maintain.needed) for one in found.checkpoints] == [(key, ())]  # it may go, and stops nobody
    assert found.problems == ()
    assert [oddity.object_name for oddity in found.oddities] == [key]


def test_each_object_is_opened_once_and_checkpoints_are_read_by_collectors_alone(three: SmallRepository, store: MemoryStore) -> None:
    maintainer = maintained_by_owner(three.owner())
    needed = roots(three).snapshots[0].maintain.needed
    store.put(*build_checkpoint(three.first.repository, new_session_id(three.made.host_file.key.host), 1, CheckpointMaintain(0, b"g" * 16, needed)))
    registry = load_registry(store, maintainer.repository, maintainer.key.public)
    reader = RootsReader(maintainer, three.new_state())
    first = reader.read(registry)
    before = store.requests.get
    assert reader.read(registry) == first
    assert store.requests.get == before
    assert len(first.checkpoints) == 1 and first.problems == ()
    recording = RecordingStore(store)
    found = RootsReader(maintained_by_owner(three.owner(recording)), three.new_state(), checkpoints=False).read(registry)
    assert (found.snapshots, found.checkpoints) == (first.snapshots, ())
    assert [call.key for call in recording.calls if call.verb == "list"] == ["relocations/", "gc/", "forget/", "receipts/", "snapshots/"]


def test_a_sweep_that_is_not_listed_any_more(three: SmallRepository, store: MemoryStore) -> None:
    maintainer = maintained_by_owner(three.owner())
    registry = load_registry(store, maintainer.repository, maintainer.key.public)
    reader = RootsReader(maintainer, three.new_state())
    key, data = build_collection(
        CollectionRecord(repository=maintainer.repository, number=1, collection=b"c" * 8, stage=Stage.SWEEP, relocations=()), maintainer.key.sign
    )
    store.put(key, data)
    assert reader.read(registry).problems == ()
    store.delete([key])
    for _ in range(2):  # and it goes on being said
        problems = reader.read(registry).problems
        assert [(problem.object_name, problem.message) for problem in problems] == [("gc/", "a listing lacks records that are never removed")]


@pytest.mark.parametrize("excuse", ["none", "a void record", "forgotten"])
def test_a_receipt_that_was_seen_and_is_gone(three: SmallRepository, store: MemoryStore, excuse: str) -> None:
    """Without its snapshot. One that was taken back or forgotten may lose its receipt first: a collection that was cut off is no damage."""
    maintainer = maintained_by_owner(three.owner())
    registry = load_registry(store, maintainer.repository, maintainer.key.public)
    reader = RootsReader(maintainer, three.new_state())
    first = reader.read(registry).snapshots[0]
    key, _ = build_receipt(three.first.repository, 1, first.id)
    void, data = build_receipt(three.first.repository, 1, first.id, void=True)
    if excuse == "a void record":
        store.put(void, data)
        assert reader.read(registry).problems == ()
    if excuse == "forgotten":
        store.put(*build_forget(ForgetRecord(maintainer.repository, 1, 0, (first.ref,), ()), maintainer.key.sign))
    store.delete([key, void])
    told = [(problem.object_name, problem.message) for problem in reader.read(registry).problems]
    assert told == ([(key, "has been seen, and is gone although its snapshot is not")] if excuse == "none" else [])


def test_which_standings_are_roots() -> None:
    assert {standing for standing in Standing if standing.is_root} == {Standing.CONFIRMED, Standing.TORN, Standing.UNCONFIRMED}


def test_what_roots_need_and_which_snapshot_is_the_newest(three: SmallRepository, store: MemoryStore) -> None:
    unconfirm(store, 1)  # the others have followed it
    found = roots(three)
    assert [(root.key, needed) for root, needed in found.needs()] == [(root.key, root.maintain.needed) for root in found.snapshots[1:]]
    assert [found.is_newest(root.ref) for root in found.snapshots] == [False, False, True]


def test_a_receipt_whose_snapshot_is_gone_is_told_unless_that_is_explained(three: SmallRepository, store: MemoryStore) -> None:
    gone = roots(three).snapshots[0]
    del store.objects[gone.key]
    ((where, message), *_) = [(problem.object_name, problem.message) for problem in roots(three).problems]
    assert (where, message[:14]) == (gone.key, "has a receipt,")
    maintainer = maintained_by_owner(three.owner())
    store.put(*build_forget(ForgetRecord(maintainer.repository, 1, 0, (gone.ref,), ()), maintainer.key.sign))
    assert roots(three).problems == ()


def test_the_owners_part_stays_sealed(three: SmallRepository) -> None:
    """A maintainer has no method to open it; what is known is what the public and the maintainers' part say."""
    owner = three.owner()
    maintainer = access.open_maintainer(three.store, access.maintain_file(owner))
    assert not hasattr(maintainer.key, "open_read")
    found = RootsReader(maintainer, three.new_state()).read(load_registry(three.store, maintainer.repository, maintainer.key.public))
    assert not found.problems and len(found.snapshots) == 3


# -- forget records --------------------------------------------------------------------------------------------------------------------------


def test_the_last_record_that_names_a_snapshot_rules(three: SmallRepository, store: MemoryStore) -> None:
    maintainer = maintained_by_owner(three.owner())
    refs = [snapshot.ref for snapshot in roots(three).snapshots]

    def put(number: int, forgotten: list[SnapshotRef], taken_back: list[SnapshotRef]) -> None:
        record = ForgetRecord(maintainer.repository, number, 0, tuple(forgotten), tuple(taken_back))
        store.put(*build_forget(record, maintainer.key.sign))

    put(1, refs, [])
    put(3, [], refs[:1])
    put(2, refs[:1], [])  # before the one that takes back
    log = read_forget_log(store, three.new_state(), maintainer.repository, maintainer.key.public)
    assert set(log.forgotten) == set(refs[1:])
    assert log.next_number == 4
    assert standings(three) == [Standing.CONFIRMED, Standing.FORGOTTEN, Standing.FORGOTTEN]
    store.put(*build_forget(ForgetRecord(maintainer.repository, 9, 0, (), tuple(refs)), three.first.host_file.key.sign))
    with pytest.raises(IntegrityError, match="signature"):
        raise read_forget_log(store, three.new_state(), maintainer.repository, maintainer.key.public).problems[0]


@pytest.mark.parametrize("harm", ["number", "repository", "hash", "cut"])
def test_a_record_that_is_not_what_its_name_says(three: SmallRepository, store: MemoryStore, harm: str) -> None:
    maintainer = maintained_by_owner(three.owner())
    first, second, _ = (snapshot.ref for snapshot in roots(three).snapshots)

    def built(number: int, repository: bytes = maintainer.repository) -> tuple[str, bytes]:
        return build_forget(ForgetRecord(repository, number, 0, (first,), ()), maintainer.key.sign)

    name, data = built(5, b"another one....." if harm == "repository" else maintainer.repository)
    key = {"number": forget_key(6, object_hash(data)), "hash": forget_key(5, bytes(32))}.get(harm, name)
    store.put(key, data[:-1] if harm == "cut" else data)
    good = ForgetRecord(maintainer.repository, 7, 0, (second,), ())
    store.put(*build_forget(good, maintainer.key.sign))
    state = three.new_state()
    for _ in range(2):
        log = read_forget_log(store, state, maintainer.repository, maintainer.key.public)
        assert (set(log.forgotten), log.next_number) == ({second}, 8)
        assert [problem.object_name for problem in log.problems] == [key]
    assert state.cached_object(key) is None


def test_when_a_snapshot_was_forgotten_is_said_by_the_store(three: SmallRepository, store: MemoryStore) -> None:
    maintainer = maintained_by_owner(three.owner())
    (ref, *_) = (snapshot.ref for snapshot in roots(three).snapshots)
    key, data = build_forget(ForgetRecord(maintainer.repository, 1, 77, (ref,), ()), maintainer.key.sign)
    store.put(key, data)
    store.put("forget/something", b"")
    state = three.new_state()
    log = read_forget_log(store, state, maintainer.repository, maintainer.key.public)
    assert log.forgotten == {ref: store.head(key).modified_ns}
    before = store.requests.get
    assert read_forget_log(store, state, maintainer.repository, maintainer.key.public) == log
    assert store.requests.get == before
    assert read_forget_log(MemoryStore(), state, maintainer.repository, maintainer.key.public) == ForgetLog({}, 1)


# -- the maintain file -----------------------------------------------------------------------------------------------------------------------


def test_a_maintain_file_is_read_as_it_was_written(repository: SmallRepository) -> None:
    file = access.maintain_file(repository.owner())
    again = MaintainFile.parse(file.serialize(), source="here")
    assert again == file
    assert (file.url, file.serialize()[-2:]) == ("memory://", b"}\n")
    several = MaintainFile.of(repository.owner(), (0, 3))
    assert MaintainFile.parse(several.serialize(), source="here").index_key(3) == repository.owner().key.index_key(3)
    assert again.index_key(0) == repository.owner().key.index_key(0)
    with pytest.raises(CredentialError, match="domain 7"):
        again.index_key(7)
    assert file.key.sign_private.hex() not in repr(file) and file.index_keys[0].hex() not in repr(file)


def test_a_maintain_file_has_the_keys_of_all_domains_that_there_are(repository: SmallRepository, store: MemoryStore) -> None:
    repository.move(repository.machine("beta", domain="new"), "new")
    owner = repository.owner()
    assert access.maintain_file(owner).index_keys == {domain: owner.key.index_key(domain) for domain in range(3)}
    key = next(key for key in store.objects if key.startswith("hosts/"))
    store.objects[key] = flip_byte(store.objects[key], 200)
    with pytest.raises(IntegrityError, match=key):
        access.maintain_file(owner)


@pytest.mark.parametrize("harm", ["seedcorn_maintainer", "maintain_kem_private", "maintain_sign_private", "owner_sign", "index"])
def test_what_is_no_maintain_file(repository: SmallRepository, harm: str) -> None:
    fields = json.loads(access.maintain_file(repository.owner()).serialize())
    for wrong in ("00", 2, None, {"0": "00"}):
        with pytest.raises(CredentialError, match="here"):
            MaintainFile.parse(json.dumps(fields | {harm: wrong}).encode(), source="here")
    two = {"0": "00" * 32, "1": "00" * 31}
    with pytest.raises(CredentialError, match="here has an index key of the wrong length"):
        MaintainFile.parse(json.dumps(fields | {"index": two}).encode(), source="here")
    with pytest.raises(CredentialError, match="here is a maintain file of version 2; a newer seedcorn may read it"):
        MaintainFile.parse(json.dumps(fields | {"seedcorn_maintainer": 2}).encode(), source="here")
    for text in (b"", b"[]", b"{}", b'"x"', repository.first.host_file.serialize()):
        with pytest.raises(CredentialError, match="here"):
            MaintainFile.parse(text, source="here")


def test_a_maintainer_believes_no_header_but_the_owners(repository: SmallRepository) -> None:
    file, store = access.maintain_file(repository.owner()), repository.store
    other = OwnerKey.from_seed(new_owner_seed(), file.key.repository)
    pinned = dataclasses.replace(file, key=dataclasses.replace(file.key, public=other.public))
    with pytest.raises(IntegrityError, match="replaced"):
        access.open_maintainer(store, pinned)
    with pytest.raises(CredentialError, match="belongs to repository"):
        access.open_maintainer(store, dataclasses.replace(file, key=dataclasses.replace(file.key, repository=RepositoryId(b"x" * 16))))
