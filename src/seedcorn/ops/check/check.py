"""Checking a repository: is everything there that the snapshots need, and is it what was written?

Without ``reading`` the structure: header, key slots, host records, history, index, records, the presence of every pack, and every directory of every
snapshot. With it also the bytes of packs, all or some. Every problem is collected and the rest goes on; damage is then traced to the files that it
hits.

docs/threat-model.md, section "Claims"; the parts are ``check.objects``, ``check.records``, ``check.packs`` and ``check.trees``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, IntegrityError, SeedcornError
from seedcorn.events import Clock, Monitor
from seedcorn.format.names import pack_key
from seedcorn.ops.browse import Browser, Snapshot, Standing, open_browser
from seedcorn.ops.check.choice import Subset
from seedcorn.ops.check.findings import AffectedPath, Findings, SnapshotDamage
from seedcorn.ops.check.objects import IndexedPacks, ObjectCheck
from seedcorn.ops.check.packs import PackCheck, Reading
from seedcorn.ops.check.records import Records, check_records, note_spares
from seedcorn.ops.check.trees import TreeCheck
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.roots.collections import list_collections
from seedcorn.repo.roots.needed import FrameSet, IndexedFrames, Needed
from seedcorn.repo.roots.needs import explains, taken_frames
from seedcorn.repo.roots.verified import publish_verified

__all__ = ["AffectedPath", "CheckOptions", "CheckResult", "Examination", "SnapshotDamage", "check", "examine"]


_LOOKS = 3  # at what seems wrong while a collection is at work


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """``read_data``: fetch packs and verify every byte of them, all or a ``subset``, without those that this machine has verified less than
    ``max_age_ns`` ago; ``publish``: then tell all hosts which packs are good. ``connections`` requests and threads at a time.
    """

    read_data: bool = False
    subset: Subset | None = None
    max_age_ns: int = 0
    publish: bool = False
    connections: int = 4
    readers: int = 2  # packs in memory at a time
    rng: random.Random = field(default_factory=random.Random)  # for a subset that is chosen by chance


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was looked at and what is wrong with it. ``affected`` names the first 1,000 of ``affected_count`` paths that can not be restored whole.

    ``read_packs`` were read, ``skipped_packs`` were to be left out by the options; ``published_packs`` are new in the verified set.
    """

    snapshots: int
    hosts: int
    segments: int
    packs: int
    frames: int
    pack_bytes: int
    unreferenced_packs: int
    unreferenced_bytes: int
    read_packs: int
    skipped_packs: int
    published_packs: int
    checked_bytes: int
    elapsed_ns: int
    problems: tuple[IntegrityError, ...]
    affected: tuple[AffectedPath, ...]
    damage: tuple[SnapshotDamage, ...]

    @property
    def affected_count(self) -> int:
        return sum(snapshot.paths for snapshot in self.damage)

    @property
    def exit_code(self) -> int:
        return EXIT_INTEGRITY if self.problems else EXIT_DONE


@dataclass(frozen=True, slots=True)
class Examination:
    """A check's result, and what a repair has to know of how it came about."""

    browser: Browser
    result: CheckResult
    registry: HostRegistry
    index: IndexedPacks
    packs: PackCheck
    records: Records


def check(browser: Browser, options: CheckOptions, clock: Clock, monitor: Monitor) -> CheckResult:
    """Check everything in the repository.

    Raises:
        StoreError: the store fails to answer. Nothing is said about a repository that can not be asked.
    """
    return examine(browser, options, clock, monitor).result


def examine(browser: Browser, options: CheckOptions, clock: Clock, monitor: Monitor) -> Examination:
    """As ``check``, for who goes on to repair what is wrong: with ``Examination.browser``.

    Collections need not wait for a check, and take what it has just seen. So what seems wrong while one may have been at work is looked at again, and
    told only if it is; packs that have been found good are not read again.
    """
    begun_ns = clock.now_ns()
    examination = _look(browser, options, clock, held := _HeldErrors(monitor))
    for _ in range(_LOOKS - 1):
        if not examination.result.problems or not _may_have_collected(browser):
            break
        monitor.note("a collection has been at work at the same time: looking again")
        browser = open_browser(browser.repository, browser.state)
        earlier = examination.result
        examination = _look(browser, options, clock, held := _HeldErrors(monitor), since_ns=begun_ns)
        examination = replace(examination, result=_together(earlier, examination.result))
    for error in held.errors:
        monitor.error(error)
    note_spares(browser, monitor)
    if ignored := browser.roots.ignored:
        monitor.note(f"{len(ignored)} objects under snapshots/ count for nothing, because the owner has revoked their hosts: {ignored[0]} …")
    return examination


