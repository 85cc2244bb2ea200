"""What is missing, forked, replaced or rolled back in the history of a host."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from seedcorn.crypto.primitives import object_hash
from seedcorn.errors import IntegrityError, SeedcornError
from seedcorn.events import SystemClock
from seedcorn.format.codec import Envelope, Magic, decode
from seedcorn.format.snapshot import Head, SnapshotMaintain, SnapshotPublic
from seedcorn.ids import HostId
from seedcorn.ops.browse import Browser
from seedcorn.repo.bindings import snapshot_maintain_binding
from seedcorn.repo.roots.chains import WITNESSED_LIMIT, check_rollback, list_heads, remember_heads, remembered_heads, witnessed
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import Machine, SmallRepository, make_tree

ALPHA, BETA = HostId(b"a" * 16), HostId(b"b" * 16)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree", {"file": os.urandom(2_000)})


def snapshots(store: MemoryStore) -> list[str]:
    return sorted(key for key in store.objects if key.startswith("snapshots/"))


def problems(browser: Browser) -> list[tuple[str, str]]:
    return [(problem.object_name, problem.message) for problem in browser.problems]


def back_up(repository: SmallRepository, tree: Path, times: int) -> None:
    for _ in range(times):
        assert repository.backup(tree).exit_code == 0


def test_a_good_chain(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    back_up(repository, tree, 4)
    browser = repository.browser(fresh=True)
    assert browser.problems == ()
    assert [snapshot.key for snapshot in browser.snapshots] == snapshots(store)
    assert [snapshot.public.seq for snapshot in browser.snapshots] == [1, 2, 3, 4]
    ids = [snapshot.id for snapshot in browser.snapshots]
    assert [snapshot.public.previous for snapshot in browser.snapshots] == [b"", *ids[:-1]]


def test_a_gap(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    back_up(repository, tree, 4)
    for key in snapshots(store)[:3:2]:
        del store.objects[key]
    browser = repository.browser(fresh=True)
    assert len(browser.snapshots) == 2
    *receipts, (where, message) = problems(browser)
    assert where == f"snapshots/{repository.first.host_file.key.host.hex()}"
    assert "1, 3" in message
    assert [text.partition(",")[0] for _, text in receipts] == ["has a receipt"] * 2


def test_a_rollback_is_seen_by_who_has_seen_more(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    back_up(repository, tree, 3)
    assert repository.browser().problems == ()
    newest = snapshots(store)[-1]
    kept = store.objects.pop(newest)
    assert [text.partition(",")[0] for _, text in problems(repository.browser(fresh=True))] == ["has a receipt"]
    del store.objects[newest.replace("snapshots", "receipts")]
    assert repository.browser(fresh=True).problems == ()  # nobody else has seen the third
    for _ in range(2):  # and it goes on being said
        assert any("rolled back" in message for _, message in problems(repository.browser()))
    assert kept


def test_the_host_itself_notices_a_rollback_and_goes_on_from_its_own_number(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    back_up(repository, tree, 3)
    del store.objects[snapshots(store)[-1]]
    result = repository.backup(tree)
    assert result.exit_code == 13
    assert result.seq == 4
    assert any("rolled back" in str(problem) for problem in result.problems)


def test_a_rollback_that_new_snapshots_have_overtaken_is_seen_too(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    back_up(repository, tree, 2)
    before = dict(store.objects)
    back_up(repository, tree, 1)
    assert repository.browser().problems == ()
    store.objects.clear()
    store.objects.update(before)
    repository.first.forget_state()  # else the host would go on from its own number
    back_up(repository, tree, 3)
    assert repository.browser(fresh=True).problems == ()
    for _ in range(2):  # and it goes on being said
        ((where, message),) = problems(repository.browser())
        assert where == f"snapshots/{repository.first.host_file.key.host.hex()}"
        assert "lacks snapshot 3 as this machine has seen it" in message


def test_another_host_is_a_witness(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    """A client that knows nothing learns from another host's snapshot that one is missing."""
    back_up(repository, tree, 2)
    repository.machine("witness").backup(tree)
    last = max(key for key in snapshots(store) if repository.first.host_file.key.host.hex() in key)
    del store.objects[last]
    assert any("another host has seen" in message for _, message in problems(repository.browser(fresh=True)))


def test_the_heads_of_the_others_are_in_a_snapshot(repository: SmallRepository, store: MemoryStore, tree: Path) -> None:
    back_up(repository, tree, 2)
    other = repository.machine("witness")
    other.backup(tree)
    key = next(key for key in snapshots(store) if other.host_file.key.host.hex() in key)
    public, sealed, _ = Envelope.parse(Magic.SNAPSHOT, store.objects[key]).parts
    maintain = decode(repository.owner().key.open_maintain(snapshot_maintain_binding(public), sealed), SnapshotMaintain)
    (head,) = maintain.heads
    assert (head.host, head.seq) == (repository.first.host_file.key.host, 2)
    assert decode(public, SnapshotPublic).host == other.host_file.key.host


