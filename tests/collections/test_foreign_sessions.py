"""A host that says of another one's sessions that they are its own: nobody believes it, everybody says it, and it stops nobody.

docs/adr/0019-a-session-names-its-host.md.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from tests.collections.garden import NOW, Garden, noise, open_garden
from tests.collections.test_deep import look, plant
from tests.collections.test_refusals import assert_refused, entries_of
from tests.collections.test_unreadable import machine_of, put_snapshot

from seedcorn.crypto.keys import new_session_id
from seedcorn.crypto.primitives import object_hash, random_bytes
from seedcorn.events import RecordingMonitor
from seedcorn.format.collection import CheckpointMaintain
from seedcorn.format.names import pack_key
from seedcorn.format.pack import KeyRow, PackEntry, PackHead, build_pack_head
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import PackId, SessionId, belongs_to
from seedcorn.ops.check.check import CheckOptions, check, examine
from seedcorn.ops.check.repair_plan import RepairOptions, plan_repair
from seedcorn.ops.gc.survey import Surveyor
from seedcorn.ops.gc.sweep import Collector
from seedcorn.repo.content import frame_writer
from seedcorn.repo.index import build_segment
from seedcorn.repo.roots.checkpoints import build_checkpoint
from seedcorn.repo.roots.needed import SeqSet
from seedcorn.repo.roots.roots import Standing
from seedcorn.testing.repositories import Machine


class Claim(enum.Enum):
    """Where in a segment of the liar's a session of another host stands."""

    SESSION = "the segment's own"
    KEY = "in a key row, and in frame entries"
    FRAMES = "in frame entries alone"


@pytest.fixture
def garden() -> Iterator[Garden]:
    with open_garden() as made:
        gone = made.back_up({"z": noise(9)})
        made.back_up({"a": noise(1), "b": noise(2)})
        made.forget(gone)
        yield made


def put_claim(garden: Garden, liar: Machine, row: KeyRow, entries: list[PackEntry], claim: Claim = Claim.KEY) -> str:
    """Packs full of nothing, in the room of the liar, and a segment that lists them as ``entries``, which are another host's; the key of that."""
    host, foreign = liar.host_file.key.host, SessionId(row.session)
    own = new_session_id(host)
    carried = KeyRow(foreign if claim is Claim.KEY else own, host, row.suite, random_bytes(len(row.sealed_key)))
    lies = []
    for entry in entries:
        frames = tuple(replace(frame, session=own) for frame in entry.frames) if claim is Claim.SESSION else entry.frames
        head = build_pack_head(PackHead(entry.kind, liar.host_file.key.repository, host, foreign, 0, (carried,)))
        data = head + random_bytes(max(frame.offset + frame.sealed_bytes for frame in frames))
        garden.store.put(pack_key(host, PackId(object_hash(data))), data)
        lies.append(PackEntry(object_hash(data), entry.kind, frames))
    key, data = build_segment(liar.repository, foreign if claim is Claim.SESSION else own, 77, carried, lies)
    garden.store.put(key, data)
    return key


def packs_of(garden: Garden, machine: Machine) -> list[str]:
    return [key for key in garden.keys("packs") if machine.host_file.key.host.hex() in key]


# -- index segments and packs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", Claim)
def test_a_segment_with_another_hosts_session_counts_for_nothing(garden: Garden, claim: Claim) -> None:
    liar = garden.repository.machine("liar")
    (row,), entries = entries_of(garden)
    key = put_claim(garden, liar, row, entries, claim)
    for _ in range(2):
        monitor = RecordingMonitor()
        collector = Collector(garden.maintainer(), garden.state(), NOW, monitor)
        collector.carry_out(collector.plan())
        assert [note for note in monitor.notes if key in note] and not monitor.errors
        garden.assert_whole(but={key})
    assert not packs_of(garden, liar)
    garden.back_up({"a": noise(1), "d": noise(4)})
    garden.back_up({"o": noise(5)}, machine=garden.repository.machine("other"))
    garden.assert_whole(but={key})
    result = check(garden.browser(), CheckOptions(read_data=True), garden.repository.clock, RecordingMonitor())
    assert [problem.object_name for problem in result.problems] == [key] and result.exit_code == 13


def test_hosts_that_trust_each_other_go_on() -> None:
    with open_garden(trust_hosts=True) as trusting:
        trusting.back_up({"a": noise(1)})
        liar, other = trusting.repository.machine("liar"), trusting.repository.machine("other")
        (row,), entries = entries_of(trusting)
        key = put_claim(trusting, liar, row, entries)
        trusting.back_up({"a": noise(1), "b": noise(2)}, machine=other)
        trusting.assert_whole(but={key})


