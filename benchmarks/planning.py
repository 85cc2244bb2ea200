"""Plans forget and prune over a thousand snapshots and a million frames, and says how long that takes:   python -m benchmarks.planning

Sets only: there is no store from which a pack could be read. Hourly backups of one machine, say: each session adds a thousand frames, half of which
are superseded soon, half of the rest later, and so on.
"""

from __future__ import annotations

import json
import statistics
import time
from array import array
from collections.abc import Callable
from datetime import UTC

from pyroaring import BitMap

from seedcorn.format.collection import SnapshotRef
from seedcorn.format.pack import PackKind
from seedcorn.format.snapshot import Head, NeededFrames, SnapshotMaintain, SnapshotPublic
from seedcorn.ids import HostId, PackId, SessionId
from seedcorn.ops.gc.plan import CollectionOptions, plan_collection
from seedcorn.ops.gc.survey import StoredPack, Survey
from seedcorn.ops.retention.forget import plan_forget_by_policy
from seedcorn.ops.retention.plan import DEFAULT_GROUPING
from seedcorn.ops.retention.policy import Newest, Period, Policy
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.roots.collections import Collections, Pack
from seedcorn.repo.roots.forgetting import ForgetLog
from seedcorn.repo.roots.needed import IndexedFrames
from seedcorn.repo.roots.needs import assess_needs
from seedcorn.repo.roots.receipts import Receipts
from seedcorn.repo.roots.roots import Roots, RootSnapshot, Standing
from seedcorn.repo.state.state import PackRecord, SessionRecord

HOST = HostId(b"h" * 16)
FRAMES, FRAMES_A_PACK, FRAME_BYTES = 1000, 33, 1 << 20
SNAPSHOTS, TIMES = 1000, 5
HOUR_NS = 3600 * 10**9


def made_id(number: int, length: int) -> bytes:
    return number.to_bytes(length, "big")


def needed_at(session: int, snapshot: int) -> BitMap:
    """Half of the frames after one more backup, half of those after two more, four more, and so on."""
    return BitMap(range(0, FRAMES, 1 << (snapshot - session).bit_length()))


def make_packs(sessions: int) -> dict[Pack, StoredPack]:
    packs: dict[Pack, StoredPack] = {}
    for session in range(sessions):
        for begin in range(0, FRAMES, FRAMES_A_PACK):
            seqs = BitMap(range(begin, min(begin + FRAMES_A_PACK, FRAMES)))
            pack = PackId(made_id(session * FRAMES + begin, 32))
            sealed = array("I", [FRAME_BYTES] * len(seqs)).tobytes()
            record = PackRecord(HOST, pack, int(PackKind.DATA), b"d" * 32, ((session, seqs.serialize()),), sealed)
            packs[HOST, pack] = StoredPack(HOST, session * HOUR_NS, FRAME_BYTES * len(seqs), True, (record,))
    return packs


def make_snapshot(number: int) -> RootSnapshot:
    needed = tuple(NeededFrames(made_id(session, 16), needed_at(session, number).serialize()) for session in range(number + 1))
    ref = SnapshotRef(HOST, number + 1, made_id(number, 32))
    public = SnapshotPublic(b"r" * 16, HOST, number + 1, b"", made_id(number, 16), 0)
    maintain = SnapshotMaintain(number * HOUR_NS, b"g" * 16, (), True, needed, ())
    return RootSnapshot(ref, f"snapshots/{number}", public, maintain, (), number * HOUR_NS, Standing.CONFIRMED)


def planner(scale: int) -> Callable[[], None]:
    """Something that plans, for as many snapshots and a thousand times as many frames."""
    packs = make_packs(scale)
    snapshots = tuple(make_snapshot(number) for number in range(scale))
    sessions = {number: SessionRecord(SessionId(made_id(number, 16)), HOST, 0) for number in range(scale)}
    heads = {HOST: Head(HOST, scale, made_id(scale - 1, 32))}
    receipts, forgotten = Receipts(frozenset(), frozenset()), ForgetLog({}, 1)
    roots = Roots(snapshots, (), Collections((), (), {}, 1), receipts, forgotten, heads, (), ())
    policy = Policy((Newest(7, Period.DAILY), Newest(5, Period.WEEKLY)))

    def plan() -> None:
        needs = assess_needs(roots, IndexedFrames(sessions, (record for pack in packs.values() for record in pack.records)))
        survey = Survey(HostRegistry({}, b""), roots, needs, packs, {}, sessions, scale * HOUR_NS, ())
        collection = plan_collection(survey, CollectionOptions())
        forgetting = plan_forget_by_policy(survey, policy, zone=UTC, grouping=DEFAULT_GROUPING, accepts=lambda _: True)
        assert collection.total_bytes == scale * FRAMES * FRAME_BYTES
        assert forgetting.chosen
        assert forgetting.freed.together > 0

    return plan


def main() -> None:
    """Print the median of some times as one JSON object: ``seconds``."""
    plan, seconds = planner(SNAPSHOTS), []
    for _ in range(TIMES):
        begun = time.perf_counter()
        plan()
        seconds.append(time.perf_counter() - begun)
    print(json.dumps({"seconds": statistics.median(seconds)}))


if __name__ == "__main__":
    main()
