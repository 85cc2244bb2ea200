"""Cuts against an independent cutter, against the stored vectors, and against how the content happens to be read."""

from __future__ import annotations

import hashlib
import json
import runpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedcorn.chunking import HEAD_MATTERS_ABOVE, LARGEST_CHUNK, TIERS, Cutter, Tier, tier_for

VECTORS = Path(__file__).parent.parent / "vectors"
CASES = json.loads((VECTORS / "chunks.json").read_text())["cases"]
content = runpy.run_path(str(VECTORS / "make.py"))["content"]
TINY, SMALL, MEDIUM, LARGE, HUGE = TIERS
KIB, MIB = 1024, 1024 * 1024
SEEDS = st.integers(0, 2**64 - 1)

# docs/format.md, "Chunks", read line by line; nothing here is shared with the code under test
MASKS = {
    4 * KIB: (0x0000D90313530000, 0x0000590003530000),
    8 * KIB: (0x0000D90F03530000, 0x0000D90003530000),
    16 * KIB: (0x0000D90303537000, 0x0000D90103530000),
    64 * KIB: (0x0000D90707537000, 0x0000D90313530000),
    512 * KIB: (0x0000D91767537000, 0x0000D90703537000),
}
GEAR = [int.from_bytes(hashlib.md5(bytes([value]) * 64, usedforsecurity=False).digest()[:8], "big") for value in range(256)]
WORD = 2**64 - 1


def specified_cut(data: bytes, begin: int, avg: int, gear: list[int]) -> int:
    """Length of the chunk at ``begin``."""
    remaining = len(data) - begin
    smallest, largest = avg // 2, avg * 4
    if remaining <= smallest:
        return remaining
    limit, centre = min(remaining, largest), min(avg, remaining)
    end, centre = limit // 2 * 2, centre // 2 * 2
    mask_s, mask_l = MASKS[avg]
    value = 0
    for i in range(smallest, centre):
        value = (2 * value + gear[data[begin + i]]) & WORD
        if value & mask_s == 0:
            return i
    for i in range(centre, end):
        value = (2 * value + gear[data[begin + i]]) & WORD
        if value & mask_l == 0:
            return i
    return limit


def specified_cuts(data: bytes, avg: int, seed: int) -> list[int]:
    """Lengths of all chunks of a content."""
    if not data:
        return []
    if len(data) <= avg:
        return [len(data)]
    gear = [word ^ seed for word in GEAR]
    lengths: list[int] = []
    begin = 0
    while begin < len(data):
        lengths.append(specified_cut(data, begin, avg, gear))
        begin += lengths[-1]
    return lengths


def cut_whole(cutter: Cutter, data: bytes, tier: Tier) -> list[int]:
    return cutter.cuts(memoryview(data), tier, start=True, final=True)


def cut_in_windows(cutter: Cutter, data: bytes, tier: Tier, reads: list[int]) -> list[int]:
    """Cuts while the content arrives in pieces of the given sizes, the last size repeated."""
    lengths: list[int] = []
    begin = end = 0
    while True:
        end = min(len(data), end + (reads.pop(0) if len(reads) > 1 else reads[0]))
        final = end == len(data)
        decided = cutter.cuts(memoryview(data)[begin:end], tier, start=begin == 0, final=final)
        lengths += decided
        begin += sum(decided)
        if final:
            return lengths
        assert end - begin < tier.max_bytes, "more is left undecided than has to be"


def tier_of(avg: int) -> Tier:
    return next(tier for tier in TIERS if tier.avg_bytes == avg)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['avg_bytes']}-{case['seed']}-{case['content']}-{case['length']}")
def test_vectors(case: dict[str, Any]) -> None:
    data = content(case["content"], case["length"])
    assert cut_whole(Cutter(int(case["seed"])), data, tier_of(case["avg_bytes"])) == case["chunks"]


# the slow cutter takes its time with large chunks: of those, one seed
AFFORDABLE = [case for case in CASES if case["avg_bytes"] < 512 * KIB or (case["content"] == "noise" and int(case["seed"]) > 2**63)]


@pytest.mark.parametrize("case", AFFORDABLE, ids=lambda case: f"{case['avg_bytes']}-{case['seed']}-{case['content']}-{case['length']}")
def test_vectors_follow_from_the_specification(case: dict[str, Any]) -> None:
    data = content(case["content"], case["length"])
    assert specified_cuts(data, case["avg_bytes"], int(case["seed"])) == case["chunks"]


