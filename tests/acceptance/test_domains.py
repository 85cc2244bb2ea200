"""Two dedup domains in one repository, with the real program: what is shared, what is not, what a thief can tell, and how a host is moved."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.workshop import scratch

from seedcorn.crypto.keys import HostKey
from seedcorn.errors import CredentialError
from seedcorn.format.names import parse_numbered_key
from seedcorn.format.tree import content_records
from seedcorn.ops import access
from seedcorn.ops.access import HostFile
from seedcorn.ops.backup.recall import listing_key
from seedcorn.repo.hosts import load_registry
from seedcorn.repo.index import open_segment
from seedcorn.store.local import LocalStore
from seedcorn.testing.machine import Machine
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe, differences

NOISE = random.Random(7).randbytes(1 << 20)
SECRET = b"the salaries of the year 1893, of which the thief has a copy\n" * 30  # one chunk
NOW = ("--grace", "0", "--allow-large")


@pytest.fixture
def machine() -> Iterator[Machine]:
    """An owner's machine, which is itself a host (of domain 0), and on which every other host of these tests runs, too: one state for all."""
    with scratch() as folder:
        made = Machine(folder / "machine")
        made.found()
        make_tree(made.source, {"noise": NOISE, "again/noise": NOISE, **{f"small/{n}": b"%d " % n * 500 for n in range(50)}})
        yield made


def add(machine: Machine, name: str, domain: str) -> str:
    """Enrol a host; the name of its host file."""
    done = machine.owner("host", "add", name, "--domain", domain, "--out", f"{name}.json", "--json")
    assert done.code == 0, done.err
    return f"{name}.json"


def back_up(machine: Machine, host_file: str | None = None, source: str = "source") -> dict[str, Any]:
    """The summary of a backup, by the machine's own host or another one."""
    done = machine.back_up(source, "--json", *(("--host-file", host_file) if host_file else ()))
    assert done.code == 0, done.err
    return done.of_type("summary")[0]


def assert_restores(machine: Machine, count: int) -> None:
    """Every snapshot of the source has what the source has; and everything that is stored can be read."""
    snapshots = machine.owner("snapshots", "--json", "--path", machine.source).of_type("snapshot")
    assert len(snapshots) == count
    expected = describe(machine.source)
    for snapshot in snapshots:
        with scratch() as folder:
            done = machine.owner("restore", f"{snapshot['id']}:{machine.source}", "--target", folder / "restored")
            assert done.code == 0, done.err
            assert differences(expected, describe(folder / "restored")) == []
    checked = machine.owner("check", "--read-data")
    assert checked.code == 0, checked.out + checked.err


def packs_bytes(machine: Machine) -> int:
    return sum(path.stat().st_size for path in (machine.repository / "packs").rglob("*") if path.is_file())


def test_the_same_tree_in_two_domains(machine: Machine) -> None:
    old_file = machine.folder / "old.json"
    assert machine.owner("key", "export-maintain", "--out", old_file).code == 0
    customer = add(machine, "customer", "new")
    content_bytes = sum(len(path.read_bytes()) for path in machine.source.rglob("*") if path.is_file()) - len(NOISE)
    for content, new_bytes in ((NOISE, content_bytes), (NOISE + b"more", None), (NOISE, 0)):
        (machine.source / "noise").write_bytes(content)
        for host_file in (None, customer):
            found = back_up(machine, host_file)["raw_delta_size"]
            assert found == new_bytes if new_bytes is not None else 0 < found < len(NOISE) / 2  # in each once, though "noise" is there twice
    for host_file in (None, customer):
        again = back_up(machine, host_file)
        assert (again["data_packs"], again["listing_packs"]) == (0, 0)

    assert machine.owner("check", "--read-data", "--publish").code == 0
    second, third, new = add(machine, "second", "1"), add(machine, "third", "0"), add(machine, "another", "new")
    assert [back_up(machine, host_file)["raw_delta_size"] for host_file in (second, third, new)] == [0, 0, content_bytes]
    listed = {line["name"]: line["domain"] for line in machine.owner("host", "list", "--json").lines}
    assert listed == {"here": 0, "customer": 1, "second": 1, "third": 0, "another": 2}
    assert "Domain" in machine.owner("host", "list").out

    refused = machine.run("prune", "-r", machine.repository, "--maintain-file", old_file, *NOW)
    assert refused.code == 12 and "domain 1" in refused.err and "key export-maintain" in refused.err
    assert machine.owner("key", "export-maintain", "--out", "new.json").code == 0
    maintain = ("-r", machine.repository, "--maintain-file", "new.json")
    before = packs_bytes(machine)
    assert machine.run("forget", "--keep-last", "1", *maintain).code == 0
    done = machine.run("prune", *maintain, *NOW)
    assert done.code == 0, done.err
    assert packs_bytes(machine) < before
    assert_restores(machine, 5)
    for host_file in (None, customer, second, third, new):
        assert back_up(machine, host_file)["raw_delta_size"] == 0
    assert machine.owner("check", "--read-data").code == 0
    assert machine.owner("stats").code == 0


