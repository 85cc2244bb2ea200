"""Several machines in one repository: what they share, what they keep to themselves, and what a malicious one can not do to the others."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.acceptance.workshop import Workshop, open_workshop

from seedcorn.crypto import primitives
from seedcorn.errors import IntegrityError
from seedcorn.format.names import snapshot_key
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackKind
from seedcorn.ids import SnapshotId
from seedcorn.ops import access
from seedcorn.ops.browse import SnapshotFilter
from seedcorn.repo.index import build_segment
from seedcorn.testing.repositories import Machine, make_tree
from seedcorn.testing.trees import describe

_FILES = {f"f{number}": random.Random(number).randbytes(20_000) for number in range(20)} | {"big": random.Random(99).randbytes(3 << 20)}


@pytest.mark.parametrize("trust_hosts", [False, True])
def test_two_hosts_with_the_same_files(folder: Path, trust_hosts: bool) -> None:
    with open_workshop(folder, trust_hosts=trust_hosts, settled=True) as workshop:
        make_tree(workshop.source, _FILES)
        other = workshop.repository.machine("beta")
        tree = describe(workshop.source)
        first = workshop.backup()
        second = workshop.backup(machine=other)
        content_bytes = sum(map(len, _FILES.values()))
        assert first.result.statistics.raw_delta_size == content_bytes
        assert second.result.statistics.raw_delta_size == (0 if trust_hosts else content_bytes)
        for machine in (workshop.machine, other):
            assert workshop.backup(machine=machine).packs == 0
        (workshop.source / "f3").write_bytes(b"edited")
        edited = describe(workshop.source)
        third = workshop.backup(machine=other)
        for run, expected in ((first, tree), (second, tree), (third, edited)):
            workshop.assert_restores(run.id, expected)
        browser = workshop.repository.browser(fresh=True)
        assert browser.problems == ()
        assert [len(browser.select(SnapshotFilter(host=name))) for name in ("alpha", "beta")] == [2, 3]


def test_a_machine_that_gets_a_new_host_file(folder: Path) -> None:
    """Its local state is that of the old host; nothing of it may be believed that the new one does not know to be stored."""
    with open_workshop(folder, settled=True) as workshop:
        make_tree(workshop.source, _FILES)
        workshop.backup()
        workshop.repository.revoke("alpha")
        workshop.machine.host_file = access.add_host(workshop.repository.owner(), "alpha again", workshop.machine.clock)
        (workshop.source / "f3").write_bytes(b"edited")
        run = workshop.backup()
        assert run.result.exit_code == 0
        workshop.assert_restores(run.id, describe(workshop.source))


def test_a_machine_that_is_moved_takes_over_nothing_that_it_remembers(folder: Path) -> None:
    """No file has changed, and its state has the listings of them all: of another domain."""
    with open_workshop(folder, settled=True) as workshop:
        make_tree(workshop.source, _FILES)
        tree = describe(workshop.source)
        first = workshop.backup()
        assert workshop.backup().packs == 0
        workshop.repository.move(workshop.machine, "new")
        moved = workshop.backup()
        assert moved.result.statistics.raw_delta_size == first.result.statistics.raw_delta_size
        assert workshop.backup().packs == 0
        for run in (first, moved):
            workshop.assert_restores(run.id, tree)


@dataclass(frozen=True)
class _Attack:
    """A malicious host with the victim's segments before its eyes. Its id sorts first, so that its copies are found first."""

    workshop: Workshop
    evil: Machine
    victim_records: bytes  # content records of the file "f1"
    victim_session: bytes
    session: bytes
    row: KeyRow

    def publish(self, packs: list[PackEntry], row: KeyRow | None = None) -> None:
        key, data = build_segment(self.evil.repository, self.session, 1, row or self.row, packs)  # type: ignore[arg-type]  # bytes serve as ids
        self.workshop.objects[key] = data

    def claim(self, records: bytes, raw_bytes: int, *, session: bytes | None = None, seq: int = 0, pack: bytes = bytes(32)) -> PackEntry:
        return PackEntry(pack, PackKind.DATA, (FrameEntry(session or self.session, seq, 200, 1_000, raw_bytes, records),))


def _wrong_length(attack: _Attack) -> None:
    attack.publish([attack.claim(attack.victim_records[:24] + (5).to_bytes(4, "little"), 5)])


def _pack_that_is_not_there(attack: _Attack) -> None:
    attack.publish([attack.claim(attack.victim_records[:28], _length(attack.victim_records))])


def _pack_that_is_too_short(attack: _Attack) -> None:
    attack.workshop.objects[f"packs/{attack.evil.repository.host.hex()}/{bytes(32).hex()}"] = b"SEEDPACK"
    _pack_that_is_not_there(attack)


def _pack_of_garbage(attack: _Attack) -> None:
    attack.workshop.objects[f"packs/{attack.evil.repository.host.hex()}/{bytes(32).hex()}"] = os.urandom(2_000)
    _pack_that_is_not_there(attack)


def _session_key_of_garbage(attack: _Attack) -> None:
    attack.publish(
        [attack.claim(attack.victim_records[:28], _length(attack.victim_records))],
        replace(attack.row, sealed_key=os.urandom(len(attack.row.sealed_key))),
    )


