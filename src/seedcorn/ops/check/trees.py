"""The trees: can every directory be listed, is every chunk that a node names where the snapshot says, and which paths does damage hit.

A directory's content identifies all that is below it, so a subtree that has been found whole is not walked again, in whatever snapshot it comes up:
its *closure*, the frames that it needs, is kept instead and compared with the needed set of each snapshot. A hundred snapshots that resemble each
other thus cost little more than one. Subtrees with damage are walked each time, to name the paths; but once no more are going to be named they are
counted, or a host could make a tree with more paths than anyone can walk out of a few listings.

docs/format.md, sections "Listing", "Content" and "Snapshot".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from seedcorn.crypto import primitives
from seedcorn.errors import IntegrityError, printable
from seedcorn.format.tree import Kind, Node, check_lengths, content_records
from seedcorn.ids import ChunkId
from seedcorn.ops.browse import Browser, Entry, Snapshot
from seedcorn.ops.check.findings import Findings
from seedcorn.repo.roots.needed import FrameSet, Missing, Needed

__all__ = ["TreeCheck"]

_Choice = tuple[int, ...]  # frames any one of which will do, because each holds a copy of the same chunk


class _Found(Enum):
    """What has become of a chunk: a frame that holds it is there, or only lost ones are known, or none is."""

    WHOLE, LOST, NOWHERE = range(3)


@dataclass(frozen=True, slots=True)
class _Closure:
    """What a whole subtree needs: every frame of ``frames``, and one of each choice."""

    frames: FrameSet
    choices: frozenset[_Choice]


@dataclass(slots=True)
class _Damage:
    """What can not be restored of a subtree: how many paths, how many of them directories, how much of their content, and how
    many files have chunks that no segment lists."""

    paths: int = 0
    directories: int = 0
    lost_bytes: int = 0
    unindexed: int = 0

    def add(self, other: _Damage) -> None:
        self.paths += other.paths
        self.directories += other.directories
        self.lost_bytes += other.lost_bytes
        self.unindexed += other.unindexed


@dataclass(slots=True)
class _Directory:
    """A directory in the middle of being checked."""

    path: bytes
    key: bytes
    frames: FrameSet = field(default_factory=FrameSet)
    choices: set[_Choice] = field(default_factory=set)
    below: list[Entry] = field(default_factory=list)
    damage: _Damage = field(default_factory=_Damage)

    def absorb(self, closure: _Closure, damage: _Damage) -> None:
        self.frames |= closure.frames
        self.choices |= closure.choices
        self.damage.add(damage)


class TreeCheck:
    """Checks snapshots one after the other. ``lost`` are the frames that are known to be damaged or gone."""

    def __init__(self, browser: Browser, findings: Findings, lost: FrameSet) -> None:
        self._reader = browser.reader
        self._state = browser.state
        self._findings = findings
        self._lost = lost
        self._known: dict[bytes, tuple[_Closure, _Damage]] = {}
        self._interned: dict[bytes, FrameSet] = {}

    def check(self, snapshot: Snapshot, needed: Needed) -> None:
        """Walk the snapshot, and compare what its files need with what it says it needs."""
        closure, damage = self._walk(snapshot)
        if needed.missing:
            self._missing(snapshot, needed.missing)
            return
        if damage.unindexed:
            message = f"{damage.unindexed} of its files need chunks that are not in the index"
            self._findings.problem(IntegrityError(message, object_name=snapshot.key))
        frames = needed.frames
        lacking = len(closure.frames - frames) + sum(1 for choice in closure.choices if not any(ordinal in frames for ordinal in choice))
        if lacking:
            self._findings.problem(IntegrityError(f"its set of frames lacks {lacking} that its files need", object_name=snapshot.key))

    def _missing(self, snapshot: Snapshot, missing: Sequence[Missing]) -> None:
        healed = "" if snapshot.id in self._findings.damage else "; a later backup has stored again what they held, so its files can be restored"
        for lost in missing:
            frames = f"{lost.count} frame{'' if lost.count == 1 else 's'} of session {lost.session.hex()[:12]}"
            message = f"needs {frames} that the index does not have (the first is {lost.seq}){healed}"
            self._findings.problem(IntegrityError(message, object_name=snapshot.key))

    def _walk(self, snapshot: Snapshot) -> tuple[_Closure, _Damage]:
        """Depth first with a stack of our own: a tree may be deeper than Python's."""
        root = Entry(b"", snapshot.owner.root)
        known = self._recall(snapshot, root)
        if known is not None:
            return known
        stack = [self._enter(snapshot, root)]
        while True:
            directory = stack[-1]
            if directory.below:
                entry = directory.below.pop()
                known = self._recall(snapshot, entry)
                if known is not None:
                    directory.absorb(*known)
                else:
                    stack.append(self._enter(snapshot, entry))
                continue
            found = self._leave(stack.pop())
            if not stack:
                return found
            stack[-1].absorb(*found)

    def _recall(self, snapshot: Snapshot, entry: Entry) -> tuple[_Closure, _Damage] | None:
        """What is known of a subtree; None if it has to be walked."""
        known = self._known.get(_key(entry.node))
        if known is None or not known[1].paths:
            return known
        if self._findings.names_more:
            return None
        self._findings.hit_again(snapshot.id, known[1].paths, known[1].directories, known[1].lost_bytes)
        return known

    def _enter(self, snapshot: Snapshot, entry: Entry) -> _Directory:
        """Read a listing and look at everything in it but the directories, which are left in ``below``."""
        directory = _Directory(entry.path, _key(entry.node))
        try:
            for node in self._reader.list_directory(entry.node, partial(self._listing_chunk, directory)):
                path = entry.path + b"/" + node.name
                if node.kind == Kind.DIRECTORY:
                    directory.below.append(Entry(path, node))
                elif node.kind == Kind.FILE and node.content:
                    self._file(snapshot, directory, path, node)
        except IntegrityError as error:
            self._damaged(snapshot, directory, entry.path or b"/", error)
        directory.below.reverse()
        return directory

    def _leave(self, directory: _Directory) -> tuple[_Closure, _Damage]:
        found = _Closure(self._intern(directory.frames), frozenset(directory.choices)), directory.damage
        self._known[directory.key] = found
        return found

    def _intern(self, frames: FrameSet) -> FrameSet:
        """One object for equal sets: most directories need the same few frames as their neighbours."""
        return self._interned.setdefault(frames.serialize(), frames)

    def _damaged(self, snapshot: Snapshot, directory: _Directory, path: bytes, error: IntegrityError, lost_bytes: int = 0) -> None:
        self._hit(snapshot, directory, path, lost_bytes)
        where = f" (in {error.object_name})" if error.object_name else ""
        self._findings.problem(IntegrityError(error.message + where, object_name=f"{snapshot.id.hex()[:12]}:{printable(path)}"))

    def _hit(self, snapshot: Snapshot, directory: _Directory, path: bytes, lost_bytes: int, *, unindexed: bool = False) -> None:
        directory.damage.add(_Damage(1, int(not lost_bytes), lost_bytes, int(unindexed)))
        self._findings.hit(snapshot.id, path, lost_bytes)

    # -- content -----------------------------------------------------------------------------------------------------------------------------

    def _file(self, snapshot: Snapshot, directory: _Directory, path: bytes, node: Node) -> None:
        try:
            records = self._reader.records(node, partial(self._listing_chunk, directory))
            check_lengths(node, records)
        except IntegrityError as error:
            self._damaged(snapshot, directory, path, error, lost_bytes=node.size)
            return
        lost_bytes, is_indexed = 0, True
        for chunk_id, length in content_records(records):
            found = self._note(directory, chunk_id, length)
            if found is not _Found.WHOLE:
                lost_bytes += length
                is_indexed &= found is not _Found.NOWHERE
        if lost_bytes:  # what lost them is a problem already
            self._hit(snapshot, directory, path, lost_bytes, unindexed=not is_indexed)

    def _listing_chunk(self, directory: _Directory, chunk_id: ChunkId, length: int) -> bytes | memoryview:
        found = self._note(directory, chunk_id, length)
        if found is _Found.NOWHERE:
            raise IntegrityError(f"chunk {chunk_id.hex()[:16]} is not in the index")
        if found is _Found.LOST:
            raise IntegrityError(f"the frame that holds chunk {chunk_id.hex()[:16]} is lost")
        return self._reader.listing_chunk(chunk_id, length)

    def _note(self, directory: _Directory, chunk_id: ChunkId, length: int) -> _Found:
        """The directory needs this chunk. What has become of it?"""
        ordinals = tuple({copy.ordinal: None for copy in self._state.copies(chunk_id) if copy.length == length})
        if not ordinals:
            return _Found.NOWHERE
        if len(ordinals) == 1:
            directory.frames.add(ordinals[0])
        else:
            directory.choices.add(ordinals)
        return _Found.WHOLE if not self._lost or any(ordinal not in self._lost for ordinal in ordinals) else _Found.LOST


def _key(node: Node) -> bytes:
    depth = node.extra.depth if node.extra else 0
    return primitives.object_hash(node.content + depth.to_bytes(8, "little", signed=True))[:16]
