"""What all who use the bucket have in common: a value, and steps that give the next store and value.

Owns: the types of a step, and the sizes of a configuration. One step is one request to the store (or several whose order can not matter). Nobody is
told that another has crashed, so a crash is an actor that takes no step any more: every prefix of its steps is searched. Only what comes after it
needs a step, ``crash_and_start_again``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tests.model.records import Store
from tests.model.rules import PROTOCOL, Rules

__all__ = ["Outcomes", "Setting", "Step", "next_round"]

A = TypeVar("A")


@dataclass(frozen=True)
class Setting:
    """Who takes part, how often, and under which rules."""

    rules: Rules = PROTOCOL
    hosts: int = 1
    attempts: int = 1  # sessions of each host: retries after a torn snapshot or a crash, and one
    contents: str = "x"  # files of every host, one letter each
    held: int = 1  # of these the first ones are in a snapshot when the story begins; nobody has the others yet
    copies: int = 1  # packs that hold each of its frames
    kept: bool = False  # whether that old snapshot is still remembered
    collectors: int = 1
    collections: int = 1  # by each collector, one after the other
    marks: bool = False  # whether mark, grace and rescue (G2 to G4) are steps, or happen within G1
    checkpoints: bool = False  # whether hosts put them (H3)
    expiry: bool = False  # whether collectors expire what has no receipt
    repacking: bool = False  # whether collectors may copy what lives of a pack into a new one
    young: bool = False  # whether collectors may leave all garbage that is not old
    merging: bool = False  # whether collectors replace all segments by one
    operator: bool = False  # whether one forgets a confirmed snapshot and takes that back
    relocators: int = 0
    relocations: int = 1  # by each relocator, one after the other


class Repeating(Protocol):
    """An actor whose work comes in rounds. From one to the next it remembers its name alone."""

    @property
    def name(self) -> str: ...

    @property
    def round(self) -> int: ...


R = TypeVar("R", bound=Repeating)


def next_round(actor: R, rounds: int) -> R:
    """The actor at the beginning of its next round, or stopped if that was the last of its ``rounds``."""
    make: Callable[..., R] = type(actor)
    return make(actor.name, actor.round + 1) if actor.round < rounds else make(actor.name, actor.round, at="stopped")


Outcomes = Iterator[tuple[Store, A]]
Step = Callable[[Setting, Store, A], Outcomes[A]]