def _may_have_collected(browser: Browser) -> bool:
    """Whether anything may have been deleted since the browser was opened: by a sweep that had not ended then, or began later."""
    known = browser.collections
    ended = {sweep.collection for sweep in known.sweeps} & set(known.done)
    return any(name.collection not in ended for name in list_collections(browser.repository.store).sweeps)


def _together(earlier: CheckResult, later: CheckResult) -> CheckResult:
    """The later result, with the work of both."""
    return replace(
        later,
        read_packs=earlier.read_packs + later.read_packs,
        skipped_packs=max(0, later.skipped_packs - earlier.read_packs),
        published_packs=earlier.published_packs + later.published_packs,
        checked_bytes=earlier.checked_bytes + later.checked_bytes,
        elapsed_ns=earlier.elapsed_ns + later.elapsed_ns,
    )


class _HeldErrors:
    """Passes everything on but errors, which may turn out to be none."""

    def __init__(self, monitor: Monitor) -> None:
        self.count, self.expect, self.note = monitor.count, monitor.expect, monitor.note
        self.errors: list[SeedcornError] = []

    def error(self, error: SeedcornError) -> None:
        self.errors.append(error)


def _look(browser: Browser, options: CheckOptions, clock: Clock, monitor: Monitor, *, since_ns: int | None = None) -> Examination:
    """Look at everything, but not once more at packs that have been verified ``since_ns``."""
    begun_ns = clock.elapsed_ns()
    findings = Findings(monitor, browser.problems)
    objects = ObjectCheck(browser, findings, options.connections)
    objects.header()
    objects.key_slots()
    registry = objects.hosts()
    objects.snapshots()
    index = objects.segments(registry)
    records = check_records(browser, registry, findings, options.connections)
    packs = PackCheck(browser, findings, index.packs, {pack_key(host, pack) for host, pack in records.collections.swept()})
    packs.presence()
    published = _read_packs(browser, packs, records, options, clock, monitor, since_ns) if options.read_data else 0
    frames = IndexedFrames.of(browser.state)
    _check_trees(browser, findings, frames, packs, records)
    unreferenced = [size for key, size in packs.sizes.items() if key not in index.packs]
    result = CheckResult(
        snapshots=len(browser.snapshots),
        hosts=len(registry.hosts),
        segments=len(index.good | index.damaged),
        packs=len(index.packs),
        frames=len(frames),
        pack_bytes=sum(packs.sizes.values()) - sum(unreferenced),
        unreferenced_packs=len(unreferenced),
        unreferenced_bytes=sum(unreferenced),
        read_packs=packs.read_packs,
        skipped_packs=packs.skipped_packs,
        published_packs=published,
        checked_bytes=findings.checked_bytes,
        elapsed_ns=clock.elapsed_ns() - begun_ns,
        problems=findings.problems,
        affected=tuple(findings.affected),
        damage=tuple(findings.damage.values()),
    )
    return Examination(browser, result, registry, index, packs, records)


def _read_packs(
    browser: Browser, packs: PackCheck, records: Records, options: CheckOptions, clock: Clock, monitor: Monitor, since_ns: int | None
) -> int:
    """How many packs have become part of the verified set."""
    now_ns = clock.now_ns()
    oldest_ns = now_ns - options.max_age_ns + 1
    recent_ns = range(oldest_ns if since_ns is None else min(oldest_ns, since_ns), now_ns + 1)  # a clock that was set back makes nothing recent
    packs.read(Reading(recent_ns, options.subset, options.rng, options.readers), monitor)
    verified = packs.remember(now_ns)
    if not options.publish:
        return 0
    new = [pack for pack in verified if not records.verified.holds(pack)]
    publish_verified(browser.repository, new, now_ns)
    return len(new)


def _check_trees(browser: Browser, findings: Findings, frames: IndexedFrames, packs: PackCheck, records: Records) -> None:
    trees = TreeCheck(browser, findings, packs.lost)
    collected, taken = packs.collected, taken_frames(records.collections, browser.roots.relocations)
    for snapshot in browser.snapshots:
        needed = _needed(snapshot, findings, frames)
        if snapshot.standing is Standing.UNCONFIRMED and needed.missing and explains(taken, needed.missing):
            continue  # torn, and its host has not come to say so: it never reported success
        if count := len(needed.frames & collected):
            findings.problem(IntegrityError(f"needs {count} frames that a collection has deleted", object_name=snapshot.key))
        trees.check(snapshot, needed)


def _needed(snapshot: Snapshot, findings: Findings, frames: IndexedFrames) -> Needed:
    try:
        return frames.needed_by(snapshot)
    except IntegrityError as error:
        findings.problem(error)
        return Needed(FrameSet(), ())