def test_frames_that_another_host_is_going_to_store_are_not_explained_away(garden: Garden) -> None:
    """Once a sweep has taken the packs of the claim, a loss of the true ones is a loss all the same."""
    other, liar = garden.repository.machine("other"), garden.repository.machine("liar")
    before = set(garden.store.objects)
    late = garden.back_up({"h": noise(7)}, machine=other)
    (row,), entries = entries_of(garden, other)
    data, listing = sorted(entries, key=lambda entry: entry.kind)
    lost = pack_key(other.host_file.key.host, PackId(data.pack))
    not_yet = {key: garden.store.objects.pop(key) for key in set(garden.store.objects) - before if not key.endswith(listing.pack.hex())}
    garden.store.put(*build_segment(other.repository, SessionId(row.session), 1, row, [listing]))
    seqs = SeqSet([frame.seq for frame in listing.frames])
    put_snapshot(garden, garden.repository.first, 3, needed=(NeededFrames(row.session, seqs.serialize()),))  # so far that is all there is of it
    claim = put_claim(garden, liar, row, [data])
    expected = garden.expected.pop(late)
    for _ in range(2):
        garden.prune(state=garden.state())
    assert not packs_of(garden, liar)
    for name, stored in not_yet.items():
        garden.store.put(name, stored)
    garden.expected[late] = expected
    garden.assert_whole(but={claim})
    del garden.store.objects[lost]
    assert_refused(garden, "needs 1 frame that is in no pack")


def test_a_torn_snapshot_is_told_from_damage_whoever_claims_its_session(garden: Garden) -> None:
    """Its host got the receipt to the store and ended before it could look again."""
    other, liar = garden.repository.machine("other"), garden.repository.machine("liar")
    torn = garden.back_up({"h": noise(7)}, machine=other)
    garden.expected.pop(torn)
    (row,), entries = entries_of(garden, other)
    claim = put_claim(garden, liar, row, entries)
    (receipt,) = [key for key in garden.keys("receipts") if torn.hex() in key]
    data = garden.store.objects.pop(receipt)
    for _ in range(2):
        garden.prune(state=garden.state())
    garden.store.put(receipt, data)
    garden.assert_whole(but={claim})
    (standing,) = [snapshot.standing for snapshot in garden.browser().all_snapshots if snapshot.id == torn]
    assert standing is Standing.TORN
    garden.prune(state=garden.state())


def test_a_pack_with_another_hosts_session_is_not_listed_again(garden: Garden, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repair lists what describes itself. This one does, and its frames open: the liar has sealed them, under names of the other host."""
    liar = garden.repository.machine("liar")
    (row,), _ = entries_of(garden)
    with monkeypatch.context() as patch:
        patch.setattr(frame_writer, "new_session_id", lambda _: SessionId(row.session))
        garden.expected.pop(garden.back_up({"lie": noise(66)}, machine=liar))
    for key in [key for room in ("index", "snapshots", "receipts") for key in garden.keys(room) if liar.host_file.key.host.hex() in key]:
        del garden.store.objects[key]
    assert packs_of(garden, liar)
    browser = garden.browser()
    examination = examine(browser, CheckOptions(read_data=True), garden.repository.clock, RecordingMonitor())
    plan = plan_repair(browser, examination, RepairOptions())
    assert (plan.list_again, plan.move) == ((), ())
    garden.assert_whole()
    garden.prune(state=garden.state())
    assert not packs_of(garden, liar)


# -- what the owner writes anew --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", Claim)
def test_poor_frames_are_written_anew_whoever_claims_them(claim: Claim) -> None:
    with open_garden() as garden:
        plant(garden)
        liar = garden.repository.machine("liar")
        _, plan = look(garden)
        for machine in (garden.repository.first, None):
            (row,), entries = entries_of(garden, machine)
            key = put_claim(garden, liar, row, entries, claim)
        _, claimed = look(garden)
        assert len(claimed.frames) == len(plan.frames) > 0
        plan, result = garden.deep(state=garden.state())
        assert result.frames == len(plan.frames) and result.problems == ()
        said = {key for key in garden.keys("index") if liar.host_file.key.host.hex() in key}
        assert key in said
        for _ in range(2):
            garden.prune(NOW, state=garden.state())
            garden.assert_whole(but=said)
        survey, after = look(garden)
        assert after.frames == ()
        assert all(belongs_to(session.session, session.host) for session in survey.sessions.values())  # also those of the owner's


# -- checkpoints and snapshots ---------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_hosts_session_needs_nothing(garden: Garden) -> None:
    """Not what it names, of whatever session, and it goes with the others."""
    liar = garden.repository.machine("liar")
    running = new_session_id(garden.repository.first.host_file.key.host)
    forgotten = next(root for root in Surveyor(garden.maintainer(), garden.state()).survey().roots.snapshots if root.standing is Standing.FORGOTTEN)
    before = garden.plan()
    key, data = build_checkpoint(liar.repository, running, 9, CheckpointMaintain(0, bytes(16), forgotten.maintain.needed))
    garden.store.put(key, data)
    assert before.doomed and garden.plan().doomed == before.doomed
    garden.prune(state=garden.state())
    garden.assert_whole()
    garden.prune(state=garden.state())
    assert key not in garden.store.objects


def test_a_snapshot_of_another_hosts_session_ends_no_session(garden: Garden, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint of a session that still runs counts until it has its snapshot. The false one is given up as any that can not be read."""
    liar, first = machine_of(garden), garden.repository.first
    running = new_session_id(first.host_file.key.host)
    garden.store.put(*build_checkpoint(first.repository, running, 1, CheckpointMaintain(0, b"another group...", ())))
    with monkeypatch.context() as patch:
        patch.setattr("tests.collections.test_unreadable.new_session_id", lambda _: running)
        key = put_snapshot(garden, liar, 2)
    roots = Surveyor(garden.maintainer(), garden.state()).survey().roots
    assert [checkpoint.is_root for checkpoint in roots.checkpoints] == [True]
    assert [one.key for one in roots.unreadable] == [key]
    assert_refused(garden, "forget")
