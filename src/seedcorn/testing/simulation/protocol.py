"""What must hold of each process that backs up, forgets or collects: the order of what it asks of the store, and what it leaves out.

Owns I2, I4 to I7, I10 and I12 as far as one process can break them. They are judged by the log of the process and by what the store really holds, so
that a missing look is seen also where it happens to do no harm. docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from seedcorn.crypto import primitives
from seedcorn.errors import ObjectNotFoundError
from seedcorn.format.codec import Envelope, Magic, decode
from seedcorn.format.collection import CollectionRecord, ForgetRecord
from seedcorn.format.names import spare_key
from seedcorn.testing.simulation.faults import Verb
from seedcorn.testing.simulation.process import Process
from seedcorn.testing.simulation.store import Operation
from seedcorn.testing.simulation.truth import packs_of
from seedcorn.testing.simulation.world import Confirmed, Invariant, InvariantViolationError, Moment, World

__all__ = ["PROTOCOL"]

_BRAKE_SHARE = 0.6  # twice the program's: others may delete between its look and its record
_LOOKED_AT = ("relocations/", "gc/", "forget/", "receipts/", "checkpoints/", "snapshots/", "index/", "packs/")
_ROOT_ROOMS = ("relocations/", "hosts/", "snapshots/", "forget/", "gc/", "index/")  # of the others what can not be read takes nothing away
_HARMLESS = re.compile(r"gc/.*\.(mark|done)")  # nor of these


# -- hosts -------------------------------------------------------------------------------------------------------------------------------------


def _success_was_looked_at(world: World) -> None:
    """I2 and I5, when a backup has reported success: receipt after snapshot and ``gc/`` after that; before, ``gc/``, then the index, and nothing of
    what it relied on was named by a mark or a sweep."""
    for process, confirmed in _just_backed_up(world):
        snapshot = process.position(Verb.PUT, confirmed.key)
        receipt = process.position(Verb.PUT, confirmed.receipt_key)
        if not snapshot < receipt < process.position(Verb.LIST, "gc/") or process.outcomes(Verb.LIST, receipt)["gc/"] != "ok":
            raise InvariantViolationError(f"I2: {confirmed.key} was reported as done without a good look at gc/ after its receipt")
        if f"{confirmed.receipt_key}.void" in world.store.contents.objects:
            raise InvariantViolationError(f"I2: {confirmed.key} was reported as done, and its own host has taken it back")
        begun, dead = max((base for base in process.bases if base[0] <= snapshot), default=(0, frozenset()))
        looked = [at for at, operation in enumerate(process.log) if operation.verb is Verb.LIST and operation.key.startswith("index/")]
        if not begun or not any(begun <= at < snapshot for at in looked):
            raise InvariantViolationError(f"I5: {confirmed.key} was made from an index that was listed before gc/")
        unread = [key for key, outcome in process.outcomes(Verb.GET).items() if outcome != "ok" and key.endswith(".mark")]
        still_dead = dead & world.truth.dead(unread=unread)  # nor says a mark anything that is taken back between its listing and its reading
        if world.truth.lacks(confirmed.needed, lambda pack, dead=still_dead: pack not in dead):  # type: ignore[misc]
            raise InvariantViolationError(f"I5: {confirmed.key} relies on packs that a mark or a sweep named when its backup began")


def _just_backed_up(world: World) -> Iterator[tuple[Process, Confirmed]]:
    for process in world.processes.values():
        if process.purpose.name == "backup":
            yield from ((process, one) for one in world.confirmed.values() if one.key in process.connection.acknowledged)


# -- collectors ----------------------------------------------------------------------------------------------------------------------------------


def _live_frames_have_a_copy(world: World) -> None:
    """I6: each frame of a promise has a copy that no collector is about to delete."""
    doomed = frozenset[str]().union(*(process.doomed for process in world.processes.values()))
    for confirmed in world.confirmed.values() if doomed else ():
        needed = world.truth.needed_now(confirmed.key, confirmed.needed)
        if world.truth.lacks(needed, lambda pack: world.truth.is_reachable(pack) and pack not in doomed):
            raise InvariantViolationError(f"I6: every copy of a frame that {confirmed.key} needs is about to be deleted")


def _packs_are_deleted_by_the_book(world: World) -> None:
    """I4 and I7: a pack is deleted by the process that named it in a sweep, which has since looked at everything again and found all of it sound."""
    operation = world.store.log[-1]
    process = world.processes.get(operation.actor)
    if operation.verb is not Verb.DELETE or process is None:
        return
    packs = frozenset(key for key in operation.keys if key.startswith("packs/"))
    if process.purpose.name == "repair":
        packs = frozenset(key for key in packs - world.lies if primitives.object_hash(world.written[key]).hex() == key.rpartition("/")[2])
        if packs:
            raise InvariantViolationError(f"I4: a repair deletes {min(packs)}, which is as good as ever")
    if not packs:
        return
    at, sweep = _own_sweep(process)
    if not packs <= packs_of(sweep):
        raise InvariantViolationError(f"I4: {operation.actor} deletes {min(packs - packs_of(sweep))} without a sweep of its own that names it")
    listed = process.outcomes(Verb.LIST, at)
    for room in _LOOKED_AT:
        if room not in listed:
            raise InvariantViolationError(f"I4: {operation.actor} deletes packs without having listed {room} after its sweep")
        if listed[room] != "ok":
            raise InvariantViolationError(f"I7: {operation.actor} deletes packs although its last look at {room} went wrong: {listed[room]}")
    _refuse_unread(world, process, operation)


def _refuse_unread(world: World, process: Process, operation: Operation) -> None:
    outcomes = process.outcomes(Verb.GET)
    for key, outcome in outcomes.items():
        if outcome != "ok" and key.startswith(_ROOT_ROOMS) and not _HARMLESS.fullmatch(key):
            if outcomes.get(spare_key(key)) == "ok":
                continue
            if outcome == ObjectNotFoundError.__name__ and key not in world.store.contents.objects:
                continue  # another maintainer has removed it
            if key.startswith("snapshots/") and world.truth.is_given_up(key):
                continue
            raise InvariantViolationError(f"I7: {operation.actor} deletes packs although it could not read {key}: {outcome}")


def _own_sweep(process: Process) -> tuple[int, CollectionRecord]:
    for at, operation in process.puts(".sweep"):
        return at, _record(operation)
    raise InvariantViolationError("I4: packs are deleted by a process that has put no sweep")


def _record(operation: Operation) -> CollectionRecord:
    assert operation.content is not None
    return decode(Envelope.parse(Magic.COLLECTION, operation.content).parts[0], CollectionRecord)


def _records_are_true(world: World) -> None:
    """I4 and I7 when a collector puts a sweep: the roots were listed for it, and it stays within the brake. When it puts done: the sweep is its own,
    and every pack of it was deleted by the same process, or is said to be kept, or is gone."""
    operation = world.store.log[-1]
    process = world.processes.get(operation.actor)
    if operation.verb is not Verb.PUT or process is None or not operation.is_done:
        return
    if operation.key.endswith(".sweep"):
        marks = [at for at, _ in process.puts(".mark")]
        listed = process.outcomes(Verb.LIST, marks[0] if marks else -1)
        if "snapshots/" not in listed or "index/" not in listed:
            raise InvariantViolationError(f"G4: {operation.actor} sweeps without having listed the roots after its mark")
        _refuse_large(world, process, _record(operation))
    elif operation.key.startswith("gc/") and operation.key.endswith(".done"):
        done = _record(operation)
        own = [record for _, put in process.puts(".sweep") if (record := _record(put)).collection == done.collection]
        if not own:
            raise InvariantViolationError(f"I4: {operation.actor} says that the sweep of another one is done")
        asked = {key for one in process.log if one.verb is Verb.DELETE for key in one.keys}
        left = {pack for pack in packs_of(own[0]) - asked - packs_of(done) if world.truth.is_reachable(pack)}
        if left:
            raise InvariantViolationError(f"I4: {operation.actor} is done, and does not say that {min(left)} was kept")


def _refuse_large(world: World, process: Process, sweep: CollectionRecord) -> None:
    if not process.purpose.has_brake or any(record.copies for record in world.truth.collections.values()):
        return  # packs whose frames have been moved do not count
    sizes = {key: len(data) for key, data in world.store.contents.objects.items() if key.startswith("packs/")}
    share = sum(sizes.get(pack, 0) for pack in packs_of(sweep)) / max(1, sum(sizes.values()))
    if share > _BRAKE_SHARE:
        raise InvariantViolationError(f"I7: a sweep of {100 * share:.0f} % of all bytes, and nobody has allowed it")


# -- who forgets -------------------------------------------------------------------------------------------------------------------------------


def _only_what_was_asked_is_forgotten(world: World) -> None:
    """I12 and I10: a forget record names snapshots of the hosts that it is about, and by a policy confirmed ones alone."""
    operation = world.store.log[-1]
    process = world.processes.get(operation.actor)
    if operation.verb is not Verb.PUT or not operation.key.startswith("forget/") or process is None:
        return
    assert operation.content is not None
    record = decode(Envelope.parse(Magic.FORGET, operation.content).parts[0], ForgetRecord)
    if any(ref.host not in process.purpose.may_forget for ref in record.forgotten):
        raise InvariantViolationError(f"I12: {operation.actor} forgets a snapshot of another host than it was asked to")
    if process.purpose.by_policy and not process.is_rolled_back and not all(map(world.truth.is_receipted_or_gone, record.forgotten)):
        raise InvariantViolationError(f"I10: a policy of {operation.actor} forgets a snapshot that is not confirmed")


PROTOCOL: Sequence[Invariant] = (
    Invariant("I2 and I5", frozenset({Moment.CONFIRMED}), _success_was_looked_at, is_weak_too=False),
    Invariant("I6", frozenset({Moment.CONFIRMED, Moment.DECIDED}), _live_frames_have_a_copy),
    Invariant("I4 and I7", frozenset({Moment.OPERATION}), _packs_are_deleted_by_the_book),
    Invariant("records of collections", frozenset({Moment.OPERATION}), _records_are_true),
    Invariant("I10 and I12", frozenset({Moment.OPERATION}), _only_what_was_asked_is_forgotten),
)
