"""Breadth-first search of every order in which the steps of all actors can happen.

Owns: the state, the invariants, and the way back from a state to the start. The first violation found has a shortest trace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.model import collector, host, relocator, undelete
from tests.model.actors import Setting
from tests.model.collector import Collector
from tests.model.host import Host
from tests.model.records import Frame, Pack, Root, Roots, Store, frames_in, needs_of
from tests.model.relocator import Relocator
from tests.model.undelete import Operator

__all__ = ["I1", "INVARIANTS", "Outcome", "State", "TraceStep", "search", "trace"]

Actor = Host | Collector | Operator | Relocator


class State(NamedTuple):
    """The bucket, and the memory of everyone."""

    store: Store
    actors: tuple[Actor, ...]


@dataclass(frozen=True)
class Outcome:
    """What a search has seen. ``length`` is the number of steps of the trace, or of the longest shortest way to a state."""

    states: int
    transitions: int
    length: int
    seconds: float  # of CPU
    violation: str | None
    trace: tuple[TraceStep, ...]


@dataclass(frozen=True)
class TraceStep:
    """One step of a counterexample: who, which step of the protocol, the state after it."""

    actor: str
    step: str
    before: State
    after: State


Invariant = Callable[[State], str | None]


def initial_state(setting: Setting) -> State:
    """An old snapshot needs some frames, each of which lies in ``copies`` packs; it is forgotten unless ``kept``. No pack, no snapshot."""
    frames = frozenset(Frame(content, "old") for content in setting.contents[: setting.held])
    names = [(frame, f"old {number}" + f" {frame.content}" * (len(frames) > 1)) for frame in frames for number in range(1, setting.copies + 1)]
    packs = frozenset(Pack(name, frozenset({frame})) for frame, name in names)
    promised = frozenset({"old"} if packs else ())
    snapshots = frozenset(Root(session, frames) for session in promised)
    roots = Roots(snapshots, receipts=promised, forgotten=frozenset() if setting.kept else promised)
    store = Store(packs, frozenset(frozenset({pack}) for pack in packs), roots, confirmed=promised - roots.forgotten)
    first = "H0" if setting.rules.list_gc_before_index else "H1"
    actors: list[Actor] = [Host(name, at=first) for name in "ABCD"[: setting.hosts]]
    actors += [Collector(str(number)) for number in range(1, setting.collectors + 1)]
    actors += [Relocator(name) for name in "RS"[: setting.relocators]]
    if setting.operator:
        actors.append(Operator())
    return State(store, tuple(actors))


def transitions(setting: Setting, state: State) -> Iterator[tuple[str, str, State]]:
    """Every step that can come next: who, its first line, the state after it."""
    for place, actor in enumerate(state.actors):
        for step in steps_of(actor):
            for store, after in step(setting, state.store, actor):
                yield actor.name, step.__doc__ or "", State(store, (*state.actors[:place], after, *state.actors[place + 1 :]))


def steps_of(actor: Actor) -> tuple[Callable[..., Iterator[tuple[Store, Actor]]], ...]:
    """The rows of the actor's table for where it is."""
    match actor:
        case Host():
            return host.STEPS.get(actor.at, ())
        case Collector():
            return collector.STEPS.get(actor.at, ())
        case Operator():
            return undelete.STEPS.get(actor.at, ())
        case Relocator():
            return relocator.STEPS.get(actor.at, ())


def promised_frames(state: State) -> frozenset[Frame]:
    """What confirmed snapshots need that nobody has asked to forget."""
    store = state.store
    return frozenset().union(*(needs_of(store.roots, root) for root in store.roots.snapshots if root.session in store.confirmed))


def condemned(state: State) -> frozenset[Pack]:
    """What some collector will delete without looking again."""
    return frozenset().union(*(actor.doomed for actor in state.actors if isinstance(actor, Collector)))


def i1(state: State) -> str | None:
    """I1: every frame of a confirmed, unforgotten snapshot lies in a pack that is there."""
    lost = promised_frames(state) - frames_in(state.store.packs)
    return f"I1: a confirmed snapshot has lost {', '.join(f'{frame.content} of {frame.session}' for frame in sorted(lost))}" if lost else None


def i4(state: State) -> str | None:
    """I4: what a collector deletes stands in its own sweep record, and was chosen after the roots were read again after that record."""
    swept = {sweep.number: sweep.packs for sweep in state.store.gc.sweeps}
    for actor in state.actors:
        if isinstance(actor, Collector) and actor.doomed:
            if not actor.doomed <= swept.get(actor.number, frozenset()):
                return f"I4: collector {actor.name} deletes what its sweep does not name"
            if "roots" not in actor.read:
                return f"I4: collector {actor.name} deletes without having read the roots after its sweep"
    return None


def i6(state: State) -> str | None:
    """I6: every frame of a confirmed, unforgotten snapshot has a copy that no collector is about to delete."""
    return (
        "I6: all copies of a promised frame are about to be deleted"
        if promised_frames(state) - frames_in(state.store.packs - condemned(state))
        else None
    )


I1: tuple[Invariant, ...] = (i1,)
INVARIANTS: tuple[Invariant, ...] = (i1, i4, i6)


def search(setting: Setting, invariants: tuple[Invariant, ...] = INVARIANTS) -> Outcome:
    """Visit every state that can be reached, or stop at the first that breaks an invariant."""
    began = time.process_time()
    start = initial_state(setting)
    came_from: dict[State, State | None] = {start: None}
    shared: dict[Any, Any] = {}  # one object for equal parts of states: a third of the memory
    level, length, steps = [start], 0, 0
    while level:
        following = []
        for state in level:
            for _, _, after in transitions(setting, state):
                steps += 1
                if after in came_from:
                    continue
                after = share(shared, after)
                came_from[after] = state
                broken = next(filter(None, (invariant(after) for invariant in invariants)), None)
                if broken is not None:
                    way = trace(setting, came_from, after)
                    return Outcome(len(came_from), steps, len(way), time.process_time() - began, broken, way)
                following.append(after)
        level = following
        length += bool(level)
    return Outcome(len(came_from), steps, length, time.process_time() - began, None, ())


def share(shared: dict[Any, Any], state: State) -> State:
    """An equal state, made of parts that other states are made of."""
    store = Store(*(shared.setdefault(part, part) for part in state.store))
    return State(shared.setdefault(store, store), tuple(shared.setdefault(actor, actor) for actor in state.actors))


def trace(setting: Setting, came_from: dict[State, State | None], state: State) -> tuple[TraceStep, ...]:
    """The steps from the start to this state."""
    way = []
    while (before := came_from[state]) is not None:
        actor, step = next((actor, step) for actor, step, after in transitions(setting, before) if after == state)
        way.append(TraceStep(actor, step, before, state))
        state = before
    return tuple(reversed(way))
