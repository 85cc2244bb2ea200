"""Is this store fit for backups, and what could a stolen credential destroy in it? The conformance probe and its grade.

Needs no repository and no key. The parts are ``doctor.probe`` and ``doctor.reach`` (what the store does), ``doctor.facts`` (what came of it) and
``doctor.findings`` (what that means). docs/threat-model.md, "Grades of a store".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from seedcorn.crypto.primitives import random_bytes
from seedcorn.errors import EXIT_DONE, EXIT_FAILED, StoreError
from seedcorn.events import Clock, Monitor
from seedcorn.ids import RANDOM_ID_BYTES
from seedcorn.ops.doctor.facts import Check, Observed
from seedcorn.ops.doctor.findings import Finding, Grade, Outcome, explain, grade_of, is_append_only
from seedcorn.ops.doctor.latency import Latency
from seedcorn.ops.doctor.probe import Probe
from seedcorn.store.api import Requests, Store

__all__ = ["SHORT", "Check", "DoctorOptions", "DoctorResult", "Finding", "Grade", "Latency", "Outcome", "doctor", "first_look"]


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """How much is tried. ``enrolled``: the credential is that of a machine that backs up, and should have a host's rights only."""

    enrolled: bool = False
    racers: int = 16  # puts of one key at once; 0: no race
    fresh_listings: int = 100  # puts, each followed by a listing
    samples: int = 20  # reads and deletes of each kind whose time is taken; of puts and listings it is ``fresh_listings``
    thorough: bool = True  # also ranges, listings by prefix, checksums, and what may be read


SHORT = DoctorOptions(racers=0, fresh_listings=1, samples=0, thorough=False)  # about fifteen requests


@dataclass(frozen=True, slots=True)
class DoctorResult:
    """The findings and the grade. ``append_only``: whether this credential can neither overwrite nor delete (None: not known)."""

    grade: Grade
    reason: str
    append_only: bool | None
    enrolled: bool
    findings: tuple[Finding, ...]
    latencies: tuple[Latency, ...]
    clock_offset_seconds: float | None
    left: tuple[str, ...]  # keys of what could not be deleted again
    requests: Requests
    elapsed_ns: int

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What seedcorn depends on and this store does not do."""
        return tuple(finding for finding in self.findings if finding.outcome is Outcome.BROKEN)

    @property
    def exit_code(self) -> int:
        return EXIT_FAILED if self.broken else EXIT_DONE


def doctor(store: Store, options: DoctorOptions, clock: Clock, monitor: Monitor) -> DoctorResult:
    """Probe the store and grade it. Whatever was put is deleted again if that is allowed.

    Raises:
        StoreError: the store does not answer, or this credential may not write below ``doctor/``.
    """
    begun_ns, before = clock.elapsed_ns(), replace(store.requests)
    probe = Probe(store, f"doctor/{random_bytes(RANDOM_ID_BYTES).hex()}/", clock, monitor)
    try:
        _run(probe, options)
    finally:
        probe.tidy(options.samples)
    return _result(probe.observed, options, store.requests.since(before), clock.elapsed_ns() - begun_ns)


def first_look(store: Store, clock: Clock, monitor: Monitor) -> DoctorResult | None:
    """The short probe, for who has something else to do; None if it could not be made, of which the monitor is told."""
    try:
        return doctor(store, SHORT, clock, monitor)
    except StoreError as error:
        monitor.error(error)
        return None


def _run(probe: Probe, options: DoctorOptions) -> None:
    probe.create_only()
    probe.run(Check.OVERWRITE, probe.rights)
    probe.run(Check.FRESH_LISTING, lambda: probe.fresh_listings(options.fresh_listings))
    if options.racers:
        probe.run(Check.RACE, lambda: probe.race(options.racers))
    if options.thorough:
        probe.run(Check.READ_AFTER_WRITE, lambda: probe.reads(options.samples))
        probe.run(Check.PREFIX_LISTING, probe.prefix_listing)
        probe.run(Check.RANGE, probe.range)
        probe.run(Check.CHECKSUM, probe.checksum)
        probe.reach()


def _result(observed: Observed, options: DoctorOptions, requests: Requests, elapsed_ns: int) -> DoctorResult:
    grade, reason = grade_of(observed)
    return DoctorResult(
        grade=grade,
        reason=reason,
        append_only=is_append_only(observed),
        enrolled=options.enrolled,
        findings=explain(observed, enrolled=options.enrolled),
        latencies=observed.latencies,
        clock_offset_seconds=observed.clock_offset_seconds,
        left=observed.left,
        requests=requests,
        elapsed_ns=elapsed_ns,
    )
