"""Which packs are read: restic's grammar, and shares that add up."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from seedcorn.errors import UsageError
from seedcorn.ops.check.choice import AmountOfBytes, Part, Percentage, parse_subset

HOUR_NS = 3_600 * 10**9


@dataclass(frozen=True)
class Pack:
    pack_id: bytes
    size_bytes: int


PACKS = [Pack(random.Random(n).randbytes(32), 1_000 + n) for n in range(200)]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1/1", Part(1, 1)),
        ("3/30", Part(3, 30)),
        ("2.5%", Percentage(2.5)),
        ("100%", Percentage(100)),
        ("500", AmountOfBytes(500)),
        ("10G", AmountOfBytes(10 << 30)),
        ("1.5k", AmountOfBytes(1536)),
        ("2MiB", AmountOfBytes(2 << 20)),
    ],
)
def test_what_a_text_means(text: str, meaning: object) -> None:
    assert parse_subset(text) == meaning


@pytest.mark.parametrize("text", ["", "0/5", "6/5", "1/0", "0%", "101%", "-3%", "0", "G", "1/2/3", "5 %", "٣/٤"])
def test_what_means_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="share of the packs"):
        parse_subset(text)


def test_all_parts_together_are_everything_and_the_same_for_everybody() -> None:
    chosen = [Part(number, 7).choose(PACKS, random.Random(number)) for number in range(1, 8)]
    assert sorted(pack.pack_id for part in chosen for pack in part) == sorted(pack.pack_id for pack in PACKS)
    assert chosen[2] == Part(3, 7).choose(PACKS[::-1], random.Random())[::-1]
    assert all(10 < len(part) < 60 for part in chosen)


@pytest.mark.parametrize(("percent", "count"), [(100, 200), (50, 100), (0.1, 1), (0.6, 2)])
def test_a_percentage_by_chance(percent: float, count: int) -> None:
    chosen = Percentage(percent).choose(PACKS, random.Random(1))
    assert len(chosen) == count
    assert chosen == [pack for pack in PACKS if pack in chosen]
    assert chosen == Percentage(percent).choose(PACKS, random.Random(1))
    assert percent == 100 or chosen != Percentage(percent).choose(PACKS, random.Random(2))


def test_a_size_by_chance() -> None:
    chosen = AmountOfBytes(10_000).choose(PACKS, random.Random(1))
    total = sum(pack.size_bytes for pack in chosen)
    assert total - max(pack.size_bytes for pack in chosen) < 10_000 <= total
    assert AmountOfBytes(1 << 40).choose(PACKS, random.Random(1)) == PACKS
    assert Percentage(50).choose([], random.Random(1)) == AmountOfBytes(5).choose([], random.Random(1)) == []
