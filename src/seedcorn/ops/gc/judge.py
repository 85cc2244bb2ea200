"""What is needed of every pack, by bitmaps: nothing, some frames, or only such as lie in copies that stay. Pure.

Invariants: a pack that holds a needed frame may go only if a copy that a maintainer made of this very pack stays, outside every sweep that others
have begun; what hosts say about copies counts for nothing, and every list of a pack is believed when it says that the pack is needed.
docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from seedcorn.format.collection import PackCopy
from seedcorn.format.snapshot import NeededFrames
from seedcorn.ids import HostId, PackId
from seedcorn.ops.gc.survey import StoredPack, Survey
from seedcorn.repo.roots.collections import Pack
from seedcorn.repo.roots.needed import BySession, SeqSet
from seedcorn.repo.state.state import PackRecord

__all__ = ["Judgement", "PackUse", "frames_of", "frames_only_in", "judge", "live_frames", "named_frames", "sources_of"]


@dataclass(frozen=True, slots=True)
class PackUse:
    """How much of a pack's frames is needed, in bytes as stored."""

    used_bytes: int
    frame_bytes: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """``unneeded`` packs hold nothing that a root needs. All that ``covered`` ones hold of it is in copies of them, too: those that are ``copied``
    may go, others are such copies themselves, of packs that may be about to go. ``uses`` are of all packs that a segment lists and the store has."""

    unneeded: frozenset[Pack]
    covered: frozenset[Pack]
    copied: frozenset[Pack]
    uses: dict[Pack, PackUse]

    @property
    def collectable(self) -> frozenset[Pack]:
        return self.unneeded | self.copied


def judge(survey: Survey, *, sweep: bytes = b"") -> Judgement:
    """What is needed of every pack. ``sweep`` is the collector's own, if it has put one: what others are about to delete is no copy to rely on."""
    replaced = {source for mark in survey.collections.marks for copy in mark.record.copies for source in sources_of(copy)}
    lives: dict[Pack, BySession] = {}
    unneeded: set[Pack] = set()
    uses: dict[Pack, PackUse] = {}
    for name, pack in survey.packs.items():
        live = live_frames(survey, pack.records)
        if pack.present and pack.records:
            uses[name] = _use(pack, live)
        if not live:
            unneeded.add(name)
        elif name in replaced:
            lives[name] = live
    covered, copies = _cover(survey, survey.collections.swept(but=sweep), lives)
    return Judgement(frozenset(unneeded), covered, covered - copies, uses)


def _cover(survey: Survey, swept: frozenset[Pack], lives: Mapping[Pack, BySession]) -> tuple[frozenset[Pack], frozenset[Pack]]:
    """The packs of which all that is needed lies in a copy that a mark vouches for; and those copies, while any of these packs is there.

    A copy says nothing about other packs, nor about another list of the same one: a host may have listed one frame in two packs, or one pack in two
    ways, and only one of them has what others rely on. None of these copies goes for the sake of another one, since what they are copies of may be
    about to. A mark names only packs that were there before its copies, so "copy of" has no circle.
    """
    covered: set[Pack] = set()
    kept: set[Pack] = set()
    for copy in (copy for mark in survey.collections.marks for copy in mark.record.copies):
        name = HostId(copy.host), PackId(copy.pack)
        pack = survey.packs.get(name)
        if pack is None or not pack.present or name in swept:
            continue
        frames = live_frames(survey, [record for record in pack.records if record.digest == copy.digest])
        held = {source for source, digest in sources_of(copy).items() if source in lives and _is_listed_as(survey, source, digest)}
        held = {source for source in held if _holds(frames, lives[source])}
        covered |= held
        if any(survey.packs[source].present for source in held):
            kept.add(name)
    return frozenset(covered), frozenset(kept)


def sources_of(copy: PackCopy) -> dict[Pack, bytes]:
    """The packs that were moved into a copy, and the digest of what was said of each."""
    return {(HostId(copy.host), PackId(source.pack)): source.digest for source in copy.sources}


def _is_listed_as(survey: Survey, name: Pack, digest: bytes) -> bool:
    return [record.digest for record in survey.packs[name].records] == [digest]


def _holds(frames: BySession, live: BySession) -> bool:
    return all(seqs <= frames.get(number, SeqSet()) for number, seqs in live.items())


def live_frames(survey: Survey, records: Iterable[PackRecord]) -> BySession:
    """The frames in these lists that something needs."""
    live: BySession = {}
    needed = survey.needs.frames
    for record in records:
        for number, packed in record.runs:
            wanted = needed.get(number)
            if wanted is None:
                continue
            seqs = SeqSet.deserialize(packed) & wanted
            if seqs:
                live[number] = live[number] | seqs if number in live else seqs
    return live


def _use(pack: StoredPack, live: BySession) -> PackUse:
    record = pack.records[0]
    sizes = record.sealed_bytes
    total = sum(sizes)
    if not live:
        return PackUse(0, total)
    used = at = 0
    for number, packed in record.runs:
        seqs = SeqSet.deserialize(packed)
        kept = live.get(number, SeqSet())
        if seqs <= kept:
            used += sum(sizes[at : at + len(seqs)])
        elif kept:
            used += sum(size for seq, size in zip(seqs, sizes[at : at + len(seqs)], strict=True) if seq in kept)
        at += len(seqs)
    return PackUse(used, total)


def frames_of(survey: Survey, packs: Iterable[Pack]) -> BySession:
    """Every frame that segments say is in these packs."""
    together: BySession = {}
    for name in packs:
        for record in survey.packs[name].records:
            for number, seqs in record.frames().items():
                together[number] = together[number] | seqs if number in together else seqs
    return together


def frames_only_in(survey: Survey, packs: Collection[Pack]) -> BySession:
    """Every frame that is in these packs and in no other of the store."""
    alone = frames_of(survey, packs)
    for name, pack in survey.packs.items():
        if alone and pack.present and name not in packs:
            for record in pack.records:
                for number, packed in record.runs:
                    if number in alone:
                        alone[number] = alone[number] - SeqSet.deserialize(packed)
    return alone


def named_frames(survey: Survey, frames: BySession) -> tuple[NeededFrames, ...]:
    """Frames as records name them: by the ids of sessions."""
    together: dict[bytes, SeqSet] = {}
    for number, seqs in frames.items():
        session = survey.sessions[number].session
        together[session] = together.get(session, SeqSet()) | seqs
    return tuple(NeededFrames(session, seqs.serialize()) for session, seqs in sorted(together.items()) if seqs)
