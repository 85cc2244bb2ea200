"""A collector: G1 to G8.

A collection has a number that is its own, such as "1.1"; a create-only put of ``gc/N.mark`` decides who gets N, and a random id in the name serves as
well. Every function is one step; its first line says which.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from tests.model.actors import Outcomes, Setting, Step, next_round
from tests.model.records import Frame, Pack, Record, Roots, Segment, Store, frames_in, indexed, kept_by, needed_frames, readings_of, swept_packs

__all__ = ["STEPS", "Collector"]

NONE: frozenset[Pack] = frozenset()


class Collector(NamedTuple):
    """Memory of a collector; all but name and round are lost in a crash."""

    name: str
    round: int = 1
    at: str = "G1"
    number: str = ""  # of the collection that it works on: its own, by the rules
    victims: frozenset[Pack] = NONE  # what it marks or sweeps
    expiring: str = ""
    receipts: frozenset[str] = frozenset()  # those listed before its expiry
    swept: frozenset[Pack] = NONE  # by others: no survivors (read at G6, by the rules, as are the next four)
    expiries: frozenset[str] = frozenset()
    relocations: Roots = Roots()  # the relocations alone
    roots: Roots = Roots()
    segments: frozenset[Segment] = frozenset()
    read: tuple[str, ...] = ()  # what was read after the sweep, for I4
    doomed: frozenset[Pack] = NONE  # what it will delete
    copy: Pack | None = None  # what it repacks into


def find_abandoned(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """E0 lists roots, and takes one without a receipt for abandoned"""
    if not setting.expiry:
        return
    roots, expiries = store.roots, store.gc.expiries
    committed = {snapshot.session for snapshot in roots.snapshots}
    names = [session for session in committed if session not in roots.receipts | roots.voids]
    names += [f"{checkpoint.session}/checkpoint" for checkpoint in roots.checkpoints if checkpoint.session not in committed]
    for name in names:
        if name not in expiries:
            yield store, collector._replace(at="E1", expiring=name, receipts=roots.receipts)


def put_expiry(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """E1 puts the expiry"""
    expired = store._replace(gc=store.gc._replace(expiries=store.gc.expiries | {collector.expiring}))
    before = frozenset() if setting.rules.relist_receipts_after_expiry else collector.receipts
    yield expired, collector._replace(at="G1", receipts=before)


def g1_load_roots(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G1 loads roots and index, lists packs, and chooses what to sweep"""
    # One step for four readings: nothing rests on them, G6 examines all again.
    needed = needed_frames(believed(setting, store.roots, collector), store.gc.expiries)
    swept = survivors_lost(setting, store, "")
    live = frozenset(pack for pack in store.packs if pack.frames & needed)
    chosen = collector._replace(number=f"{collector.name}.{collector.round}", at="G2" if setting.marks else "G5", expiring="")
    for reading in READINGS.keys() - set(readings_at_g6(setting)):  # by the rules, none: memory starts empty at G5
        chosen = READINGS[reading](setting, store, chosen)
    for spared in redundant(live, needed, swept):
        for dead in garbage(setting, store, live):
            if dead | spared:
                yield store, chosen._replace(victims=dead | spared)
    for old in live & indexed(store.segments) if setting.repacking else NONE:
        copy = Pack(f"repack {chosen.number}", old.frames & needed)
        yield store, chosen._replace(at="R pack", victims=(store.packs - live) | {old}, copy=copy)


def garbage(setting: Setting, store: Store, live: frozenset[Pack]) -> set[frozenset[Pack]]:
    """What a collector may take of the packs that nothing needs: all, or those that are old."""
    dead = store.packs - live
    return {dead, frozenset(pack for pack in dead if pack.name.startswith("old"))} if setting.young else {dead}


