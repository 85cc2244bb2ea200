"""Everything that a collection decides by, loaded in the one order in which it may be: ``gc/``, the other roots, the index, and last the packs.

A pack in the index was put before the segment that lists it, so it is in the later listing of packs, or it is gone. Nothing of a pack but its name,
size and age is looked at. docs/format.md, "Order of writing and reading" (G1, G4, G6).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from seedcorn.errors import AlteredError, ForeignSessionError, IntegrityError
from seedcorn.events import Monitor
from seedcorn.format.names import parse_numbered_key, parse_pack_key
from seedcorn.ids import HostId
from seedcorn.repo.hosts import HostRegistry, load_registry
from seedcorn.repo.index import sync_state
from seedcorn.repo.maintenance import MaintainRepository
from seedcorn.repo.roots.collections import Collections, Pack, list_collections
from seedcorn.repo.roots.needed import IndexedFrames
from seedcorn.repo.roots.needs import Needs, assess_needs, listed_frames, with_standings
from seedcorn.repo.roots.roots import Roots, RootsReader
from seedcorn.repo.state.state import PackRecord, SessionRecord, State

__all__ = ["StoredPack", "StoredSegment", "Survey", "Surveyor", "refuse_unsound"]


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A pack as the store and the index know it. ``stored_ns`` and ``size_bytes`` are 0 if it is not in the store; ``records`` are the ways in which
    segments list it, none if none does."""

    host: HostId
    stored_ns: int
    size_bytes: int
    present: bool
    records: tuple[PackRecord, ...]


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """An index segment: its size as stored, and the packs that it lists."""

    size_bytes: int
    packs: tuple[Pack, ...]


@dataclass(frozen=True)
class Survey:
    """What was found. ``now_ns`` is a time that the store's clock has passed."""

    registry: HostRegistry
    roots: Roots
    needs: Needs
    packs: Mapping[Pack, StoredPack]
    segments: Mapping[str, StoredSegment]
    sessions: Mapping[int, SessionRecord]
    now_ns: int
    problems: tuple[IntegrityError, ...]

    @property
    def collections(self) -> Collections:
        return self.roots.collections

    @cached_property
    def total_bytes(self) -> int:
        """The size of all packs in the store."""
        return sum(pack.size_bytes for pack in self.packs.values())


def refuse_unsound(survey: Survey, consequence: str, monitor: Monitor | None = None) -> None:
    """Stop if something is damaged or missing; ``monitor`` is told of all of it, the error names the first.

    Raises:
        IntegrityError: ``consequence`` is what is not done as long as it is.
    """
    if not survey.problems:
        return
    if monitor:
        for problem in survey.problems:
            monitor.error(problem)
    first = survey.problems[0]
    count = f" ({len(survey.problems)} problems in all)" if len(survey.problems) > 1 else ""
    refused = f"{consequence} as long as this is so{count}"
    raise IntegrityError(f"{first.message}; {refused}", object_name=first.object_name, when_told=refused if monitor else "")


def _stops_nobody(problem: IntegrityError, registry: HostRegistry) -> bool:
    """Whether a segment that is not loaded is in the room of a revoked host, or names a session of another host than that of its room. What it may
    list is missed if a snapshot needs it, and by nobody if none does. But one that has been altered may have told the truth of packs of which
    another one lies; a repair takes it away."""
    name = parse_numbered_key(problem.object_name)
    is_revoked = name is not None and name.host in registry.revoked
    return isinstance(problem, ForeignSessionError) or (is_revoked and not isinstance(problem, AlteredError))


class Surveyor:
    """Makes surveys of one repository, each from new listings; objects that were seen before are not fetched again."""

    def __init__(self, repository: MaintainRepository, state: State) -> None:
        self._repository = repository
        self._state = state
        self._roots = RootsReader(repository, state)

    def survey(self) -> Survey:
        """Load everything; once more if a snapshot lacks frames: roots are read before the index, and a collection may have come in between that
        knows of a relocation, or of a forgotten snapshot, which those roots do not show. What is damaged is so the second time, too.

        Raises:
            StoreError: something can not be listed or fetched.
            CredentialError: the maintain file lacks the key of a domain.
        """
        survey = self._load()
        return self._load() if survey.needs.problems else survey

    def knows_not_all_sweeps(self, survey: Survey) -> bool:
        """Whether a sweep is listed by now that the survey does not know. It may name a pack that the survey found in the index, and that whoever put
        it did not: what is put now finds it there. So who relies on a copy that nothing has needed before asks again, after the index."""
        known = {record.collection for record in survey.collections.sweeps}
        return any(name.collection not in known for name in list_collections(self._repository.store).sweeps)

    def _load(self) -> Survey:
        repository, state = self._repository, self._state
        registry = load_registry(repository.store, repository.repository, repository.key.public, state=state)
        for domain in sorted(registry.domains):
            repository.index_key(domain)  # before anything is decided, and whatever this machine's state has already loaded with another key
        roots = self._roots.read(registry)
        unlisted = sync_state(repository.store, state, repository.repository, repository.index_key, registry, only=None)
        segments = self._segments()
        unlisted += [IntegrityError("lists no pack", object_name=key) for key, one in segments.items() if not one.packs]
        passed_over = [problem for problem in unlisted if _stops_nobody(problem, registry)]
        problems = [*roots.problems, *(problem for problem in unlisted if problem not in passed_over)]
        packs = self._packs()
        present = (record for pack in packs.values() if pack.present for record in pack.records)
        sessions = state.sessions()
        swept = roots.collections.swept()
        taken = (record for name, pack in packs.items() if name in swept and not pack.present for record in pack.records)
        needs = assess_needs(roots, IndexedFrames(sessions, present), listed_frames(sessions, taken))
        times = (pack.stored_ns for pack in packs.values())
        now_ns = max([*times, *(root.stored_ns for root in roots.snapshots), *(mark.stored_ns for mark in roots.collections.marks)], default=0)
        roots = replace(with_standings(roots, needs), oddities=(*roots.oddities, *passed_over))
        return Survey(registry, roots, needs, packs, segments, sessions, now_ns, (*problems, *needs.problems))

    def _segments(self) -> dict[str, StoredSegment]:
        listed = self._state.segment_packs()
        sizes = {info.key: info.size_bytes for info in self._repository.store.list("index/")}
        return {key: StoredSegment(sizes[key], tuple(packs)) for key, packs in listed.items() if key in sizes}

    def _packs(self) -> dict[Pack, StoredPack]:
        records: dict[Pack, list[PackRecord]] = defaultdict(list)
        for record in self._state.packs():
            records[record.host, record.pack].append(record)
        packs: dict[Pack, StoredPack] = {}
        for info in self._repository.store.list("packs/"):
            name = parse_pack_key(info.key)
            if name is not None:
                packs[name] = StoredPack(name[0], info.modified_ns, info.size_bytes, True, tuple(records.pop(name, ())))
        return packs | {name: StoredPack(name[0], 0, 0, False, tuple(own)) for name, own in records.items()}
