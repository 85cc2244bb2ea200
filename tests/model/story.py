"""A counterexample in the words of the protocol: each step, what it put or deleted, and what its actor then knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.model.records import Frame, Pack, Record, Relocation, Root, Store
from tests.model.search import Outcome, TraceStep

__all__ = ["tell"]

_ACTORS = {"A": "host A", "B": "host B", "O": "operator", "R": "relocator R", "S": "relocator S"}


def tell(outcome: Outcome) -> Iterator[str]:
    """The lines of the story."""
    for number, step in enumerate(outcome.trace, 1):
        yield f"{number:3} {_ACTORS.get(step.actor, f'collector {step.actor}')} {step.step}"
        yield from (f"      {line}" for line in (*changes_of_store(step.before.store, step.after.store), *changes_of_memory(step)))
    yield f"    {outcome.violation}"


def changes_of_store(before: Store, after: Store) -> Iterator[str]:
    """What came and what went."""
    for name, old, new in (
        *zip(("packs", "segments"), before[:2], after[:2], strict=True),
        *zip(before.roots._fields, before.roots, after.roots, strict=True),
        *zip((f"gc {name}" for name in before.gc._fields), before.gc, after.gc, strict=True),
        ("confirmed", before.confirmed, after.confirmed),
    ):
        yield from (f"+ {name}: {show(each)}" for each in new - old)
        yield from (f"- {name}: {show(each)}" for each in old - new)


def changes_of_memory(step: TraceStep) -> Iterator[str]:
    """What the actor has learned or decided. What it forgets is not told."""
    before, after = (next(actor for actor in state.actors if actor.name == step.actor) for state in (step.before, step.after))
    for name, old, new in zip(before._fields, before, after, strict=True):
        if old != new and new and name not in {"at", "read", "roots"}:
            yield f"{name}: {show(new)}"


def show(value: Any) -> str:
    """A value in few words."""
    match value:
        case Frame(content, session):
            return f"{content} of {session}"
        case Pack(name, frames):
            return f"{name} ({show(frames)})"
        case Root(session, frames):
            return f"{session}, needs {show(frames)}"
        case Relocation(number, name, needs):
            return f"{number}-{name}, {show(needs)}"
        case Record(number, packs):
            return f"{number}, {show(packs)}"
        case frozenset():
            return ", ".join(sorted(show(each) for each in value)) or "nothing"
    return str(value)