def chunks_seen_by(key: HostKey, repository: Path) -> set[bytes]:
    """The ids of all chunks in the segments that the holder of a host file can open, with every object of the repository before him."""
    store, seen = LocalStore(repository), set[bytes]()
    registry = load_registry(store, key.repository, key.public)
    for info in store.list("index/"):
        name = parse_numbered_key(info.key)
        assert name is not None
        try:
            packs = open_segment(store.get(info.key), name, key.repository, key.index_key, registry).packs
        except CredentialError:
            continue
        seen |= {chunk_id for pack in packs for frame in pack.frames for chunk_id, _ in content_records(frame.records)}
    return seen


def host_key(path: Path) -> HostKey:
    return HostFile.parse(path.read_bytes(), source=str(path)).key


def test_a_thief_can_not_confirm_what_is_stored_in_another_domain(machine: Machine) -> None:
    """He has the file, a host file of domain 0, and the bucket. Of the same file in his own domain he could tell, which shows that the test can."""
    thief, customer = add(machine, "thief", "0"), add(machine, "customer", "new")
    make_tree(machine.folder / "papers", {"salaries": SECRET})
    back_up(machine, thief)
    back_up(machine, customer, "papers")
    assert machine.owner("check", "--read-data", "--publish").code == 0  # which tells hosts about each other's packs, by digests of their entries
    stolen, honest = host_key(machine.folder / thief), host_key(machine.folder / customer)

    assert honest.secrets.chunk_id(SECRET) in chunks_seen_by(honest, machine.repository)
    seen = chunks_seen_by(stolen, machine.repository)
    assert seen and stolen.secrets.chunk_id(SECRET) not in seen
    ids = [bytes(secrets.chunk_id(SECRET)) for secrets in (stolen.secrets, honest.secrets)]
    assert not any(chunk_id in path.read_bytes() for chunk_id in ids for path in machine.repository.rglob("*") if path.is_file())
    assert back_up(machine, thief, "papers")["raw_delta_size"] == len(SECRET)  # so the program of a host can not tell, either
    assert stolen.secrets.chunk_id(SECRET) in chunks_seen_by(stolen, machine.repository)


def remembers_source(machine: Machine) -> bool:
    """Whether the machine's state has a listing of its source, by a host of domain 0."""
    repository = access.repository_id(LocalStore(machine.repository))
    with closing(access.open_state(machine.home / ".local/state/seedcorn", repository)) as state:
        return state.listings(0).get(listing_key(os.fsencode(machine.source))) is not None


def test_after_a_theft_the_other_hosts_are_moved(machine: Machine) -> None:
    thief = add(machine, "thief", "0")
    first = back_up(machine)
    assert machine.owner("host", "revoke", "thief").code == 0
    assert remembers_source(machine)

    moved = machine.owner("host", "move", "here", "--domain", "new", "--out", "moved.json")
    assert moved.code == 0, moved.err
    assert all(text in moved.out for text in ("domain 1", "host install", "stores everything anew", "stay readable", "key export-maintain"))
    refused = machine.back_up("source")
    assert refused.code == 12 and "host install" in refused.err and "domain 1" in refused.err
    assert machine.run("host", "install", "moved.json").code == 0
    assert not remembers_source(machine)

    second = back_up(machine)
    assert second["raw_delta_size"] == first["raw_delta_size"] > len(NOISE)
    assert back_up(machine)["raw_delta_size"] == 0
    make_tree(machine.folder / "papers", {"salaries": SECRET})
    back_up(machine, source="papers")
    stolen = host_key(machine.folder / thief)
    assert stolen.secrets.chunk_id(SECRET) not in chunks_seen_by(stolen, machine.repository)

    snapshots = machine.owner("snapshots", "--json", "--host", "here").of_type("snapshot")
    assert [line["number"] for line in snapshots] == [1, 2, 3, 4] and len({line["host_id"] for line in snapshots}) == 1
    assert_restores(machine, 3)
    before = packs_bytes(machine)
    assert machine.owner("forget", "--keep-last", "1", "--prune", *NOW).code == 0
    assert packs_bytes(machine) < 0.6 * before  # one group: what was stored before the move is gone
    assert_restores(machine, 1)
    assert back_up(machine)["raw_delta_size"] == 0
    fourth = machine.owner("host", "add", "fourth", "--out", "fourth.json", "--json")
    assert fourth.of_type("summary")[0]["domain"] == 1  # not where the thief is
    assert json.loads((machine.folder / "fourth.json").read_text())["domain"] == 1