def test_a_cloned_machine_forks_its_history(repository: SmallRepository, tree: Path, tmp_path: Path) -> None:
    back_up(repository, tree, 1)
    clone = Machine(repository.store, repository.first.host_file, tmp_path / "clone", SystemClock())
    hidden = dict(repository.store.objects)  # type: ignore[attr-defined]  # a MemoryStore
    back_up(repository, tree, 1)
    mine = {key: data for key, data in repository.store.objects.items() if key not in hidden}  # type: ignore[attr-defined]
    for key in mine:
        del repository.store.objects[key]  # type: ignore[attr-defined]
    assert clone.backup(tree).seq == 2
    clone.close()
    for key, data in mine.items():
        repository.store.put(key, data)
    browser = repository.browser(fresh=True)
    assert any("forked" in message for _, message in problems(browser))
    assert len(browser.snapshots) == 3


def test_a_replaced_snapshot_breaks_the_chain(repository: SmallRepository, store: MemoryStore, tree: Path, tmp_path: Path) -> None:
    """A thief of the host writes number 1 anew: the next one does not follow it."""
    back_up(repository, tree, 2)
    first = snapshots(store)[0]
    del store.objects[first]
    hidden = store.objects.pop(snapshots(store)[0])
    thief = Machine(store, repository.first.host_file, tmp_path / "thief", SystemClock())
    assert thief.backup(tree).seq == 1
    thief.close()
    store.put(f"{first[:-65].rpartition('/')[0]}/0000000002-{_hash(hidden)}", hidden)
    assert any("replaced" in message for _, message in problems(repository.browser(fresh=True)))


def _hash(data: bytes) -> str:
    return object_hash(data).hex()


def test_a_revoked_host_writes_no_more(repository: SmallRepository, store: MemoryStore, tree: Path, tmp_path: Path) -> None:
    back_up(repository, tree, 2)
    repository.revoke("alpha")
    with pytest.raises(SeedcornError, match="revoked"):
        repository.backup(tree)
    browser = repository.browser(fresh=True)
    assert browser.problems == ()
    assert len(browser.snapshots) == 2
    # One that does not listen: the record hidden from it, and shown again afterwards.
    record = max(key for key in store.objects if key.startswith("hosts/"))
    hidden = store.objects.pop(record)
    thief = Machine(store, repository.first.host_file, tmp_path / "thief", SystemClock())
    thief.backup(tree)
    thief.close()
    store.put(record, hidden)
    browser = repository.browser(fresh=True)
    assert len(browser.snapshots) == 2
    assert browser.problems == ()
    assert list(browser.roots.ignored) == snapshots(store)[2:]


def test_rollback_rules() -> None:
    seen = {ALPHA: Head(ALPHA, 3, b"x")}
    assert check_rollback(seen, {ALPHA: Head(ALPHA, 3, b"x"), BETA: Head(BETA, 1, b"y")}) == []
    assert check_rollback(seen, {ALPHA: Head(ALPHA, 4, b"z")}) == []
    assert check_rollback({}, {ALPHA: Head(ALPHA, 1, b"z")}) == []
    for now in ({}, {ALPHA: Head(ALPHA, 2, b"x")}, {ALPHA: Head(ALPHA, 3, b"other")}):
        (problem,) = check_rollback(seen, now)
        assert isinstance(problem, IntegrityError)
        assert ALPHA.hex() in problem.object_name


def test_remembered_heads_only_move_forward(repository: SmallRepository, tree: Path) -> None:
    state = repository.new_state()
    assert remembered_heads(state) == {}
    for seq, expected in ((3, 3), (2, 3), (5, 5)):
        remember_heads(state, {ALPHA: Head(ALPHA, seq, b"%d" % seq)})
        assert remembered_heads(state)[ALPHA].seq == expected
    remember_heads(state, {ALPHA: Head(ALPHA, 5, b"another")})
    assert remembered_heads(state)[ALPHA].snapshot == b"5"
    back_up(repository, tree, 2)
    assert list_heads(repository.store)[repository.first.host_file.key.host].seq == 2


def test_each_host_has_some_witnesses_and_snapshots_do_not_grow_with_the_number_of_hosts() -> None:
    heads = {HostId(bytes([number]) * 16): Head(bytes([number]) * 16, number, bytes(32)) for number in range(200)}
    recorded = {host: witnessed(heads, host) for host in heads}
    assert {len(seen) for seen in recorded.values()} == {WITNESSED_LIMIT}
    assert set(Counter(head.host for seen in recorded.values() for head in seen).values()) == {WITNESSED_LIMIT}
    assert all(host not in (hosts := [head.host for head in seen]) and hosts == sorted(hosts) for host, seen in recorded.items())
    few = dict(list(heads.items())[:3])
    assert [head.host[0] for head in witnessed(few, HostId(b"\1" * 16))] == [0, 2]
    assert witnessed({}, HostId(b"\1" * 16)) == ()
