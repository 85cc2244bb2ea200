"""A host: H0 to H7 of the commit protocol.

A session is an attempt: "A1", then, after a torn snapshot or a crash, "A2". Every function is one step; its first line says which.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from tests.model.actors import Outcomes, Setting, Step
from tests.model.records import Frame, Gc, Pack, Record, Root, Store, frames_in, indexed, kept_by, readings_of, swept_packs

__all__ = ["STEPS", "Host"]

NONE: frozenset[Pack] = frozenset()


class Host(NamedTuple):
    """Memory of a host; all but name and attempt are lost in a crash."""

    name: str
    attempt: int = 1
    at: str = "H0"
    base: frozenset[str] = frozenset()  # B, sweeps seen at H0
    avoided: frozenset[Pack] = NONE  # D
    copies: frozenset[Pack] = NONE  # where the frames it needs lie, outside D
    needs: frozenset[Frame] = frozenset()
    carried: frozenset[Pack] = NONE  # copies that a redo relies on unseen: never, by the rules

    @property
    def session(self) -> str:
        """The name of this attempt."""
        return f"{self.name}{self.attempt}"


def h0_list_gc(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H0 lists gc/"""
    for gc in readings_of(store.gc, damaged=setting.rules.dones_may_be_damaged):
        yield from begin(setting, store, host, gc)


def begin(setting: Setting, store: Store, host: Host, gc: Gc) -> Outcomes[Host]:
    """On to the index, with D and B by what was read of gc/."""
    rules = setting.rules
    avoided = swept_packs(gc, unfinished=rules.avoid_unfinished_sweeps, finished=rules.deleted_packs_stay_dead)
    if rules.avoid_unswept_marks:
        swept = {sweep.number for sweep in gc.sweeps}
        avoided |= frozenset().union(*(mark.packs for mark in gc.marks if mark.number not in swept))
    listed = host._replace(base=frozenset(sweep.number for sweep in gc.sweeps), avoided=avoided)
    if rules.list_gc_before_index:
        yield store, listed._replace(at="H1")
    else:
        yield from choose_frames(setting, store, listed)


