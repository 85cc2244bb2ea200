"""Bringing the local state up to date with the segments in the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from msgspec.structs import replace

from seedcorn import compression
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.keys import OwnerKey, new_owner_seed, new_session_id
from seedcorn.errors import CredentialError, ForeignSessionError, IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import encode
from seedcorn.format.names import parse_numbered_key
from seedcorn.ids import HostId
from seedcorn.ops import access
from seedcorn.ops.browse import open_browser
from seedcorn.repo import index
from seedcorn.repo.bindings import segment_binding
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.index import VerifiedSegment, next_segment_number, open_segment, seal_segment, sync_state, verify_segment
from seedcorn.repo.state.state import State
from seedcorn.store.api import ObjectInfo
from seedcorn.store.wrappers import RecordingStore, WrappedStore
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import Machine, SmallRepository, make_tree, read_tree


def sync(repository: SmallRepository, state: State, *, only: HostId | None = None) -> list[IntegrityError]:
    owner = repository.owner()
    return sync_state(repository.store, state, owner.repository, owner.key.index_key, access.registry(owner), only=only)


def segments(store: MemoryStore) -> list[str]:
    return sorted(key for key in store.objects if key.startswith("index/"))


@pytest.fixture
def backed_up(repository: SmallRepository, tmp_path: Path) -> SmallRepository:
    """Two sessions of the first machine, one of another."""
    for n in range(2):
        repository.backup(make_tree(tmp_path / "tree", {f"f{n}": os.urandom(5_000)}))
    repository.machine("beta").backup(make_tree(tmp_path / "other", {"g": os.urandom(5_000)}))
    return repository


def test_segments_are_loaded_once(backed_up: SmallRepository, store: MemoryStore) -> None:
    state = backed_up.new_state()
    assert sync(backed_up, state) == []
    assert sorted(state.segments()) == segments(store)
    gets = store.requests.get
    access.registry(backed_up.owner())
    asked_for_nothing_else = store.requests.get - gets
    gets = store.requests.get
    assert sync(backed_up, state) == []
    assert store.requests.get - gets == asked_for_nothing_else


def test_only_one_hosts_segments(backed_up: SmallRepository, store: MemoryStore) -> None:
    state = backed_up.new_state()
    host = backed_up.first.host_file.key.host
    assert sync(backed_up, state, only=host) == []
    assert sorted(state.segments()) == [key for key in segments(store) if host.hex() in key]
    assert sync(backed_up, state) == []
    assert sorted(state.segments()) == segments(store)
    assert sync(backed_up, state, only=host) == []
    assert sorted(state.segments()) == segments(store)


def test_a_segment_that_vanished_begins_the_index_anew(backed_up: SmallRepository, store: MemoryStore) -> None:
    state = backed_up.new_state()
    sync(backed_up, state)
    frames = len(list(state.frames()))
    gone = segments(store)[0]
    del store.objects[gone]
    assert sync(backed_up, state) == []
    assert state.epoch == 1
    assert sorted(state.segments()) == segments(store)
    assert 0 < len(list(state.frames())) < frames


def test_segments_that_vanish_while_they_are_loaded(backed_up: SmallRepository, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maintainers rewrite them, again and again, faster than a slow machine loads them. What is still there is loaded at the first try."""
    state = backed_up.new_state()
    first, *_, last = segments(store)
    rewritten = [f"{first[:-64]}{number:064x}" for number in range(10)]
    real_list = store.list

    def listing(prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        yield from real_list(prefix, after=after)
        if rewritten and prefix == "index/":
            assert not state.segments() or last in state.segments()
            yield ObjectInfo(rewritten.pop(), 100, 0)

    monkeypatch.setattr(store, "list", listing)
    assert sync(backed_up, state) == []
    assert not rewritten
    assert sorted(state.segments()) == segments(store)


def test_a_segment_that_another_process_adds_during_the_listing_is_not_gone(backed_up: SmallRepository, store: MemoryStore) -> None:
    machine, owner = backed_up.first, backed_up.owner()
    host = machine.host_file.key.host

    class Meanwhile(WrappedStore):
        """Another process with the same state puts a segment when the others have been listed."""

        def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
            found = list(super().list(prefix, after=after))
            with closing(machine.writer()) as writer:
                writer.store_content(BytesIO(b"meanwhile").readinto, 9)
                writer.finish()
            return iter(found)

    registry = access.registry(owner)
    assert sync_state(Meanwhile(store), machine.state, owner.repository, owner.key.index_key, registry, only=host) == []
    assert machine.state.segments() == {key for key in segments(store) if host.hex() in key}
    assert machine.state.epoch == 0


def test_a_segment_that_is_listed_and_never_there(backed_up: SmallRepository, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = segments(store)[0]
    absent = ObjectInfo(f"{key[:-64]}{'0' * 64}", 100, 0)
    monkeypatch.setattr(store, "list", lambda prefix, *, after="", real=store.list: [*real(prefix, after=after), absent])
    with pytest.raises(ObjectNotFoundError):
        sync(backed_up, backed_up.new_state())


def test_a_damaged_segment_is_reported_and_the_others_count(backed_up: SmallRepository, store: MemoryStore) -> None:
    key = segments(store)[1]
    store.objects[key] = flip_byte(store.objects[key], 300)
    state = backed_up.new_state()
    (problem,) = sync(backed_up, state)
    assert problem.object_name == key
    assert len(state.segments()) == 2


def test_a_segment_over_its_cap_is_not_fetched(backed_up: SmallRepository, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = segments(store)[0]
    real_list = store.list

    def listing(prefix: str, *, after: str = "") -> object:
        for info in real_list(prefix, after=after):
            yield type(info)(info.key, 1 << 30 if info.key == key else info.size_bytes, info.modified_ns)

    monkeypatch.setattr(store, "list", listing)
    monkeypatch.setattr(store, "get", lambda wanted, get=store.get: pytest.fail("fetched") if wanted == key else get(wanted))
    (problem,) = sync(backed_up, backed_up.new_state())
    assert (problem.object_name, "larger" in problem.message) == (key, True)


def test_whose_signature_counts(backed_up: SmallRepository, store: MemoryStore) -> None:
    """A segment under the name of another host, of an unknown one, or of another number."""
    owner = backed_up.owner()
    registry = access.registry(owner)
    key = segments(store)[0]
    name = parse_numbered_key(key)
    assert name is not None
    data = store.objects[key]
    assert open_segment(data, name, owner.repository, owner.key.index_key, registry).packs
    other = next(host for host in registry.hosts if host != name.host)
    for host, number, reason in (
        (other, name.number, "signature"),
        (HostId(b"?" * 16), name.number, "enrolled"),
        (name.host, name.number + 1, "moved"),
    ):
        with pytest.raises(IntegrityError, match=reason):
            open_segment(data, type(name)(host, number, name.object_id), owner.repository, owner.key.index_key, registry)


def test_names_of_another_form_are_ignored(backed_up: SmallRepository, store: MemoryStore) -> None:
    host = backed_up.first.host_file.key.host.hex()
    for key in ("index/readme", f"index/{host}/1-ab", f"index/{host}/0000000001-{'g' * 64}", "index/zz/0000000001-" + "0" * 64):
        store.put(key, b"junk")
    assert sync(backed_up, backed_up.new_state()) == []


def test_the_number_of_the_next_segment(backed_up: SmallRepository) -> None:
    state = backed_up.new_state()
    host = backed_up.first.host_file.key.host
    assert next_segment_number(state, host) == 1
    sync(backed_up, state)
    assert next_segment_number(state, host) == 3


# -- domains ---------------------------------------------------------------------------------------------------------------------------------


class Pair:
    """Hosts of two domains that have each backed up the same file; every request of theirs is recorded."""

    def __init__(self, repository: SmallRepository, tree: Path) -> None:
        self.repository = repository
        self.tree = make_tree(tree, {"f": os.urandom(5_000)})
        self.store = RecordingStore(repository.store)
        self.first, self.customer = repository.first, repository.machine("customer", domain="new")
        for machine in (self.first, self.customer):
            machine.store = self.store
            machine.backup(self.tree)
        self.keys = {machine: self.keys_of(machine) for machine in (self.first, self.customer)}

    def keys_of(self, machine: Machine) -> set[str]:
        return {info.key for info in self.repository.store.list(f"index/{machine.host_file.key.host.hex()}/")}

    def back_up(self, machine: Machine) -> set[str]:
        """Run a backup; the segments that it fetched."""
        self.store.calls.clear()
        assert not machine.backup(self.tree).problems
        return {call.key for call in self.store.calls if call.verb == "get" and call.key.startswith("index/")}

    def sync_as(self, machine: Machine, state: State) -> None:
        registry = access.registry(self.repository.owner())
        key = machine.host_file.key
        assert sync_state(self.repository.store, state, key.repository, key.index_key, registry, only=None) == []


@pytest.fixture
def pair(repository: SmallRepository, tmp_path: Path) -> Pair:
    return Pair(repository, tmp_path / "tree")


@pytest.mark.parametrize("who", ["first", "customer"])
def test_a_state_that_a_host_has_filled_serves_the_owner(pair: Pair, who: str) -> None:
    state = getattr(pair, who).state
    browser = open_browser(pair.repository.owner(), state)
    assert browser.problems == ()
    assert state.segments() == pair.keys[pair.first] | pair.keys[pair.customer]
    contents = [read_tree(browser, snapshot.id.hex()) for snapshot in browser.snapshots]
    assert len(contents) == 2 and contents[0] == contents[1]


def test_a_host_fetches_nothing_of_hosts_that_were_never_in_its_domain(trusting: SmallRepository, tmp_path: Path) -> None:
    pair = Pair(trusting, tmp_path / "tree")
    assert pair.customer.state.segment_domains().keys() == pair.keys[pair.customer]
    assert pair.back_up(pair.first) == set()
    same = trusting.machine("same", domain="1")
    same.store = pair.store
    assert pair.back_up(same) == pair.keys[pair.customer]


def test_of_a_host_that_was_moved_each_segment_is_fetched_once(pair: Pair) -> None:
    moved = pair.first
    pair.repository.move(moved, "new")
    moved.forget_state()
    old = pair.keys[moved]
    assert pair.back_up(moved) == old
    assert moved.state.segment_domains() == dict.fromkeys(old, 0) | dict.fromkeys(pair.keys_of(moved) - old, 2)
    assert moved.state.segments() == pair.keys_of(moved) - old
    assert pair.back_up(moved) == set()
    assert next_segment_number(moved.state, moved.host_file.key.host) == 1 + len(pair.keys_of(moved))
    browser = open_browser(pair.repository.owner(), moved.state)
    assert browser.problems == ()
    assert moved.state.segments() == pair.keys_of(moved) | pair.keys[pair.customer]
    assert all(read_tree(browser, snapshot.id.hex()) for snapshot in browser.snapshots)


def test_a_host_that_comes_back_to_its_first_domain_finds_what_it_has_there(pair: Pair) -> None:
    moved = pair.first
    pair.repository.move(moved, "new")
    moved.forget_state()
    pair.back_up(moved)
    pair.repository.move(moved, "0")
    before = pair.keys_of(moved)
    assert pair.back_up(moved) == pair.keys[moved]
    assert pair.keys_of(moved) == before  # nothing was stored anew


def test_what_a_host_can_not_load_again_it_does_not_drop(pair: Pair, store: MemoryStore) -> None:
    """Else who reads on the same machine would lose what a maintainer has rewritten, before it can load what has come in its place."""
    state = pair.repository.new_state()
    sync(pair.repository, state)
    (gone,) = pair.keys[pair.first]
    del store.objects[gone]
    pair.sync_as(pair.customer, state)
    assert gone in state.segments()
    sync(pair.repository, state)
    assert gone not in state.segments()
    state.note_closed_segment(gone, 0)
    pair.sync_as(pair.customer, state)
    assert gone not in state.segment_domains()


@pytest.mark.parametrize("domain", [1, 7])
def test_a_segment_of_a_domain_in_which_its_host_has_never_been(domain: int, backed_up: SmallRepository, store: MemoryStore) -> None:
    """Whoever may open it would otherwise be sent for a key, or believe that a host is where the owner never put it."""
    backed_up.machine("customer", domain="new")
    owner, host = backed_up.owner(), backed_up.first.host_file.key
    old = next(key for key in segments(store) if host.host.hex() in key)
    name = parse_numbered_key(old)
    assert name is not None
    opened = open_segment(store.objects[old], name, owner.repository, owner.key.index_key, access.registry(owner))
    key, data = seal_segment(replace(opened.public, domain=domain), opened.packs, owner.key.index_key(domain), host.sign)
    store.put(key, data)
    (problem,) = sync(backed_up, backed_up.new_state())
    assert problem.object_name == key and "has never been" in problem.message


def test_a_segment_does_not_open_without_the_key_of_its_domain(pair: Pair, store: MemoryStore) -> None:
    (key,) = pair.keys[pair.customer]
    name = parse_numbered_key(key)
    assert name is not None
    owner, thief = pair.repository.owner(), pair.first.host_file.key
    registry = access.registry(owner)
    with pytest.raises(CredentialError, match="domain 1"):
        open_segment(store.objects[key], name, owner.repository, thief.index_key, registry)
    verified = verify_segment(store.objects[key], name, owner.repository, registry)
    for secret in (thief.secrets.index_key, thief.secrets.chunk_id_key, thief.secrets.cut_key, bytes(32)):
        with pytest.raises(IntegrityError):
            verified.open(secret)


# -- sessions --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["its host", "the maintainers"])
@pytest.mark.parametrize("place", ["session", "row", "host of a row", "frame"])
def test_a_segment_that_names_another_hosts_session(place: str, who: str, backed_up: SmallRepository, store: MemoryStore) -> None:
    """Whoever has signed it. But for the frames, that is found without the key of its domain."""
    owner, own, other = backed_up.owner(), backed_up.first.host_file.key, backed_up.machine("gamma").host_file.key
    old = next(key for key in segments(store) if own.host.hex() in key)
    name = parse_numbered_key(old)
    assert name is not None
    opened = open_segment(store.objects[old], name, owner.repository, owner.key.index_key, access.registry(owner))
    public, packs, foreign = opened.public, opened.packs, new_session_id(other.host)
    (row,) = public.key_rows
    if place == "session":
        public = replace(public, session=foreign)
    elif place == "row":
        public = replace(public, key_rows=(row, replace(row, session=foreign)))
    elif place == "host of a row":
        public = replace(public, key_rows=(replace(row, host=other.host),))
    else:
        packs = [replace(packs[0], frames=(replace(packs[0].frames[0], session=foreign),)), *packs[1:]]
    sign = own.sign if who == "its host" else owner.key.maintain_key().sign
    key, data = seal_segment(public, packs, owner.key.index_key(0), sign)
    made = parse_numbered_key(key)
    assert made is not None
    if place != "frame":
        with pytest.raises(ForeignSessionError):
            verify_segment(data, made, owner.repository, access.registry(owner))
    store.put(key, data)
    state = backed_up.new_state()
    (problem,) = sync(backed_up, state)
    assert isinstance(problem, ForeignSessionError) and problem.object_name == key
    assert key not in state.segments() and foreign not in {record.session for record in state.sessions().values()}


# -- size ------------------------------------------------------------------------------------------------------------------------------------


def test_a_segment_that_unfolds_to_gigabytes_is_refused(backed_up: SmallRepository, store: MemoryStore) -> None:
    """Frames that hardly differ compress to nothing, and each takes some hundred bytes once it is decoded."""
    owner, host = backed_up.owner(), backed_up.first.host_file.key
    key = next(key for key in segments(store) if host.host.hex() in key)
    name = parse_numbered_key(key)
    assert name is not None
    public = open_segment(store.objects[key], name, owner.repository, owner.key.index_key, access.registry(owner)).public
    public_part = encode(public)
    small = compression.compress(bytes(129 << 20))
    assert len(small) < 1 << 20
    sealed = Sealer(host.secrets.index_key, "segment").seal(small, segment_binding(public_part))
    with pytest.raises(IntegrityError, match="size of at most"):
        VerifiedSegment(public, public_part, sealed).open(host.secrets.index_key)


def test_a_segment_that_nobody_would_read_is_not_made(backed_up: SmallRepository, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, host = backed_up.owner(), backed_up.first.host_file.key
    key = next(key for key in segments(store) if host.host.hex() in key)
    name = parse_numbered_key(key)
    assert name is not None
    opened = open_segment(store.objects[key], name, owner.repository, owner.key.index_key, access.registry(owner))
    monkeypatch.setattr(index, "SEGMENT_RAW_LIMIT_BYTES", 50)
    with pytest.raises(IntegrityError, match="nobody would read"):
        seal_segment(opened.public, opened.packs, host.secrets.index_key, host.sign)


# -- signatures ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["the maintainers", "another owner's maintainers", "another host"])
def test_whose_signature_a_segment_may_have(who: str, backed_up: SmallRepository, store: MemoryStore) -> None:
    owner, stranger = backed_up.owner(), OwnerKey.from_seed(new_owner_seed(), backed_up.made.repository)
    own, other = backed_up.first.host_file.key, backed_up.machine("gamma").host_file.key
    sign = {"the maintainers": owner.key.maintain_key().sign, "another owner's maintainers": stranger.maintain_key().sign, "another host": other.sign}
    registry = access.registry(owner)
    key = next(key for key in segments(store) if own.host.hex() in key)
    name = parse_numbered_key(key)
    assert name
    old = open_segment(store.objects[key], name, owner.repository, owner.key.index_key, registry)
    new_key, data = seal_segment(old.public, old.packs, owner.key.domain(0).index_key, sign[who])
    new_name = parse_numbered_key(new_key)
    assert new_name
    if who == "the maintainers":
        assert open_segment(data, new_name, owner.repository, owner.key.index_key, registry).packs == old.packs
    else:
        with pytest.raises(IntegrityError, match="signature"):
            open_segment(data, new_name, owner.repository, owner.key.index_key, registry)
    without = HostRegistry({}, registry.maintain_sign)
    with pytest.raises(IntegrityError, match="never enrolled"):
        open_segment(data, new_name, owner.repository, owner.key.index_key, without)
