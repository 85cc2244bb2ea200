"""What can not be read, and how an owner gets out of it: a disk that has turned bits, a host that puts garbage or lies into its own rooms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec
import pytest
from tests.collections.garden import Garden, noise, open_garden

from seedcorn.crypto.keys import new_session_id
from seedcorn.crypto.primitives import object_hash, random_bytes
from seedcorn.errors import IntegrityError, SeedcornError, UsageError
from seedcorn.events import RecordingMonitor, SystemClock, VoidMonitor
from seedcorn.format.codec import Magic
from seedcorn.format.collection import Receipt, ReceiptState
from seedcorn.format.names import checkpoint_key, parse_numbered_key, receipt_key, segment_key, snapshot_key
from seedcorn.format.snapshot import Head, NeededFrames, SnapshotMaintain, SnapshotOwner, SnapshotPublic, Statistics
from seedcorn.format.tree import Kind, Node
from seedcorn.ids import HostId, SegmentId, SnapshotId
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.ops.gc.plan import CollectionOptions
from seedcorn.ops.gc.survey import Survey, Surveyor
from seedcorn.ops.retention.forget import ForgetPlan, forget_snapshots, plan_forget_by_id, undelete_snapshots
from seedcorn.ops.revoke import plan_revocation
from seedcorn.repo.records import build_record
from seedcorn.repo.roots.receipts import build_receipt
from seedcorn.repo.roots.roots import Standing
from seedcorn.repo.roots.snapshots import build_snapshot
from seedcorn.testing.damage import flip_byte
from seedcorn.testing.repositories import Machine

COMMAND = re.compile(r"`seedcorn forget ([^`]+)`")


@pytest.fixture
def garden() -> Iterator[Garden]:
    """Two snapshots of one host and one of another."""
    with open_garden() as made:
        made.back_up({"a": noise(1)})
        made.back_up({"a": noise(1), "b": noise(2)})
        other = made.repository.machine("other")
        made.back_up({"o": noise(3)}, machine=other)
        yield made


def survey(garden: Garden) -> Survey:
    """As a machine that has seen nothing yet."""
    return Surveyor(garden.maintainer(), garden.state()).survey()


def key_of(garden: Garden, snapshot: SnapshotId) -> str:
    (key,) = [key for key in garden.keys("snapshots") if key.endswith(snapshot.hex())]
    return key


def rot(garden: Garden, key: str) -> bytes:
    """A disk has turned a bit; what it was before."""
    good = garden.store.objects[key]
    garden.store.objects[key] = flip_byte(good, len(good) // 2)
    return good


def give_up(garden: Garden, *references: str) -> ForgetPlan:
    seen = survey(garden)
    plan = plan_forget_by_id(seen, references)
    forget_snapshots(garden.maintainer(), plan.roots, plan.chosen, garden.repository.clock)
    return plan


def commands(garden: Garden) -> list[str]:
    """What the messages of a collection say that helps. Those of a check are the same, but for what it knows more about: frames that are lacking."""
    seen = survey(garden)
    with pytest.raises(IntegrityError, match="nothing is collected as long as this is so"):
        garden.prune(state=garden.state())
    checked = check(garden.browser(), CheckOptions(), SystemClock(), VoidMonitor()).problems
    assert set(map(str, seen.roots.problems)) <= set(map(str, checked))
    return [reference for problem in seen.problems for command in COMMAND.findall(problem.message) for reference in command.split()]


def machine_of(garden: Garden, name: str = "liar", files: dict[str, bytes] | None = None) -> Machine:
    """One more host, with a snapshot."""
    made = garden.repository.machine(name)
    garden.back_up(files or {"l": noise(8)}, machine=made)
    return made


def put_snapshot(garden: Garden, machine: Machine, seq: int, *, needed: tuple[NeededFrames, ...] = (), heads: tuple[Head, ...] = ()) -> str:
    """One that the host has signed, with a receipt."""
    repository = machine.repository
    names = [name for key in garden.keys("snapshots") if (name := parse_numbered_key(key)) and name.host == repository.host]
    previous = next((name.object_id for name in names if name.number == seq - 1), b"")
    public = SnapshotPublic(repository.repository, repository.host, seq, previous, new_session_id(repository.host), 0)
    root = Node(b"", Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 0, 0, 0)
    owner = SnapshotOwner(host_name=machine.host_file.name, paths=(b"/",), root=root, start_ns=0, end_ns=0, statistics=Statistics())
    key, snapshot, data = build_snapshot(repository, public, SnapshotMaintain(0, bytes(16), (), True, needed, heads), owner)
    garden.store.put(key, data)
    garden.store.put(*build_receipt(repository, seq, snapshot))
    return key


def garbage(machine: Machine, seq: int, snapshot: bytes | None = None) -> str:
    return snapshot_key(machine.host_file.key.host, seq, SnapshotId(snapshot or random_bytes(32)))


# -- a snapshot that a disk has damaged ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1], ids=["older", "newest"])
def test_a_damaged_snapshot_is_given_up_by_the_command_in_the_message(garden: Garden, number: int) -> None:
    lost = list(garden.expected)[number]
    key = key_of(garden, lost)
    rot(garden, key)
    assert commands(garden) == [key]
    packs = garden.keys("packs")
    plan = give_up(garden, key)
    assert [(one.key, one.standing) for one in plan.unreadable] == [(key, Standing.UNREADABLE)]
    assert "do not match" in plan.unreadable[0].reason and plan.unreadable[0].size_bytes == len(garden.store.objects[key])
    garden.expected.pop(lost)
    assert [one.standing for one in garden.browser().roots.unreadable] == [Standing.FORGOTTEN]
    for _ in range(2):
        garden.prune(state=garden.state())
        garden.assert_whole()
    garden.assert_clean(garden.state())
    assert (key in garden.store.objects) == (number == 1), "the newest object keeps its number from being used again"
    assert len(garden.keys("packs")) < len(packs)
    garden.back_up({"a": noise(1), "n": noise(4)})
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_by_the_beginning_of_its_id_and_with_a_machine_that_has_good_bytes_of_it(garden: Garden) -> None:
    """The check reads everything anew and says the same there; a collection there knows what is needed."""
    garden.browser()
    lost = next(iter(garden.expected))
    state = garden.repository.owner_state()
    garden.prune(state=state)
    rot(garden, key_of(garden, lost))
    garden.prune(state=state)
    browser = garden.repository.browser()
    (problem,) = check(browser, CheckOptions(), SystemClock(), VoidMonitor()).problems
    assert COMMAND.findall(problem.message) == [key_of(garden, lost)]
    give_up(garden, lost.hex()[:12])
    garden.expected.pop(lost)
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_what_comes_back_readable_can_be_taken_back(garden: Garden) -> None:
    lost, files = next(iter(garden.expected.items()))
    key = key_of(garden, lost)
    good = rot(garden, key)
    give_up(garden, key)
    day = CollectionOptions(allow_large=True)
    garden.prune(day, state=garden.state())
    with pytest.raises(SeedcornError, match="still not be read"):
        undelete_snapshots(garden.maintainer(), garden.state(), [key], garden.repository.clock)
    garden.store.objects[key] = good
    garden.undelete(lost, files)
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_what_is_taken_back_too_late_stays_forgotten(garden: Garden) -> None:
    lost = list(garden.expected)[1]
    key = key_of(garden, lost)
    good = rot(garden, key)
    give_up(garden, key)
    garden.expected.pop(lost)
    garden.prune(state=garden.state())
    garden.store.objects[key] = good
    with pytest.raises(SeedcornError, match="can not be taken back"):
        undelete_snapshots(garden.maintainer(), garden.state(), [lost.hex()], garden.repository.clock)
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_a_part_that_only_the_owner_can_open(garden: Garden) -> None:
    """A collection goes on, as it needs nothing of it; a check says it until the snapshot is given up."""
    liar = machine_of(garden)
    repository = liar.repository
    seal = repository.key.seal_read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(repository.key), "seal_read", lambda self, info, data: seal(info + b"?", data))
        key = put_snapshot(garden, liar, 2)
    garden.prune(state=garden.state())
    (problem,) = garden.browser().problems
    assert COMMAND.findall(problem.message) == [key]
    give_up(garden, key)
    assert garden.browser().problems == ()


# -- garbage and lies that a host puts into its rooms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", [1, 2, 10**6, 10**10 - 1])
def test_garbage_with_the_name_of_a_snapshot(garden: Garden, seq: int) -> None:
    liar = machine_of(garden)
    key = garbage(liar, seq)
    garden.store.put(key, b"garbage")
    assert commands(garden) == [key]
    give_up(garden, key)
    assert survey(garden).problems == ()
    for _ in range(2):
        garden.prune(state=garden.state())
        garden.assert_whole()
    assert key in garden.store.objects, "a number that hosts have seen does not vanish"


def test_garbage_below_the_newest_goes_with_a_collection(garden: Garden) -> None:
    liar = machine_of(garden)
    garden.back_up({"l": noise(9)}, machine=liar)
    key = garbage(liar, 1)
    garden.store.put(key, b"garbage")
    give_up(garden, key)
    garden.prune(state=garden.state())
    garden.assert_whole()
    assert key not in garden.store.objects


def test_garbage_with_the_id_of_anothers_snapshot(garden: Garden) -> None:
    """Whoever is told to forget it does not forget the good one."""
    liar = machine_of(garden)
    good = next(iter(garden.expected))
    key = garbage(liar, 2, good)
    garden.store.put(key, b"garbage")
    assert commands(garden) == [key]
    give_up(garden, key)
    garden.prune(state=garden.state())
    garden.assert_whole()
    assert [ref.host for ref in plan_forget_by_id(survey(garden), [good.hex()]).chosen] == [garden.repository.first.host_file.key.host]


def test_a_number_far_ahead_that_is_signed(garden: Garden) -> None:
    liar = machine_of(garden)
    put_snapshot(garden, liar, 500)
    host = liar.host_file.key.host.hex()[:12]
    assert commands(garden) == [f"{host}:2-499"]
    with pytest.raises(UsageError, match="not lacking"):
        plan_forget_by_id(survey(garden), [f"{host}:1-3"])
    with pytest.raises(UsageError, match="not lacking"):
        plan_forget_by_id(survey(garden), [f"{host}:501"])
    plan = give_up(garden, f"{host}:2-499")
    assert len(plan.gone) == 498
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_a_number_so_far_ahead_that_the_host_has_to_go(garden: Garden) -> None:
    liar = machine_of(garden)
    put_snapshot(garden, liar, 10**6)
    (command,) = commands(garden)
    with pytest.raises(UsageError, match="revoke"):
        plan_forget_by_id(survey(garden), [command])
    garden.repository.revoke("liar", 1)
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_a_snapshot_of_another_host_that_it_claims_to_have_seen(garden: Garden) -> None:
    liar = machine_of(garden)
    claimed = Head(garden.repository.first.host_file.key.host, 2, random_bytes(32))
    far = msgspec.structs.replace(claimed, seq=10**10)
    put_snapshot(garden, liar, 2, heads=(claimed, far, Head(b"nobody", -5, b"nothing"), Head(b"", 2**63, b"")))
    (key,) = commands(garden)
    assert key == snapshot_key(HostId(claimed.host), 2, SnapshotId(claimed.snapshot))
    plan = give_up(garden, key)
    assert [ref.snapshot for ref in plan.gone] == [claimed.snapshot]
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_a_receipt_of_nothing(garden: Garden) -> None:
    liar = machine_of(garden)
    nothing = SnapshotId(random_bytes(32))
    garden.store.put(*build_receipt(liar.repository, 7, nothing))
    (key,) = commands(garden)
    assert key.endswith(nothing.hex())
    give_up(garden, key)
    garden.prune(state=garden.state())
    garden.assert_whole()
    assert not [key for key in garden.keys("receipts") if nothing.hex() in key]


def test_a_set_of_frames_that_is_none(garden: Garden) -> None:
    liar = machine_of(garden)
    key = put_snapshot(garden, liar, 2, needed=(NeededFrames(b"s" * 16, b"\xff" * 40),))
    assert commands(garden) == [key]
    plan_forget_by_id(survey(garden), [next(iter(garden.expected)).hex()])  # others can be forgotten beside it
    give_up(garden, key)
    for _ in range(2):
        garden.prune(state=garden.state())
        garden.assert_whole()


def test_frames_that_nobody_has(garden: Garden) -> None:
    liar = machine_of(garden)
    seen = survey(garden).roots.snapshots[0].maintain.needed[0]
    key = put_snapshot(garden, liar, 2, needed=(msgspec.structs.replace(seen, session=b"s" * 16),))
    assert commands(garden) == [key]
    give_up(garden, key)
    garden.prune(state=garden.state())
    garden.assert_whole()


# -- receipts, void records, checkpoints: what can not be read takes nothing away ------------------------------------------------------------


@pytest.mark.parametrize("void", [False, True])
def test_a_receipt_that_can_not_be_read_stops_nobody_and_takes_nothing_away(garden: Garden, void: bool) -> None:
    snapshot = list(garden.expected)[1]
    name = parse_numbered_key(key_of(garden, snapshot))
    assert name is not None
    key = receipt_key(name.host, name.number, snapshot, void=void)
    garden.store.objects[key] = b"garbage"
    for _ in range(2):
        garden.prune(state=garden.state())
    browser = garden.browser()
    assert [problem.object_name for problem in browser.problems] == [key]
    (standing,) = [one.standing for one in browser.snapshots if one.id == snapshot]
    assert standing is (Standing.CONFIRMED if void else Standing.UNCONFIRMED)
    assert key in garden.store.objects
    give_up(garden, snapshot.hex())
    garden.expected.pop(snapshot)
    garden.prune(state=garden.state())
    garden.back_up({"a": noise(1)})  # else its object is the newest, and stays
    for _ in range(2):
        garden.prune(state=garden.state())
    assert not [key for key in garden.keys("receipts") if snapshot.hex() in key]
    garden.assert_whole()


def test_a_receipt_that_can_not_be_read_supersedes_nothing(garden: Garden) -> None:
    """The one before it has no receipt yet: with a good one it would be taken for given up."""
    first, second = list(garden.expected)[:2]
    (unconfirmed,) = [key for key in garden.keys("receipts") if first.hex() in key]
    del garden.store.objects[unconfirmed]
    (damaged,) = [key for key in garden.keys("receipts") if second.hex() in key]
    rot(garden, damaged)
    assert {one.id: one.standing for one in survey(garden).roots.snapshots}[first] is Standing.UNCONFIRMED


def test_garbage_under_the_name_of_a_receipt_can_be_got_rid_of(garden: Garden) -> None:
    liar = machine_of(garden)
    nothing = SnapshotId(random_bytes(32))
    key = receipt_key(liar.host_file.key.host, 3, nothing)
    garden.store.put(key, b"garbage")
    garden.prune(state=garden.state())
    give_up(garden, nothing.hex()[:10])
    garden.prune(state=garden.state())
    garden.assert_whole()
    assert key not in garden.store.objects


def test_a_thief_can_not_take_back_what_a_host_has_backed_up(garden: Garden) -> None:
    """All void records are well signed. That frames are lacking is what makes one true."""
    stolen = garden.repository.first
    for snapshot in list(garden.expected)[:2]:
        name = parse_numbered_key(key_of(garden, snapshot))
        assert name is not None
        garden.store.put(*build_receipt(stolen.repository, name.number, snapshot, void=True))
    for _ in range(3):
        garden.prune(state=garden.state())
        garden.assert_whole()
    forgotten = next(iter(garden.expected))
    garden.forget(forgotten)
    garden.prune(state=garden.state())
    garden.assert_whole()
    assert not [key for key in garden.keys("snapshots") if forgotten.hex() in key]


def test_a_void_snapshot_that_lacks_frames_is_nobodys(garden: Garden) -> None:
    liar = machine_of(garden)
    snapshot = list(garden.expected)[-1]
    key = key_of(garden, snapshot)
    name = parse_numbered_key(key)
    assert name is not None
    for lost in [lost for lost in garden.keys("packs") if name.host.hex() in lost]:
        del garden.store.objects[lost]
    assert commands(garden) == [key]
    garden.store.put(*build_receipt(liar.repository, name.number, snapshot, void=True))
    garden.expected.pop(snapshot)
    garden.prune(state=garden.state())
    assert {one.id: one.standing for one in survey(garden).roots.snapshots}[snapshot] is Standing.VOID


def test_a_receipt_for_another_state_is_none(garden: Garden) -> None:
    """A void record under the name of a receipt."""
    liar = machine_of(garden)
    key = key_of(garden, list(garden.expected)[-1])
    name = parse_numbered_key(key)
    assert name is not None
    snapshot = SnapshotId(name.object_id)
    receipt = Receipt(liar.repository.repository, name.host, name.number, snapshot, ReceiptState.VOID)
    garden.store.objects[receipt_key(name.host, name.number, snapshot)] = build_record(Magic.RECEIPT, receipt, liar.repository.key.sign)
    garden.prune(state=garden.state())
    assert key in garden.store.objects


def test_a_checkpoint_that_can_not_be_read_needs_nothing(garden: Garden) -> None:
    liar = machine_of(garden)
    key = checkpoint_key(liar.host_file.key.host, new_session_id(liar.host_file.key.host), 1)
    garden.store.put(key, b"garbage")
    garden.prune(state=garden.state())
    garden.prune(state=garden.state())
    garden.assert_whole()
    assert key not in garden.store.objects


# -- a host that is revoked ------------------------------------------------------------------------------------------------------------------


def garbage_snapshots(garden: Garden, liar: Machine) -> None:
    for seq in (1, 2, 3, 10**6):
        garden.store.put(garbage(liar, seq), b"garbage")


def signed_snapshots(garden: Garden, liar: Machine) -> None:
    put_snapshot(garden, liar, 3, needed=(NeededFrames(b"s" * 16, b"\xff"),), heads=(Head(liar.host_file.key.host, 9, b"h" * 32),))
    put_snapshot(garden, liar, 10**6)


def false_receipts(garden: Garden, liar: Machine) -> None:
    for seq in (1, 2, 10**6):
        garden.store.put(*build_receipt(liar.repository, seq, SnapshotId(random_bytes(32))))
    garden.store.put(receipt_key(liar.host_file.key.host, 5, SnapshotId(random_bytes(32))), b"garbage")


def false_segments(garden: Garden, liar: Machine) -> None:
    """With the right hash, so that no repair removes them."""
    garden.store.put(segment_key(liar.host_file.key.host, 9, SegmentId(object_hash(b"garbage"))), b"garbage")


def garbage_checkpoints(garden: Garden, liar: Machine) -> None:
    garden.store.put(checkpoint_key(liar.host_file.key.host, new_session_id(liar.host_file.key.host), 1), b"garbage")


LIES: list[Callable[[Garden, Machine], None]] = [garbage_snapshots, signed_snapshots, false_receipts, false_segments, garbage_checkpoints]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lie", LIES)
def test_garbage_of_a_revoked_host_stops_nothing(garden: Garden, lie: Callable[[Garden, Machine], None], when: str) -> None:
    liar = machine_of(garden)
    machine = garden.state()
    Surveyor(garden.maintainer(), machine).survey()
    if when == "before":
        lie(garden, liar)
        Surveyor(garden.maintainer(), machine).survey()  # what it has seen of the liar counts no more than the rest
    garden.repository.revoke("liar", 1)
    if when == "after":
        lie(garden, liar)
    for state in (machine, garden.state()):
        garden.prune(state=state)
        garden.back_up({"a": noise(1), "n": noise(len(garden.expected) + 20)})
    browser = garden.browser()
    assert {snapshot.id for snapshot in browser.snapshots} >= garden.expected.keys()
    checked = check(browser, CheckOptions(), SystemClock(), monitor := RecordingMonitor()).problems
    assert all(problem.object_name.startswith(("index/", "receipts/")) for problem in checked)
    assert bool(browser.roots.ignored) == any("count for nothing" in note for note in monitor.notes)


@pytest.mark.parametrize("linked", [True, False], ids=["an older one", "its last one"])
def test_a_damaged_snapshot_of_a_revoked_host_is_no_noise(garden: Garden, linked: bool) -> None:
    """The next one names it as the one before; and of the last the owner has signed the number."""
    stolen = machine_of(garden)
    garden.back_up({"l": noise(9)}, machine=stolen)
    older, last = list(garden.expected)[-2:]
    garden.repository.revoke("liar")
    lost = older if linked else last
    rot(garden, key_of(garden, lost))
    (command,) = commands(garden)
    assert command == (key_of(garden, lost) if linked else f"{stolen.host_file.key.host.hex()[:12]}:2")
    give_up(garden, command)
    garden.expected.pop(lost)
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_a_revocation_takes_the_newest_good_snapshot(garden: Garden) -> None:
    stolen = machine_of(garden)
    garden.back_up({"l": noise(9)}, machine=stolen)
    plan = plan_revocation(garden.repository.owner(), garden.state(), "liar")
    assert (plan.last_seq, plan.kept, plan.left_out, plan.doubts) == (2, 2, (), ())
    key = garbage(stolen, 7)
    garden.store.put(key, b"garbage")
    plan = plan_revocation(garden.repository.owner(), garden.state(), "liar")
    assert (plan.last_seq, plan.left_out) == (2, (key,))
    assert key in plan.doubts[0]
    with pytest.raises(UsageError, match="--last-seq 2"):
        garden.repository.revoke("liar")
    with pytest.raises(UsageError, match="no good snapshot numbered 7"):
        garden.repository.revoke("liar", 7)
    garden.repository.revoke("liar", 2)
    garden.prune(state=garden.state())
    garden.assert_whole()


def test_a_revocation_in_doubt_about_the_chain_asks(garden: Garden) -> None:
    stolen = machine_of(garden)
    put_snapshot(garden, stolen, 40)
    plan = plan_revocation(garden.repository.owner(), garden.state(), "liar")
    assert plan.last_seq == 40 and "lacks the snapshots numbered 2-39" in plan.doubts[0]


def test_the_owner_may_choose_an_earlier_last_snapshot(garden: Garden) -> None:
    """It was stolen before the second one; and that is found out only after it has been revoked."""
    stolen = machine_of(garden)
    later = garden.back_up({"l": noise(9, 60_000)}, machine=stolen)
    garden.repository.revoke("liar")
    with pytest.raises(UsageError, match="already"):
        garden.repository.revoke("liar")
    garden.repository.revoke("liar", 1)
    garden.expected.pop(later)
    before = len(garden.keys("packs"))
    for _ in range(2):
        garden.prune(state=garden.state())
        garden.assert_whole()
    assert len(garden.keys("packs")) < before


# -- a store that was rolled back ------------------------------------------------------------------------------------------------------------


def test_a_rollback_is_said_until_the_owner_gives_up_what_it_took(garden: Garden) -> None:
    machine = garden.repository.owner_state()
    before = dict(garden.store.objects)
    lost = [garden.back_up({"r": noise(number)}) for number in (11, 12)]
    garden.prune(state=machine)
    garden.store.objects = before
    for snapshot in lost:
        garden.expected.pop(snapshot)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="rolled back") as caught:
            garden.prune(state=machine)
    (newest,) = COMMAND.findall(str(caught.value))
    seen = Surveyor(garden.maintainer(), machine).survey()
    forget_snapshots(garden.maintainer(), seen.roots, plan_forget_by_id(seen, [newest]).chosen, garden.repository.clock)
    with pytest.raises(IntegrityError, match="lacks the snapshots numbered 3") as caught:  # of which nobody knows more than the number
        garden.prune(state=machine)
    (number,) = COMMAND.findall(str(caught.value))
    seen = Surveyor(garden.maintainer(), machine).survey()
    forget_snapshots(garden.maintainer(), seen.roots, plan_forget_by_id(seen, [number]).chosen, garden.repository.clock)
    for state in (machine, garden.state()):
        garden.prune(state=state)
        garden.assert_whole()


# -- backups of other hosts ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trust_hosts", [False, True])
@pytest.mark.parametrize("lie", LIES)
def test_a_host_that_lies_does_not_disturb_the_backups_of_others(lie: Callable[[Garden, Machine], None], trust_hosts: bool) -> None:
    with open_garden(trust_hosts=trust_hosts) as garden:
        liar = machine_of(garden)
        garden.back_up({"a": noise(1)})
        lie(garden, liar)
        for number in range(3):
            garden.back_up({"a": noise(number)})  # it is an error if that reports a problem


def test_another_name_with_the_number_of_the_newest_is_no_rollback(garden: Garden) -> None:
    liar = machine_of(garden)
    garden.back_up({"a": noise(5)})  # this host has seen the liar's first
    seen = parse_numbered_key(key_of(garden, list(garden.expected)[-2]))
    assert seen is not None
    for snapshot in (b"\0" * 32, b"\xff" * 32):
        garden.store.put(garbage(liar, seen.number, snapshot), b"garbage")
    garden.back_up({"a": noise(6)})


def test_a_host_whose_numbers_are_used_up_says_so(garden: Garden) -> None:
    """Its snapshot would have a name that nobody reads."""
    first = garden.repository.first
    garden.store.put(garbage(first, 10**10 - 1), b"garbage")
    with pytest.raises(SeedcornError, match="enrol it anew"):
        garden.back_up({"a": noise(5)})