def h1_load_index(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H1 loads the index, and chooses what to rely on"""
    loaded = host._replace(copies=indexed(store.segments))
    if setting.rules.list_gc_before_index:
        yield from choose_frames(setting, store, loaded)
    else:
        yield store, loaded._replace(at="H0")


def choose_frames(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """For each content a frame that lies outside D, whichever; or a new one."""
    usable = host.copies - host.avoided
    carried, known = frames_in(host.carried), frames_in(usable)
    choices = []
    for content in setting.contents:
        candidates = ([frame for frame in frames if frame.content == content] for frames in (carried, known))
        choices.append(next(filter(None, candidates), [Frame(content, host.session)]))
    for chosen in product(*choices):
        needs = frozenset(chosen)
        copies = frozenset(pack for pack in usable | host.carried if pack.frames & needs)
        new = any(frame.session == host.session for frame in needs)
        at = "H2 pack" if new else "H3" if setting.checkpoints else "H4"
        yield store, host._replace(at=at, needs=needs, copies=copies, avoided=NONE, carried=NONE)


def own_pack(host: Host) -> Pack:
    """The pack of this session's new frames."""
    return Pack(host.session, frozenset(frame for frame in host.needs if frame.session == host.session))


def h2_put_pack(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H2 puts a pack"""
    yield store._replace(packs=store.packs | {own_pack(host)}), host._replace(at="H2 segment")


def h2_put_segment(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H2 puts the segment that lists it"""
    pack = own_pack(host)
    segments = store.segments | {frozenset({pack})}
    yield store._replace(segments=segments), host._replace(at="H3" if setting.checkpoints else "H4", copies=host.copies | {pack})


def h3_put_checkpoint(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H3 puts a checkpoint"""
    roots = store.roots._replace(checkpoints=store.roots.checkpoints | {Root(host.session, host.needs)})
    yield store._replace(roots=roots), host._replace(at="H4")


def h4_put_snapshot(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H4 puts the snapshot"""
    roots = store.roots._replace(snapshots=store.roots.snapshots | {Root(host.session, host.needs)})
    early = setting.rules.check_after_commit and not setting.rules.check_after_receipt
    yield store._replace(roots=roots), host._replace(at="H5" if early else "H6")


def h5_list_gc(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H5 lists gc/, before the receipt"""
    yield store, host._replace(at="void" if is_torn(setting, store, host) else "H6")


def h6_put_receipt(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H6 puts the receipt"""
    receipted = store._replace(roots=store.roots._replace(receipts=store.roots.receipts | {host.session}))
    if setting.rules.check_after_commit and setting.rules.check_after_receipt:
        yield receipted, host._replace(at="H7")
    else:
        yield confirm(receipted, host)


def h7_list_gc(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H7 lists gc/, after the receipt"""
    yield (store, host._replace(at="void")) if is_torn(setting, store, host) else confirm(store, host)


def confirm(store: Store, host: Host) -> tuple[Store, Host]:
    """Success: from here on nothing of this snapshot may be lost."""
    return store._replace(confirmed=store.confirmed | {host.session}), Host(host.name, host.attempt, at="confirmed")


def is_torn(setting: Setting, store: Store, host: Host) -> bool:
    """Whether an expiry names the snapshot, or a sweep outside the base left a frame that it needs without a safe copy."""
    safe = host.copies - threatened_packs(setting, store.gc, host)
    if setting.rules.check_against_new_index:
        safe |= indexed(store.segments) - swept_packs(store.gc)
    return host.session in store.gc.expiries or not host.needs <= frames_in(safe)


def threatened_packs(setting: Setting, gc: Gc, host: Host) -> frozenset[Pack]:
    """What sweeps outside the base name."""
    threatened = frozenset().union(*(threat(setting, gc, sweep) for sweep in gc.sweeps if is_new(setting, host, sweep)))
    if setting.rules.check_own_packs:
        return threatened
    return frozenset(pack for pack in threatened if pack.name != host.session)


def is_new(setting: Setting, host: Host, sweep: Record) -> bool:
    """Whether a sweep lies outside the base."""
    return sweep.number not in host.base if setting.rules.base_is_a_set else sweep.number > max(host.base, default="")


def threat(setting: Setting, gc: Gc, sweep: Record) -> frozenset[Pack]:
    """The packs of a sweep that can not be relied on because of it."""
    kept = kept_by(gc, sweep.number)
    if kept is None:
        return sweep.packs
    if not setting.rules.check_finished_sweeps:
        return NONE
    return sweep.packs - kept if setting.rules.trust_kept_packs else sweep.packs


def put_void(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """H7 found it torn: puts a void record, and will redo from a fresh base"""
    voided = store._replace(roots=store.roots._replace(voids=store.roots.voids | {host.session}))
    carried = NONE if setting.rules.redo_from_fresh_base else host.copies - threatened_packs(setting, store.gc, host)
    yield voided, start_again(setting, host)._replace(carried=carried)


def start_again(setting: Setting, host: Host) -> Host:
    """The next attempt, if there is one."""
    more = host.attempt < setting.attempts
    return Host(host.name, host.attempt + more, "H0" if more and setting.rules.list_gc_before_index else "H1" if more else "stopped")


def crash_and_start_again(setting: Setting, store: Store, host: Host) -> Outcomes[Host]:
    """crashes, and starts a new session"""
    if host.attempt < setting.attempts:
        yield store, start_again(setting, host)


_ROWS: dict[str, Step[Host]] = {
    "H0": h0_list_gc,
    "H1": h1_load_index,
    "H2 pack": h2_put_pack,
    "H2 segment": h2_put_segment,
    "H3": h3_put_checkpoint,
    "H4": h4_put_snapshot,
    "H5": h5_list_gc,
    "H6": h6_put_receipt,
    "H7": h7_list_gc,
    "void": put_void,
}
STEPS: dict[str, tuple[Step[Host], ...]] = {at: (step, crash_and_start_again) for at, step in _ROWS.items()} | {"H0": (h0_list_gc,)}
