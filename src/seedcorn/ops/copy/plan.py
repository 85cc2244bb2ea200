"""Which snapshots of a repository are to be copied to another one, in which order, and how much each brings. Nothing is read but the index.

Owns what is remembered of a snapshot that was copied: in the local state of the host that copied it, because a host can not read what it has stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import msgspec

from seedcorn.errors import IntegrityError, UsageError
from seedcorn.format.pack import PackKind
from seedcorn.ids import RepositoryId, SnapshotId
from seedcorn.ops.browse import Browser, Snapshot
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.roots.needed import IndexedFrames
from seedcorn.repo.state.state import FrameSet, State

__all__ = ["Copied", "CopyPlan", "PlannedCopy", "plan_copy", "remember_copied"]

_LOOKUP_FRAMES = 10_000


class Copied(msgspec.Struct, array_like=True, frozen=True):
    """What has become of a snapshot: its copy's id and number, and how much of it was damaged and is not in the copy."""

    snapshot: SnapshotId
    seq: int
    problem_count: int


@dataclass(frozen=True, slots=True)
class PlannedCopy:
    """A snapshot to be copied. Bytes are of the frames that no snapshot before it needs: as they are stored, and the content in them.

    ``earlier`` is a copy that is not whole: another one is made only if more of the snapshot can be read now.
    """

    snapshot: Snapshot
    sealed_bytes: int
    content_bytes: int
    earlier: Copied | None


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """``wanted`` are copied, oldest first. ``copied`` were chosen too and are there already."""

    wanted: tuple[PlannedCopy, ...]
    copied: tuple[Snapshot, ...]


def plan_copy(browser: Browser, chosen: Iterable[Snapshot], destination: HostRepository, state: State, *, again: bool = False) -> CopyPlan:
    """Plan to copy ``chosen`` to ``destination``, whose local state is ``state``.

    Args:
        again: also what was copied already.

    Raises:
        UsageError: both are one repository.
    """
    source = browser.repository.repository
    if source == destination.repository:
        raise UsageError(f"{browser.repository.store.url} and {destination.store.url} are the same repository: copy to another one")
    wanted: list[tuple[Snapshot, Copied | None]] = []
    copied: list[Snapshot] = []
    for snapshot in sorted({snapshot.id: snapshot for snapshot in chosen}.values(), key=lambda snapshot: (snapshot.owner.start_ns, snapshot.id)):
        earlier = None if again else _recall_copied(state, source, snapshot)
        if earlier is not None and not earlier.problem_count:
            copied.append(snapshot)
        else:
            wanted.append((snapshot, earlier))
    return CopyPlan(tuple(_measure(browser, wanted, copied)), tuple(copied))


def _measure(browser: Browser, wanted: Sequence[tuple[Snapshot, Copied | None]], copied: Sequence[Snapshot]) -> list[PlannedCopy]:
    if not wanted:
        return []
    indexed = IndexedFrames.of(browser.state)
    before = FrameSet()
    for snapshot in copied:
        before |= _frames(indexed, snapshot)
    planned = []
    for snapshot, earlier in wanted:
        new = _frames(indexed, snapshot) - before
        before |= new
        sealed_bytes = content_bytes = 0
        rest = iter(new)
        while some := list(islice(rest, _LOOKUP_FRAMES)):
            for place in browser.state.frame_places(some).values():
                sealed_bytes += place.sealed_bytes
                content_bytes += place.raw_bytes if place.kind == PackKind.DATA else 0
        planned.append(PlannedCopy(snapshot, sealed_bytes, content_bytes, earlier))
    return planned


def _frames(indexed: IndexedFrames, snapshot: Snapshot) -> FrameSet:
    """What a snapshot says it needs; nothing if that is malformed, which the browser has reported."""
    with suppress(IntegrityError):
        return indexed.needed_by(snapshot).frames
    return FrameSet()


def _fact(source: RepositoryId, snapshot: SnapshotId) -> str:
    return f"copied/{source.hex()}/{snapshot.hex()}"


def _recall_copied(state: State, source: RepositoryId, snapshot: Snapshot) -> Copied | None:
    packed = state.fact(_fact(source, snapshot.id))
    return None if packed is None else msgspec.msgpack.decode(packed, type=Copied)


def remember_copied(state: State, source: RepositoryId, snapshot: SnapshotId, copied: Copied) -> None:
    """``snapshot`` of ``source`` has been copied, and the copy is confirmed."""
    state.remember(_fact(source, snapshot), msgspec.msgpack.encode(copied))
