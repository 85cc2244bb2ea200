"""What lies in the bucket, and what can be read off it.

Owns: the store as a value, and the pure readings that hosts and collectors share. A set stands for a prefix; nothing is ever overwritten. A LIST is
one step here: a real one that takes several requests returns at least every key put before it began, which is all that is used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

__all__ = [
    "Frame",
    "Gc",
    "Pack",
    "Record",
    "Relocation",
    "Root",
    "Roots",
    "Segment",
    "Store",
    "frames_in",
    "indexed",
    "needed_frames",
    "needs_of",
    "pending",
    "readings_of",
    "swept_packs",
]


class Frame(NamedTuple):
    """A frame: the content of one file, sealed by one session. Equal content of two sessions is two frames."""

    content: str
    session: str


class Pack(NamedTuple):
    """A pack, with the frames in it."""

    name: str
    frames: frozenset[Frame]


Segment = frozenset[Pack]


class Root(NamedTuple):
    """A snapshot or a checkpoint: the frames that its session needs."""

    session: str
    frames: frozenset[Frame]


class Record(NamedTuple):
    """``gc/N.mark`` or ``gc/N.sweep`` with the packs it names, or ``gc/N.done`` with those of them that were kept."""

    number: str
    packs: frozenset[Pack]


class Gc(NamedTuple):
    """Everything under ``gc/``. An expiry is the session of a snapshot, or that of a checkpoint and ``/checkpoint``."""

    marks: frozenset[Record] = frozenset()
    sweeps: frozenset[Record] = frozenset()
    dones: frozenset[Record] = frozenset()
    expiries: frozenset[str] = frozenset()


class Relocation(NamedTuple):
    """``relocations/N``: what snapshots, by their sessions, need from when it is done."""

    number: int
    name: str
    needs: frozenset[Root]


class Roots(NamedTuple):
    """Everything that makes a root, or takes one away. All but the first two and the relocations are sets of names."""

    snapshots: frozenset[Root] = frozenset()
    checkpoints: frozenset[Root] = frozenset()
    receipts: frozenset[str] = frozenset()
    voids: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()
    relocations: frozenset[Relocation] = frozenset()
    done: frozenset[str] = frozenset()  # relocations


class Store(NamedTuple):
    """The bucket. ``confirmed`` is not in it: it is what the program has promised so far, for the invariants alone."""

    packs: frozenset[Pack] = frozenset()
    segments: frozenset[Segment] = frozenset()
    roots: Roots = Roots()
    gc: Gc = Gc()
    confirmed: frozenset[str] = frozenset()


def frames_in(packs: Iterable[Pack]) -> frozenset[Frame]:
    """All frames of these packs."""
    return frozenset().union(*(pack.frames for pack in packs))


def indexed(segments: Iterable[Segment]) -> frozenset[Pack]:
    """All packs that these segments list."""
    return frozenset().union(*segments)


def readings_of(gc: Gc, *, damaged: bool) -> Iterator[Gc]:
    """``gc/`` as it is; and if some of its done records may be ``damaged``, as it is without any of these."""
    for count in range(len(gc.dones) + 1 if damaged else 0):
        for readable in combinations(sorted(gc.dones, key=lambda done: done.number), count):
            yield gc._replace(dones=frozenset(readable))
    if not damaged:
        yield gc


def kept_by(gc: Gc, number: str) -> frozenset[Pack] | None:
    """The packs that sweep ``number`` has spared, or None before its ``done``."""
    return next((done.packs for done in gc.dones if done.number == number), None)


def swept_packs(gc: Gc, *, unfinished: bool = True, finished: bool = True, but: str = "") -> frozenset[Pack]:
    """Packs that a sweep (other than ``but``) may delete, if it is unfinished, or has deleted, if it is finished."""
    packs: set[Pack] = set()
    for number, named in gc.sweeps:
        if number != but:
            kept = kept_by(gc, number)
            if kept is None:
                packs |= named if unfinished else frozenset()
            elif finished:
                packs |= named - kept
    return frozenset(packs)


def needed_frames(roots: Roots, expiries: frozenset[str]) -> frozenset[Frame]:
    """What the roots need.

    A snapshot is a root until it is void, forgotten, or expired without a receipt; a checkpoint until it expires or its snapshot is there; a
    relocation as long as it may yet be done.
    """
    gone = roots.voids | roots.forgotten | (expiries - roots.receipts)
    committed = {snapshot.session for snapshot in roots.snapshots}
    needed: set[Frame] = set()
    for snapshot in roots.snapshots:
        if snapshot.session not in gone:
            needed |= needs_of(roots, snapshot)
    for relocation in pending(roots, committed - gone):
        needed |= frozenset().union(*(root.frames for root in relocation.needs))
    for session, frames in roots.checkpoints:
        if session not in committed and f"{session}/checkpoint" not in expiries:
            needed |= frames
    return frozenset(needed)


def needs_of(roots: Roots, snapshot: Root) -> frozenset[Frame]:
    """What a snapshot needs: what it says, or the last relocation that is done and names it."""
    ruling = _ruling(roots, snapshot.session)
    return snapshot.frames if ruling is None else next(root.frames for root in ruling.needs if root.session == snapshot.session)


def pending(roots: Roots, sessions: Collection[str]) -> list[Relocation]:
    """The relocations that may yet be done: of at least one snapshot that they name, and that is among these, none rules that would go before."""

    def may_rule(relocation: Relocation, session: str) -> bool:
        ruling = _ruling(roots, session)
        return session in sessions and (ruling is None or ruling[:2] < relocation[:2])

    return [relocation for relocation in roots.relocations if any(may_rule(relocation, root.session) for root in relocation.needs)]


def _ruling(roots: Roots, session: str) -> Relocation | None:
    done = (one for one in roots.relocations if one.name in roots.done and any(root.session == session for root in one.needs))
    return max(done, default=None, key=lambda one: one[:2])
