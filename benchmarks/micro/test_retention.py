"""What ``forget --dry-run`` computes: the plan, and the bytes that removals would free. Sizes are those of a large repository."""

from __future__ import annotations

import random
from array import array
from datetime import UTC

import pytest
from pyroaring import BitMap

from benchmarks.micro.conftest import Measure
from seedcorn.ids import HostId, SnapshotId
from seedcorn.ops.retention.freed import Frames, FrameSizes, freed_bytes
from seedcorn.ops.retention.plan import plan_retention
from seedcorn.ops.retention.policy import Candidate, Newest, Period, Policy, Within
from seedcorn.quantities import Duration

Needed = dict[SnapshotId, Frames]
HOUR_NS = 3600 * 10**9


def snapshot_id(number: int) -> SnapshotId:
    return SnapshotId(number.to_bytes(32, "big"))


@pytest.fixture
def sizes(rng: random.Random, scale: int) -> FrameSizes:
    """Of ``scale`` sessions of ``scale`` frames each."""
    return {session: array("I", [rng.randrange(1 << 20) for _ in range(scale)]) for session in range(scale)}


@pytest.fixture
def aging(rng: random.Random, scale: int) -> Needed:
    """Each session adds frames, and those of older ones come out of use: hard for bitmaps, because they are many, small and seldom equal."""
    alive: dict[int, BitMap] = {}
    needed: Needed = {}
    for session in range(scale):
        alive[session] = BitMap(range(scale))
        for _ in range(scale // 3):
            old = rng.randrange(session + 1)
            alive[old] = alive[old] - BitMap([rng.randrange(scale)])
        needed[snapshot_id(session)] = list(alive.items())
    return needed


@pytest.fixture
def common(rng: random.Random, scale: int) -> Needed:
    """Every snapshot needs nine tenths of the same frames, a tenth at random of the others, and none alone."""
    base = {session: BitMap(range(scale * 9 // 10)) for session in range(scale)}
    variants = [{session: seqs | BitMap(rng.sample(range(scale), scale // 100)) for session, seqs in base.items()} for _ in range(10)]
    return {snapshot_id(number): list(variants[number % 10].items()) for number in range(scale)}


@pytest.fixture
def disjoint(scale: int) -> Needed:
    """No snapshot shares a frame with another: each size is looked up twice."""
    return {snapshot_id(session): [(session, BitMap(range(scale)))] for session in range(scale)}


@pytest.mark.parametrize("history", ["aging", "common", "disjoint"])
def test_bytes_that_removals_would_free(measure: Measure, request: pytest.FixtureRequest, sizes: FrameSizes, history: str) -> None:
    needed: Needed = request.getfixturevalue(history)
    removed = frozenset(list(needed)[::2])
    measure(1, "plan", lambda: freed_bytes(needed, removed, sizes))


def test_plan(measure: Measure, scale: int) -> None:
    candidates = [
        Candidate(snapshot_id(number), HostId(bytes([number % 8])), b"", (), number * HOUR_NS, flagged=False, confirmed=True, complete=number % 9 > 0)
        for number in range(scale)
    ]
    policy = Policy((Newest(3), *(Newest(7, period) for period in Period), Within(Duration(days=7))))
    measure(len(candidates), "snapshot", lambda: plan_retention(candidates, policy, zone=UTC))