def put_repacked(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """R puts a new pack with the frames of an old one that are needed"""
    assert collector.copy is not None
    yield store._replace(packs=store.packs | {collector.copy}), collector._replace(at="R segment")


def put_repacked_segment(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """R puts the segment that lists the new pack; the old one will be swept"""
    assert collector.copy is not None
    segments = store.segments | {frozenset({collector.copy})}
    yield store._replace(segments=segments), collector._replace(at="G2" if setting.marks else "G5", copy=None)


def redundant(live: frozenset[Pack], needed: frozenset[Frame], swept: frozenset[Pack]) -> Iterator[frozenset[Pack]]:
    """Each set of live packs without which every frame that is needed still has a copy outside all sweeps."""
    for count in range(len(live)):
        for chosen in combinations(sorted(live), count):
            if needed & frames_in(chosen) <= frames_in(live - swept - frozenset(chosen)):
                yield frozenset(chosen)
    if not live:
        yield NONE


def survivors_lost(setting: Setting, store: Store, number: str) -> frozenset[Pack]:
    """The packs that sweeps other than this one have deleted or may delete."""
    return swept_packs(store.gc, unfinished=not setting.rules.count_unfinished_as_survivors, but=number)


def believed(setting: Setting, roots: Roots, collector: Collector) -> Roots:
    """The roots just listed; without the receipts among them where an expiry counts against older ones, and without what is only announced where that
    is no root."""
    if not setting.rules.keep_announced:
        roots = roots._replace(relocations=frozenset(one for one in roots.relocations if one.name in roots.done))
    return roots if setting.rules.relist_receipts_after_expiry else roots._replace(receipts=collector.receipts)


def readings_at_g6(setting: Setting) -> tuple[str, ...]:
    """What is read after the sweep, in this order."""
    relocations = ("relocations",) if setting.relocators and setting.rules.relist_relocations else ()
    return relocations + setting.rules.read_at_g6


def adopt_sweep(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """goes on at G6 with a sweep that another left unfinished"""
    if setting.rules.finish_others_sweeps:
        for number, packs in store.gc.sweeps:
            if kept_by(store.gc, number) is None:
                yield store, read_next(setting, collector._replace(number=number, victims=packs), ())


def g2_put_mark(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G2 puts the mark"""
    mark = Record(collector.number, collector.victims)
    yield store._replace(gc=store.gc._replace(marks=store.gc.marks | {mark})), collector._replace(at="G4")


def g4_relist_roots(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G4 (the grace is over) lists the roots again, and rescues"""
    needed = needed_frames(believed(setting, store.roots, collector), store.gc.expiries)
    rescued = to_keep(collector.victims, needed, indexed(store.segments), survivors_lost(setting, store, collector.number))
    victims = collector.victims - rescued
    yield store, collector._replace(at="G5" if victims else "G8", victims=victims)


def g5_put_sweep(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G5 puts the sweep"""
    sweep = Record(collector.number, collector.victims)
    swept = store._replace(gc=store.gc._replace(sweeps=store.gc.sweeps | {sweep}))
    yield swept, read_next(setting, collector, ())


def read_next(setting: Setting, collector: Collector, read: tuple[str, ...]) -> Collector:
    """On to the next reading of G6; after the last one, rescue."""
    left = readings_at_g6(setting)[len(read) :]
    if left:
        return collector._replace(at=f"G6 {left[0]}", read=read)
    needed = needed_frames(collector.roots, collector.expiries)
    doomed = collector.victims - to_keep(collector.victims, needed, indexed(collector.segments), collector.swept)
    forget = Collector(collector.name, collector.round, "G7 index" if doomed else "G8", collector.number, collector.victims)
    return forget._replace(doomed=doomed, read=read, segments=collector.segments if setting.merging and doomed else frozenset())


def read_gc(setting: Setting, store: Store, collector: Collector) -> Collector:
    """What others sweep, and what has expired."""
    return collector._replace(swept=survivors_lost(setting, store, collector.number), expiries=store.gc.expiries)


def read_relocations(setting: Setting, store: Store, collector: Collector) -> Collector:
    """What snapshots need in place of what they say."""
    return collector._replace(relocations=Roots(relocations=store.roots.relocations, done=store.roots.done)) if setting.relocators else collector


def read_roots(setting: Setting, store: Store, collector: Collector) -> Collector:
    """What may need frames, relocations apart."""
    relocations = collector.relocations
    roots = store.roots._replace(relocations=relocations.relocations, done=relocations.done)
    return collector._replace(roots=believed(setting, roots, collector), receipts=frozenset())


def read_index(setting: Setting, store: Store, collector: Collector) -> Collector:
    """Where frames lie."""
    return collector._replace(segments=store.segments)


READINGS = {"relocations": read_relocations, "gc": read_gc, "roots": read_roots, "index": read_index}


def g6_relist_relocations(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G6 lists the relocations again"""
    yield store, read_next(setting, read_relocations(setting, store, collector), (*collector.read, "relocations"))


def g6_relist_gc(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G6 lists gc/ again: what others sweep, what has expired"""
    for gc in readings_of(store.gc, damaged=setting.rules.dones_may_be_damaged):
        yield store, read_next(setting, read_gc(setting, store._replace(gc=gc), collector), (*collector.read, "gc"))


def g6_relist_roots(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G6 lists the roots again"""
    yield store, read_next(setting, read_roots(setting, store, collector), (*collector.read, "roots"))


def g6_reload_index(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G6 loads the index again"""
    yield store, read_next(setting, read_index(setting, store, collector), (*collector.read, "index"))


def to_keep(victims: frozenset[Pack], needed: frozenset[Frame], packs: frozenset[Pack], swept: frozenset[Pack]) -> frozenset[Pack]:
    """The victims with a frame that is needed and has no copy outside all sweeps. What no segment lists shows no frames."""
    unsafe = needed - frames_in(packs - victims - swept)
    return frozenset(pack for pack in victims & packs if pack.frames & unsafe)


def g7_remove_from_index(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G7 removes from the index what it will delete"""
    if setting.merging:
        segments = store.segments | {indexed(collector.segments) - collector.doomed}
        at = "G7 merged"
    else:
        segments = frozenset(segment - collector.doomed for segment in store.segments)
        at = "G7 packs"
    yield store._replace(segments=segments - {NONE}), collector._replace(at=at)


def g7_drop_segments(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G7 deletes the segments that the merged one replaces"""
    segments = store.segments - (collector.segments - {indexed(collector.segments) - collector.doomed})
    yield store._replace(segments=segments), collector._replace(at="G7 packs", segments=frozenset())


def g7_delete_pack(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G7 deletes a pack"""
    left = sorted(store.packs & collector.doomed)
    if len(left) <= 1:
        yield store._replace(packs=store.packs - collector.doomed), collector._replace(at="G8")
    else:
        yield store._replace(packs=store.packs - {left[0]}), collector


def g8_put_done(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """G8 puts done, with what it kept"""
    gc, number = store.gc, collector.number
    if setting.rules.keep_sweep_records:
        gc = gc._replace(dones=gc.dones | {Record(number, collector.victims - collector.doomed)})
    else:
        gc = gc._replace(
            marks=frozenset(mark for mark in gc.marks if mark.number != number),
            sweeps=frozenset(sweep for sweep in gc.sweeps if sweep.number != number),
        )
    yield store._replace(gc=gc), next_round(collector, setting.collections)


def crash_and_start_again(setting: Setting, store: Store, collector: Collector) -> Outcomes[Collector]:
    """crashes; its collection stays as it is, and a new one may begin"""
    if collector.round < setting.collections:
        yield store, next_round(collector, setting.collections)


_ROWS: dict[str, Step[Collector]] = {
    "E1": put_expiry,
    "R pack": put_repacked,
    "R segment": put_repacked_segment,
    "G2": g2_put_mark,
    "G4": g4_relist_roots,
    "G5": g5_put_sweep,
    "G6 relocations": g6_relist_relocations,
    "G6 gc": g6_relist_gc,
    "G6 roots": g6_relist_roots,
    "G6 index": g6_reload_index,
    "G7 index": g7_remove_from_index,
    "G7 merged": g7_drop_segments,
    "G7 packs": g7_delete_pack,
    "G8": g8_put_done,
}
STEPS: dict[str, tuple[Step[Collector], ...]] = {at: (step, crash_and_start_again) for at, step in _ROWS.items()} | {
    "G1": (g1_load_roots, find_abandoned, adopt_sweep)
}
