"""Carrying out what ``deep.plan`` has planned: the live chunks of poor frames are read, verified and written into new frames, some at a time, and
after each time the snapshots are relocated to them. The old frames are garbage then, for the next collection.

May be cut off anywhere: what was relocated stays so, what was written for nothing is garbage. Invariants: a chunk is written only once its id has
been recomputed; a poor frame of which a live chunk can not be read stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import groupby

from seedcorn.chunking import LARGEST_CHUNK
from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, IntegrityError, ObjectNotFoundError
from seedcorn.events import Clock, Monitor
from seedcorn.format.collection import VerifiedPack
from seedcorn.format.pack import FrameEntry, PackKind
from seedcorn.format.tree import content_records
from seedcorn.ids import ChunkId, HostId, PackId, SessionId
from seedcorn.ops.deep.plan import DeepPlan
from seedcorn.ops.deep.relocate import Frame, relocate
from seedcorn.ops.gc.survey import Survey, Surveyor
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.ranges import coalesce
from seedcorn.repo.content.reader import Reader
from seedcorn.repo.maintenance import maintained_by_owner
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.rewriting.regrouping import Regrouping
from seedcorn.repo.rewriting.segments import fetch_segment
from seedcorn.repo.roots.verified import publish_verified, read_verified
from seedcorn.repo.state.state import ChunkPlace, FramePlace, State, frame_ordinal

__all__ = ["BATCH_BYTES", "Deep", "DeepOptions", "DeepResult"]

BATCH_BYTES = 1 << 30  # of live chunks: what is read and written at most for nothing if the run ends


@dataclass(frozen=True, slots=True)
class DeepOptions:
    """How to write. ``batch_bytes`` of live chunks are relocated at a time."""

    packer: PackerOptions = field(default_factory=PackerOptions)
    batch_bytes: int = BATCH_BYTES


@dataclass(frozen=True, slots=True)
class DeepResult:
    """What was done. Bytes of frames as stored."""

    frames: int
    read_bytes: int
    written_bytes: int
    problems: tuple[IntegrityError, ...]

    @property
    def exit_code(self) -> int:
        return EXIT_INTEGRITY if self.problems else EXIT_DONE


@dataclass(frozen=True, slots=True)
class _PoorPack:
    """The poor frames of one pack, by ordinal."""

    host: HostId
    pack: PackId
    domain: int
    kind: PackKind
    frames: Mapping[int, FrameEntry]


class Deep:
    """One run. ``survey`` is the one that ``plan`` was made from, which can be shown before it is carried out."""

    def __init__(
        self,
        repository: OwnerRepository,
        state: State,
        survey: Survey,
        plan: DeepPlan,
        options: DeepOptions,
        clock: Clock,
        monitor: Monitor,
    ) -> None:
        self._repository = repository
        self._state = state
        self._survey = survey
        self.plan = plan
        self._options = options
        self._clock = clock
        self._monitor = monitor
        self._reader = Reader(repository, state)
        self._surveyor = Surveyor(maintained_by_owner(repository), state)
        self._problems: list[IntegrityError] = []
        self._frames = self._read_bytes = self._written_bytes = 0

    def carry_out(self) -> DeepResult:
        """Relocate everything that is planned, and what an earlier run has announced and not done.

        Raises:
            SeedcornError: a collection was quicker, or another relocation goes on. What is relocated by then stays so, and the next run goes on.
        """
        packs = self._poor_packs()
        while self._relocate_some(packs):
            pass
        return DeepResult(self._frames, self._read_bytes, self._written_bytes, tuple(self._problems))

    def _relocate_some(self, packs: Iterator[_PoorPack]) -> bool:
        """One batch; whether there may be more."""
        moved: dict[Frame, set[Frame]] = {}
        written: list[VerifiedPack] = []
        written_bytes = live_bytes = 0
        rooms = groupby(packs, lambda pack: (pack.host, pack.domain))  # segments come by host, so one room is open at a time
        for (host, domain), poor in rooms:
            with closing(Regrouping(self._repository, self._state, host, domain, self._options.packer, self._monitor)) as room:
                for pack in poor:
                    live_bytes += self._move(pack, room, moved)
                    if live_bytes >= self._options.batch_bytes:
                        break
                packs_put = room.finish()
                written += [VerifiedPack(host, entry.pack, room.digest(entry)) for entry in packs_put]
                written_bytes += sum(frame.sealed_bytes for entry in packs_put for frame in entry.frames)
            if live_bytes >= self._options.batch_bytes:
                break
        self._publish(written)
        relocate(self._repository, self._surveyor, self.plan.walked, moved, [(HostId(pack.host), PackId(pack.pack)) for pack in written])
        self._frames += len(moved)
        self._written_bytes += written_bytes
        return live_bytes >= self._options.batch_bytes

    def _publish(self, packs: list[VerifiedPack]) -> None:
        """Who believes a verified set has to find the chunks in it that it could reuse before."""
        repository = self._repository
        if packs and read_verified(repository.store, self._state, repository.repository, repository.key.public).digests:
            publish_verified(repository, packs, self._clock.now_ns())

    # -- what is moved -----------------------------------------------------------------------------------------------------------------------

    def _poor_packs(self) -> Iterator[_PoorPack]:
        """Every pack with poor frames that it lists once: of one that a host has listed as two nobody can say here what is used."""
        left = {frame.ordinal for frame in self.plan.frames}
        survey = self._survey
        for key, segment in sorted(survey.segments.items()):
            chosen = self.plan.packs.intersection(segment.packs)
            if not chosen or not left:
                continue
            try:
                opened = fetch_segment(maintained_by_owner(self._repository), survey.registry, key)
            except ObjectNotFoundError:
                self._monitor.note(f"{key} has just been rewritten by another prune: frames that it lists wait for the next deep one")
                continue
            host = HostId(opened.public.host)
            for entry in opened.packs:
                name = host, PackId(entry.pack)
                if name in chosen:
                    numbers = {survey.sessions[number].session: number for record in survey.packs[name].records for number, _ in record.runs}
                    times = Counter((frame.session, frame.seq) for frame in entry.frames)
                    once = (frame for frame in entry.frames if times[frame.session, frame.seq] == 1)
                    ordinals = {frame_ordinal(numbers[SessionId(frame.session)], frame.seq): frame for frame in once}
                    frames = {ordinal: ordinals[ordinal] for ordinal in sorted(left & ordinals.keys())}
                    left -= frames.keys()
                    if frames:
                        yield _PoorPack(*name, opened.public.domain, entry.kind, frames)

    def _move(self, pack: _PoorPack, room: Regrouping, moved: dict[Frame, set[Frame]]) -> int:
        """Write the live chunks of a pack's poor frames; how many bytes they are."""
        live_bytes = 0
        live = {ordinal: self._live_chunks(ordinal, frame) for ordinal, frame in pack.frames.items()}
        for ordinal, raw in self._open_frames([ordinal for ordinal, chunks in live.items() if chunks]):
            try:
                chunks = [(chunk_id, self._chunk(pack.kind, chunk_id, place, raw)) for chunk_id, place in live[ordinal]]
            except IntegrityError as error:
                self._problems.append(error)
                self._monitor.error(error)
                del live[ordinal]
                continue
            frame = pack.frames[ordinal]
            moved[frame.session, frame.seq] = {(room.session, room.add(pack.kind, chunk_id, data)) for chunk_id, data in chunks}
            live_bytes += sum(len(data) for _, data in chunks)
        for ordinal, chunks_of in live.items():
            if not chunks_of:
                moved[pack.frames[ordinal].session, pack.frames[ordinal].seq] = set()
        return live_bytes

    def _live_chunks(self, ordinal: int, frame: FrameEntry) -> list[tuple[ChunkId, ChunkPlace]]:
        found, offset = [], 0
        for chunk_id, length in content_records(frame.records):
            if self.plan.use.is_live(ordinal, offset):
                found.append((chunk_id, ChunkPlace(ordinal, offset, length)))
            offset += length
        return found

    def _open_frames(self, ordinals: list[int]) -> Iterator[tuple[int, memoryview | None]]:
        """The raw bytes of frames, neighbours fetched together; None for one that does not open. One is opened at a time: what is fetched together
        may be thousands of frames that compress well."""
        for together in coalesce(self._reader.frame_places(ordinals)):
            self._read_bytes += sum(place.sealed_bytes for _, place in together.frames)
            try:
                for ordinal, place, sealed in self._reader.read_range(together):
                    yield ordinal, self._open_frame(ordinal, place, sealed)
            except IntegrityError:
                yield from ((ordinal, None) for ordinal, _ in together.frames)

    def _open_frame(self, ordinal: int, place: FramePlace, sealed: bytes) -> memoryview | None:
        with suppress(IntegrityError):
            return memoryview(self._reader.open_frame(ordinal, place, sealed))
        return None

    def _chunk(self, kind: PackKind, chunk_id: ChunkId, place: ChunkPlace, raw: memoryview | None) -> bytes | memoryview:
        """A verified chunk, from its frame or, if that is damaged, from any other copy."""
        if place.length > LARGEST_CHUNK:
            raise IntegrityError(f"chunk {chunk_id.hex()[:16]} is larger than a chunk may be")
        if raw is not None:
            with suppress(IntegrityError):
                return self._reader.chunk_in(raw, place, kind, chunk_id, place.length)
        return self._reader.chunk(kind, chunk_id, place.length)