@given(st.integers(0, 40 * KIB), SEEDS, st.integers(1, 256), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_cuts_follow_the_specification(length: int, seed: int, alphabet: int, name: int) -> None:
    data = bytes(byte % alphabet for byte in content(str(name), length))
    assert cut_whole(Cutter(seed), data, SMALL) == specified_cuts(data, SMALL.avg_bytes, seed)


@given(st.integers(0, 400 * KIB), SEEDS, st.sampled_from([SMALL, MEDIUM, LARGE]), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_lengths_add_up_within_the_limits(length: int, seed: int, tier: Tier, name: int) -> None:
    lengths = cut_whole(Cutter(seed), content(str(name), length), tier)
    assert sum(lengths) == length
    assert all(tier.min_bytes <= chunk <= tier.max_bytes for chunk in lengths[:-1])
    assert all(0 < chunk <= tier.max_bytes for chunk in lengths)


@given(st.integers(0, 300 * KIB), SEEDS, st.lists(st.integers(1, 200 * KIB), min_size=1, max_size=8), st.sampled_from([SMALL, MEDIUM]))
@settings(deadline=None, max_examples=100)
def test_cuts_do_not_depend_on_reads(length: int, seed: int, reads: list[int], tier: Tier) -> None:
    cutter = Cutter(seed)
    data = content("reads", length)
    assert cut_in_windows(cutter, data, tier, reads) == cut_whole(cutter, data, tier)


@pytest.mark.parametrize("tier", TIERS)
def test_cuts_do_not_depend_on_reads_at_the_edges(tier: Tier) -> None:
    cutter = Cutter(99)
    edges = (tier.min_bytes, tier.avg_bytes, tier.max_bytes, 2 * tier.max_bytes)
    for length in sorted({0, 1} | {edge + delta for edge in edges for delta in (-1, 0, 1)}):
        data = content("edge", length)
        whole = cut_whole(cutter, data, tier)
        for read in (tier.max_bytes - 1, tier.max_bytes, tier.max_bytes + 1):
            assert cut_in_windows(cutter, data, tier, [read]) == whole


def test_an_edit_moves_few_cuts() -> None:
    cutter = Cutter(1)
    before = content("edited", MIB)
    after = before[:500_000] + b"inserted" + before[500_000:]
    assert len(pieces(cutter, after) - pieces(cutter, before)) <= 3


def pieces(cutter: Cutter, data: bytes) -> set[bytes]:
    found: set[bytes] = set()
    begin = 0
    for length in cut_whole(cutter, data, SMALL):
        found.add(data[begin : begin + length])
        begin += length
    return found


def test_48_bits_of_the_seed_have_an_effect() -> None:
    data = content("seeded", 512 * KIB)
    plain = cut_whole(Cutter(0), data, SMALL)
    assert [bit for bit in range(64) if cut_whole(Cutter(1 << bit), data, SMALL) != plain] == list(range(48))
    assert specified_cuts(data, SMALL.avg_bytes, 0xFFFF << 48) == plain


def test_short_content_is_one_chunk_but_a_short_rest_is_cut() -> None:
    cutter = Cutter(3)
    # min is 32 KiB and a cut before avg falls in about one rest in eight: some of these have one
    rests = [content(f"rest {number}", LARGE.avg_bytes) for number in range(40)]
    assert all(cut_whole(cutter, rest, LARGE) == [LARGE.avg_bytes] for rest in rests)
    assert any(len(cutter.cuts(memoryview(rest), LARGE, start=False, final=True)) > 1 for rest in rests)


def test_one_cutter_serves_many_threads() -> None:
    cutter = Cutter(17)
    contents = [content(f"thread {number}", 200 * KIB) for number in range(16)]
    alone = [cut_whole(cutter, data, SMALL) for data in contents]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(lambda data: cut_whole(cutter, data, SMALL), contents)) == alone


@pytest.mark.parametrize(
    ("size", "compressible", "tier"),
    [
        (0, True, TINY),
        (64 * KIB, True, TINY),
        (64 * KIB + 1, True, SMALL),
        (MIB, True, SMALL),
        (MIB + 1, True, MEDIUM),
        (16 * MIB, True, MEDIUM),
        (16 * MIB + 1, True, LARGE),
        (256 * MIB, True, LARGE),
        (256 * MIB + 1, True, HUGE),
        (None, True, LARGE),
        (None, False, LARGE),
        (HEAD_MATTERS_ABOVE, False, SMALL),
        (HEAD_MATTERS_ABOVE + 1, False, LARGE),
        (20 * MIB, False, LARGE),
        (256 * MIB + 1, False, HUGE),
    ],
)
def test_tiers(size: int | None, compressible: bool, tier: Tier) -> None:
    assert tier_for(size, compressible=compressible) is tier


def test_numbers_of_the_format() -> None:
    assert [(tier.min_bytes, tier.avg_bytes, tier.max_bytes) for tier in TIERS] == [(a * 512, a * KIB, 4 * a * KIB) for a in (4, 8, 16, 64, 512)]
    assert HEAD_MATTERS_ABOVE == 128 * KIB
    assert LARGEST_CHUNK == 2 * MIB
