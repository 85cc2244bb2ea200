"""Trees that no honest host makes: a check ends, whatever they are made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from seedcorn.crypto.keys import new_session_id
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.format.snapshot import SnapshotMaintain, SnapshotOwner, SnapshotPublic, Statistics
from seedcorn.format.tree import Kind, Node, pack_content
from seedcorn.ops.check import findings as check_findings
from seedcorn.ops.check.check import CheckOptions, check
from seedcorn.repo.content.reader import FetchChunk, Reader
from seedcorn.repo.roots.needed import FrameSet, needed_frames
from seedcorn.repo.roots.snapshots import build_snapshot
from seedcorn.testing.repositories import Machine, SmallRepository


def node(name: bytes, kind: Kind, size: int, content: bytes) -> Node:
    return Node(name, kind, 0o755, 0, 0, 0, 0, 0, 0, size, content)


def put_doubling_tree(machine: Machine, levels: int) -> None:
    """Directories with two entries each that have one and the same listing, and at the bottom a file whose only chunk is nowhere."""
    frames: set[int] = set()
    with closing(machine.writer()) as writer:
        content, _ = writer.store_listing([node(b"lost", Kind.FILE, 3, pack_content([(bytes(24), 3)]))], frames)
        for _ in range(levels):
            content, _ = writer.store_listing([node(name, Kind.DIRECTORY, 2, content) for name in (b"a", b"b")], frames)
        writer.finish()
    repository = machine.repository
    public = SnapshotPublic(repository.repository, repository.host, 1, b"", new_session_id(repository.host), 0)
    needed = needed_frames(FrameSet(frames), lambda number: machine.state.session(number).session)
    root = node(b"", Kind.DIRECTORY, 2, content)
    owner = SnapshotOwner(host_name="alpha", paths=(b"/",), root=root, start_ns=0, end_ns=0, statistics=Statistics())
    key, _, data = build_snapshot(repository, public, SnapshotMaintain(0, bytes(16), (), True, needed, ()), owner)
    repository.store.put(key, data)


def limit_walk(patch: pytest.MonkeyPatch) -> None:
    """From now on whoever lists very many directories fails."""
    list_directory, walked = Reader.list_directory, 0

    def counted(self: Reader, node: Node, fetch: FetchChunk | None = None) -> Iterator[Node]:
        nonlocal walked
        walked += 1
        assert walked < 10_000
        return list_directory(self, node, fetch)

    patch.setattr(Reader, "list_directory", counted)


def test_damage_below_shared_directories_is_counted_without_walking_them_all(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    put_doubling_tree(repository.first, 40)
    monkeypatch.setattr(check_findings, "AFFECTED_LIMIT", 20)
    limit_walk(monkeypatch)
    result = check(repository.browser(), CheckOptions(), SystemClock(), VoidMonitor())
    assert result.affected_count == 2**40 and [damage.lost_bytes for damage in result.damage] == [3 * 2**40]
    assert len({affected.path for affected in result.affected}) == len(result.affected) == 20
    assert any(f"{2**40} of its files need chunks" in problem.message for problem in result.problems)