def _no_session_key(attack: _Attack) -> None:
    attack.publish([attack.claim(attack.victim_records[:28], _length(attack.victim_records))], replace(attack.row, sealed_key=b""))


def _session_of_the_victim(attack: _Attack) -> None:
    row = replace(attack.row, session=attack.victim_session, sealed_key=os.urandom(len(attack.row.sealed_key)))
    attack.publish(
        [attack.claim(attack.victim_records[:28], _length(attack.victim_records), session=attack.victim_session, seq=seq) for seq in range(5)], row
    )


def _session_and_host_of_the_victim(attack: _Attack) -> None:
    host = attack.workshop.machine.repository.host
    row = replace(attack.row, session=attack.victim_session, host=host, sealed_key=os.urandom(len(attack.row.sealed_key)))
    attack.publish(
        [attack.claim(attack.victim_records[:28], _length(attack.victim_records), session=attack.victim_session, seq=seq) for seq in range(5)], row
    )


def _session_without_a_name(attack: _Attack) -> None:
    attack.publish([], replace(attack.row, session=b""))


def _session_with_a_long_name(attack: _Attack) -> None:
    attack.publish([], replace(attack.row, session=bytes(4_000)))


def _pack_without_a_name(attack: _Attack) -> None:
    attack.publish([attack.claim(attack.victim_records[:28], _length(attack.victim_records), pack=b"")])


def _other_bytes_under_the_right_id(attack: _Attack) -> None:
    """Sealed as it should be, by a host that lies about what it has sealed."""
    source = attack.workshop.folder / "evil"
    source.mkdir()
    (source / "lie").write_bytes(b"poison" * 3_000)
    real = primitives.keyed_hash
    forged = iter([attack.victim_records[:24]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            primitives,
            "keyed_hash",
            lambda key, data, length=32: next(forged, None) or real(key, data, length) if length == 24 else real(key, data, length),
        )
        attack.workshop.backup(source / "lie", machine=attack.evil)


def _snapshot_number_of_the_far_future(attack: _Attack) -> None:
    attack.workshop.objects[snapshot_key(attack.evil.repository.host, 1_000_000, SnapshotId(bytes(32)))] = b"SEEDSNAP"


def _length(records: bytes) -> int:
    return int.from_bytes(records[24:28], "little")


@pytest.mark.parametrize(
    "attack",
    [
        _wrong_length,
        _pack_that_is_not_there,
        _pack_that_is_too_short,
        _pack_of_garbage,
        _session_key_of_garbage,
        _no_session_key,
        _session_of_the_victim,
        _session_and_host_of_the_victim,
        _session_without_a_name,
        _session_with_a_long_name,
        _pack_without_a_name,
        _other_bytes_under_the_right_id,
        _snapshot_number_of_the_far_future,
    ],
)
def test_a_malicious_host_can_not_take_anothers_backup_away(workshop: Workshop, attack: Callable[[_Attack], None]) -> None:
    make_tree(workshop.source, _FILES)
    tree = describe(workshop.source)
    evil = _host_that_sorts_first(workshop)
    run = workshop.backup()
    browser = workshop.repository.browser(fresh=True)
    node = browser.entry(browser.find(run.id), os.fsencode(workshop.source / "f1")).node
    victim_session = browser.find(run.id).public.session
    with_writer = evil.writer()
    session, row = bytes(with_writer.session), with_writer._row
    with_writer.close()
    attack(_Attack(workshop, evil, browser.reader.records(node), victim_session, session, row))

    workshop.assert_restores(run.id, tree)
    assert workshop.backup().result.exit_code == 0, "the victim goes on"
    (newest, *_) = (
        snapshot
        for snapshot in reversed(workshop.repository.browser(fresh=True).snapshots)
        if snapshot.public.host == workshop.machine.repository.host
    )
    workshop.assert_restores(newest.id.hex(), tree)


def _host_that_sorts_first(workshop: Workshop) -> Machine:
    """One of two; the other one is the workshop's from now on."""
    evil, workshop.machine = sorted([workshop.machine, workshop.repository.machine("beta")], key=lambda machine: machine.repository.host)
    return evil


def test_a_huge_snapshot_number_costs_no_memory(workshop: Workshop) -> None:
    make_tree(workshop.source, {"f": b"x"})
    workshop.backup()
    workshop.objects[snapshot_key(workshop.machine.repository.host, 1_000_000, SnapshotId(bytes(32)))] = b"SEEDSNAP"
    tracemalloc.start()
    try:
        browser = workshop.repository.browser(fresh=True)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert any("/0001000000-" in problem.object_name for problem in browser.problems)
    assert not any("lacks" in str(problem) for problem in browser.problems), "a name proves no snapshot"


def test_a_damaged_host_record_is_not_remembered(workshop: Workshop) -> None:
    make_tree(workshop.source, _FILES)
    (key,) = (key for key in workshop.objects if key.startswith("hosts/"))
    good = workshop.objects[key]
    workshop.objects[key] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(IntegrityError, match="hosts/"):
        workshop.backup()
    workshop.objects[key] = good
    assert workshop.backup().result.exit_code == 0
