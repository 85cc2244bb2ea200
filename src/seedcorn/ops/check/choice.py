"""Which packs a check reads, if not all. Pure.

Owns the grammar, which is restic's: ``n/t`` is one of t parts that are the same on every machine, ``P%`` and a size are chosen by chance.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from seedcorn.errors import UsageError
from seedcorn.quantities import parse_percentage, parse_size

__all__ = ["AmountOfBytes", "Part", "Percentage", "Subset", "parse_subset"]


class SizedPack(Protocol):
    """What a choice looks at."""

    @property
    def pack_id(self) -> bytes: ...
    @property
    def size_bytes(self) -> int: ...


P = TypeVar("P", bound=SizedPack)


class Subset(Protocol):
    """A way to choose some packs."""

    def choose(self, packs: Sequence[P], rng: random.Random) -> list[P]:
        """Some of ``packs``, in their order."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part ``number`` (from 1) of ``total``, by the pack's id: all parts together are everything, whoever reads which on what day."""

    number: int
    total: int

    def choose(self, packs: Sequence[P], rng: random.Random) -> list[P]:
        return [pack for pack in packs if int.from_bytes(pack.pack_id[:8], "big") % self.total == self.number - 1]


@dataclass(frozen=True, slots=True)
class Percentage:
    """``percent`` of the packs, at least one."""

    percent: float

    def choose(self, packs: Sequence[P], rng: random.Random) -> list[P]:
        count = min(len(packs), math.ceil(len(packs) * self.percent / 100))
        return [packs[number] for number in sorted(rng.sample(range(len(packs)), count))]


@dataclass(frozen=True, slots=True)
class AmountOfBytes:
    """Packs of ``size_bytes`` together or a little more."""

    size_bytes: int

    def choose(self, packs: Sequence[P], rng: random.Random) -> list[P]:
        chosen: list[int] = []
        left_bytes = self.size_bytes
        for number in rng.sample(range(len(packs)), len(packs)):
            if left_bytes <= 0:
                break
            chosen.append(number)
            left_bytes -= packs[number].size_bytes
        return [packs[number] for number in sorted(chosen)]


def parse_subset(text: str) -> Subset:
    """What ``--read-data-subset`` means.

    Raises:
        UsageError: nothing.
    """
    for parse in (_parse_part, _parse_percentage, _parse_size):
        found = parse(text)
        if found is not None:
            return found
    raise UsageError(f"{text!r} is no share of the packs: write a part as in 2/7, a percentage as in 2.5%, or a size as in 10G")


def _parse_part(text: str) -> Subset | None:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None:
        return None
    number, total = int(match[1]), int(match[2])
    return Part(number, total) if 1 <= number <= total else None


def _parse_percentage(text: str) -> Subset | None:
    percent = parse_percentage(text)
    return Percentage(percent) if percent is not None and 0 < percent <= 100 else None


def _parse_size(text: str) -> Subset | None:
    try:
        size_bytes = parse_size(text)
    except UsageError:
        return None
    return AmountOfBytes(size_bytes) if size_bytes > 0 else None
