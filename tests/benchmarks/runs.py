"""Results as a run would leave them, with round figures."""

from __future__ import annotations

from typing import Any

from benchmarks import main_job, scale
from benchmarks.peers import OURS
from benchmarks.results import COLD, Record, Results
from benchmarks.runner import COMPARED, FLOOR, OVERHEAD_PERCENT

MIB = 2**20


def head(suite: str = "main") -> dict[str, Any]:
    return {
        "suite": suite,
        "small": False,
        "rounds": 3,
        "versions": {OURS: "seedcorn 1", "restic": "restic 0.19", "duplicity": "duplicity 3"},
        "settings": {OURS: "defaults", "restic": "defaults", "duplicity": "defaults"},
        "commit": "abc1234",
        "machine": {
            "cores": 2,
            "processor": "a processor",
            "memory_bytes": 8 * 2**30,
            "file_system": "ext4",
            "kernel": "6",
            "system": "Debian",
            "python": "3",
        },
        "tree": {"entries": 20, "files": 10, "bytes": 10**9},
        "second_day": {"changed_files": 418, "changed_bytes": 220 * 10**6, "deleted_files": 28},
    }


def record(program: str, step: str, wall: float, *, number: int = 0, section: str = main_job.TREE, peak: float = 100, **more: Any) -> Record:
    return Record(section, program, step, number, wall, wall, wall / 10, int(peak * MIB), **more)


def main_run() -> Results:
    """Three rounds; ours takes 9, 10 and 14 s for a first backup, restic 40, the CPU floor 8."""
    results = Results(head())
    for number, (ours, others) in enumerate([(9.0, 40.0), (14.0, 41.0), (10.0, 39.0)]):
        results.records += [
            record(FLOOR, main_job.CPU_FLOOR, 8, number=number),
            record(FLOOR, main_job.WALK_FLOOR, 1, number=number),
            record(OURS, main_job.FIRST, ours, number=number, peak=90, stored_bytes=900_000_000, put_bytes=900_000_000, extra={COMPARED: 1.0}),
            record("restic", main_job.FIRST, others, number=number, peak=100, stored_bytes=1_000_000_000, put_bytes=1_000_000_000),
            record(OURS, main_job.SECOND, 2, number=number, put_bytes=3_000_000),
            record("duplicity", main_job.SECOND, 20, number=number, put_bytes=2_000_000),
        ]
    requests = {"put": 20, "get": 2, "list": 3, "head": 0}
    stored = {f"{kind}_bytes": 10**6 for kind in ("listing_packs", "index", "framing", "snapshots", "other")}
    results.records += [
        record("restic", main_job.FIRST, 99, cache=COLD, stored_bytes=10**9),
        record(OURS, main_job.FIRST, 11, section=main_job.S3, put_bytes=600 * MIB, requests=requests),
        record(OURS, main_job.ONE_FILE, 1, section=main_job.S3, requests={**requests, "get": 3}, extra={"opening_gets": 5.0}),
        record(OURS, main_job.ONE_FILE, 1, section=main_job.S3, requests={**requests, "get": 6}, extra={"opening_gets": 5.0}),
        record(OURS, "stats", 1, stored_bytes=10**9, extra={OVERHEAD_PERCENT: 1.5, **stored}),
    ]
    return results


def scale_run() -> Results:
    sections = [(scale.FEW_FILES, 100), (scale.MANY_FILES, 105)]
    return Results(head("scale"), [record(OURS, "first backup", 1, section=section, peak=peak) for section, peak in sections])
