"""An operator: forgets a confirmed snapshot, and takes it back (undelete) by the same fence as a host."""

from __future__ import annotations

from typing import NamedTuple

from tests.model.actors import Outcomes, Setting, Step
from tests.model.records import Frame, Pack, Store, frames_in, indexed, needs_of, pending, swept_packs

__all__ = ["STEPS", "Operator"]


class Operator(NamedTuple):
    """Memory of an operator."""

    name: str = "O"
    at: str = "forget"
    session: str = ""
    needs: frozenset[Frame] = frozenset()
    avoided: frozenset[Pack] = frozenset()


def forget(setting: Setting, store: Store, operator: Operator) -> Outcomes[Operator]:
    """F puts a forget record for a confirmed snapshot"""
    for session, _ in store.roots.snapshots:
        if session in store.confirmed:
            roots = store.roots._replace(forgotten=store.roots.forgotten | {session})
            at = "U1" if setting.rules.check_after_undelete else "U2"
            yield store._replace(roots=roots, confirmed=store.confirmed - {session}), operator._replace(at=at, session=session)


def put_undelete(setting: Setting, store: Store, operator: Operator) -> Outcomes[Operator]:
    """U1 puts an undelete record: the snapshot is a root again"""
    roots = store.roots._replace(forgotten=store.roots.forgotten - {operator.session})
    if setting.rules.check_after_undelete:
        yield store._replace(roots=roots), operator._replace(at="U2")
    else:
        yield store._replace(roots=roots, confirmed=store.confirmed | {operator.session}), Operator(at="done")


def list_gc(setting: Setting, store: Store, operator: Operator) -> Outcomes[Operator]:
    """U2 lists relocations, roots and gc/, after the undelete"""
    roots = store.roots
    needs = frozenset().union(*(needs_of(roots, snapshot) for snapshot in roots.snapshots if snapshot.session == operator.session))
    if setting.rules.undelete_what_is_announced:
        announced = (root for one in pending(roots, {operator.session}) for root in one.needs if root.session == operator.session)
        needs |= frozenset().union(*(root.frames for root in announced))
    yield store, operator._replace(at="U3", needs=needs, avoided=swept_packs(store.gc, finished=setting.rules.deleted_packs_stay_dead))


def load_index(setting: Setting, store: Store, operator: Operator) -> Outcomes[Operator]:
    """U3 loads the index, after gc/: every frame needs a copy outside all sweeps, or the snapshot is forgotten again"""
    safe = operator.needs <= frames_in(indexed(store.segments) - operator.avoided)
    if not setting.rules.check_after_undelete:
        yield store, operator._replace(at="U1" if safe else "done", avoided=frozenset())
    elif safe:
        yield store._replace(confirmed=store.confirmed | {operator.session}), Operator(at="done")
    else:
        roots = store.roots._replace(forgotten=store.roots.forgotten | {operator.session})
        yield store._replace(roots=roots), Operator(at="done")


STEPS: dict[str, tuple[Step[Operator], ...]] = {"forget": (forget,), "U1": (put_undelete,), "U2": (list_gc,), "U3": (load_index,)}
