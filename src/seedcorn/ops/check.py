"""Checking a repository: is everything there that the snapshots need, and is it what was written?

Without ``read_data`` the structure: header, key slots, host records, history, index, the presence of every pack, and every directory of every
snapshot. With it also every byte of every pack. Every problem is collected and the rest goes on; damage is then traced to the files that it hits.

docs/threat-model.md, section "Claims"; the parts are ``check_objects``, ``check_packs`` and ``check_trees``.
"""

from __future__ import annotations

from dataclasses import dataclass

from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, IntegrityError
from seedcorn.events import Clock, Monitor
from seedcorn.ids import SnapshotId
from seedcorn.ops.browse import Browser, Snapshot
from seedcorn.ops.check_findings import AffectedPath, Findings
from seedcorn.ops.check_objects import ObjectCheck
from seedcorn.ops.check_packs import PackCheck
from seedcorn.ops.check_trees import TreeCheck
from seedcorn.repo.needed import FrameSet, IndexedFrames

__all__ = ["AffectedPath", "CheckOptions", "CheckResult", "check"]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """``read_data``: fetch every pack and verify every byte. ``connections`` requests and threads at a time."""

    read_data: bool = False
    connections: int = 4
    readers: int = 2  # packs in memory at a time


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was looked at and what is wrong with it. ``affected`` names the first 1,000 of ``affected_count`` paths that can not be restored whole."""

    snapshots: int
    hosts: int
    segments: int
    packs: int
    frames: int
    pack_bytes: int
    unreferenced_packs: int
    unreferenced_bytes: int
    checked_bytes: int
    elapsed_ns: int
    problems: tuple[IntegrityError, ...]
    affected: tuple[AffectedPath, ...]
    affected_count: int

    @property
    def affected_snapshots(self) -> tuple[SnapshotId, ...]:
        """The snapshots of ``affected``, in the order in which they were checked."""
        return tuple(dict.fromkeys(path.snapshot for path in self.affected))

    @property
    def exit_code(self) -> int:
        return EXIT_INTEGRITY if self.problems else EXIT_DONE


def check(browser: Browser, options: CheckOptions, clock: Clock, monitor: Monitor) -> CheckResult:
    """Check everything in the repository.

    Raises:
        StoreError: the store fails to answer. Nothing is said about a repository that can not be asked.
    """
    begun_ns = clock.elapsed_ns()
    findings = Findings(monitor, browser.problems)
    objects = ObjectCheck(browser, findings, options.connections)
    objects.header()
    objects.key_slots()
    registry = objects.hosts()
    objects.snapshots()
    index = objects.segments(registry)
    packs = PackCheck(browser, findings, index.packs)
    packs.presence()
    if options.read_data:
        packs.read_all(options.readers, monitor)
    frames = IndexedFrames.of(browser.state)
    _check_trees(browser, findings, frames, packs.lost)
    unreferenced = [size for key, size in packs.sizes.items() if key not in index.packs]
    return CheckResult(
        snapshots=len(browser.snapshots),
        hosts=len(registry.hosts),
        segments=index.segment_count,
        packs=len(index.packs),
        frames=len(frames),
        pack_bytes=sum(packs.sizes.values()) - sum(unreferenced),
        unreferenced_packs=len(unreferenced),
        unreferenced_bytes=sum(unreferenced),
        checked_bytes=findings.checked_bytes,
        elapsed_ns=clock.elapsed_ns() - begun_ns,
        problems=findings.problems,
        affected=tuple(findings.affected),
        affected_count=findings.affected_count,
    )


def _check_trees(browser: Browser, findings: Findings, frames: IndexedFrames, lost: FrameSet) -> None:
    trees = TreeCheck(browser, findings, lost)
    for snapshot in browser.snapshots:
        trees.check(snapshot, _needed(snapshot, findings, frames))


def _needed(snapshot: Snapshot, findings: Findings, frames: IndexedFrames) -> FrameSet:
    try:
        needed = frames.needed_by(snapshot)
    except IntegrityError as error:
        findings.problem(error)
        return FrameSet()
    for missing in needed.missing:
        message = f"needs {missing.count} frames of session {missing.session.hex()[:12]} that the index does not have (the first is {missing.seq})"
        findings.problem(IntegrityError(message, object_name=snapshot.key))
    return needed.frames
