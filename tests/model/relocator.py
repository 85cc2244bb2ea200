"""The owner who writes the content of a poor frame anew, and lets snapshots need the new frame in its place.

That a frame is poor plays no part: any that a confirmed snapshot needs will do. Every function is one step; its first line says which.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.actors import Outcomes, Setting, Step, next_round
from tests.model.records import Frame, Pack, Relocation, Root, Roots, Store, frames_in, needs_of, pending

__all__ = ["STEPS", "Relocator"]


class Relocator(NamedTuple):
    """Memory of a relocator; all but name and round are lost in a crash."""

    name: str
    round: int = 1
    at: str = "D0"
    poor: Frame | None = None
    walked: frozenset[str] = frozenset()  # the snapshots that were confirmed when it chose
    listed: Roots = Roots()  # relocations before its own
    record: Relocation | None = None

    @property
    def session(self) -> str:
        """The name of this round."""
        return f"{self.name}{self.round}"


def d0_choose(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """D0 lists roots, and reads a frame that a confirmed snapshot needs"""
    confirmed = list(confirmed_snapshots(store.roots))
    walked = frozenset(snapshot.session for snapshot in confirmed)
    for frame in frozenset().union(*(needs_of(store.roots, snapshot) for snapshot in confirmed)) & frames_in(store.packs):
        yield store, relocator._replace(at="D1 pack", poor=frame, walked=walked)


def confirmed_snapshots(roots: Roots) -> Iterator[Root]:
    """Those with a receipt, neither void nor forgotten."""
    return (one for one in roots.snapshots if one.session in roots.receipts - roots.voids - roots.forgotten)


def new_frame(relocator: Relocator) -> Frame:
    """What takes the place of the poor one."""
    assert relocator.poor is not None
    return Frame(relocator.poor.content, relocator.session)


def own_pack(relocator: Relocator) -> Pack:
    """The pack with it."""
    return Pack(relocator.session, frozenset({new_frame(relocator)}))


def d1_put_pack(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """D1 puts a pack"""
    yield store._replace(packs=store.packs | {own_pack(relocator)}), relocator._replace(at="D1 segment")


def d1_put_segment(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """D1 puts the segment that lists it"""
    yield store._replace(segments=store.segments | {frozenset({own_pack(relocator)})}), relocator._replace(at="D2 relocations")


def d2_list_relocations(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """D2 lists relocations"""
    listed = Roots(relocations=store.roots.relocations, done=store.roots.done)
    yield store, relocator._replace(at="D2 roots", listed=listed)


def d2_list_roots(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """D2 lists roots, after relocations, and makes up its record"""
    listed, needs = relocator.listed, set()
    confirmed = [one for one in confirmed_snapshots(store.roots) if one.session in relocator.walked]
    left = {root.session for one in pending(listed, {one.session for one in confirmed}) for root in one.needs}
    for snapshot in confirmed:
        now = needs_of(listed, snapshot)
        if relocator.poor in now or snapshot.session in left:
            after = (now - {relocator.poor}) | ({new_frame(relocator)} if relocator.poor in now else set())
            needs.add(Root(snapshot.session, frozenset(after)))
    if needs:
        number = max((one.number for one in listed.relocations), default=0) + 1
        at = "D3" if setting.rules.announce_relocations else "D6"
        yield store, relocator._replace(at=at, record=Relocation(number, relocator.session, frozenset(needs)))
    else:
        yield store, next_round(relocator, setting.relocations)


def announced(store: Store, relocator: Relocator) -> Store:
    """The store with its record in it."""
    assert relocator.record is not None
    return store._replace(roots=store.roots._replace(relocations=store.roots.relocations | {relocator.record}))


def d3_announce(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """D3 announces the relocation"""
    yield announced(store, relocator), relocator._replace(at="D4")


def d4_relist_relocations(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """D4 lists relocations again: nobody else has announced or done any"""
    roots, listed = store.roots, relocator.listed
    alone = (roots.relocations - {relocator.record}, roots.done) == (listed.relocations, listed.done)
    goes_on = alone or not setting.rules.relist_relocations_after_announcement
    yield store, relocator._replace(at="D5") if goes_on else next_round(relocator, setting.relocations)


def d5_list_gc(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """D5 lists gc/, after the announcement: no sweep names its pack"""
    torn = any(own_pack(relocator) in sweep.packs for sweep in store.gc.sweeps)
    yield store, next_round(relocator, setting.relocations) if torn and setting.rules.list_gc_after_announcement else relocator._replace(at="D6")


def d6_put_done(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """D6 puts done: from here on the relocation rules"""
    there = announced(store, relocator)
    yield there._replace(roots=there.roots._replace(done=there.roots.done | {relocator.session})), next_round(relocator, setting.relocations)


def crash_and_start_again(setting: Setting, store: Store, relocator: Relocator) -> Outcomes[Relocator]:
    """crashes, and starts anew"""
    if relocator.round < setting.relocations:
        yield store, next_round(relocator, setting.relocations)


_ROWS: dict[str, Step[Relocator]] = {
    "D1 pack": d1_put_pack,
    "D1 segment": d1_put_segment,
    "D2 relocations": d2_list_relocations,
    "D2 roots": d2_list_roots,
    "D3": d3_announce,
    "D4": d4_relist_relocations,
    "D5": d5_list_gc,
    "D6": d6_put_done,
}
STEPS: dict[str, tuple[Step[Relocator], ...]] = {at: (step, crash_and_start_again) for at, step in _ROWS.items()} | {"D0": (d0_choose,)}
