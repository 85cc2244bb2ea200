"""ops/restore/write.py: a span becomes files, or says which of them are not there and why."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.repo.sealed import KEYS, REPOSITORY, records, sealed

from seedcorn.errors import TargetError
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import Kind, Node
from seedcorn.fs.files import LinkSource, PartialFile
from seedcorn.ops.restore import write as restore_write
from seedcorn.ops.restore.write import Failure, FileTask, FrameTask, Link, Part, SpanWriter, Written
from seedcorn.repo.content.opener import FrameOpener

DIRECTORIES: dict[int, Any] = {4: "here", 9: "there"}


class Files:
    """Keeps what it is given. ``refused``: names that can not be written, with what is raised; ``linked``: names with more than one link."""

    def __init__(self) -> None:
        self.written: list[tuple[object, ...]] = []
        self.refused: dict[bytes, TargetError] = {}
        self.linked: set[bytes] = set()

    def write_file(self, directory: Any, node: Node, content: Sequence[memoryview]) -> LinkSource | None:
        if node.name in self.refused:
            raise self.refused[node.name]
        self.written.append((directory, node.name, b"".join(content)))
        return LinkSource(directory, node.name, 70, 71) if node.name in self.linked else None

    def write_part(self, directory: Any, node: Node, partial: PartialFile, content: Sequence[memoryview], offset: int) -> None:
        self.written.append((directory, node.name, partial, b"".join(content), offset))


class Stage:
    """A writer, and spans of stored frames that are numbered in their session from ``first`` on."""

    def __init__(self) -> None:
        self.files = Files()
        self.problems: list[tuple[bytes, str]] = []
        opener = FrameOpener(REPOSITORY)
        opener.admit(1, KEYS)
        self.writer = SpanWriter(self.files, opener, DIRECTORIES, self.problems)  # type: ignore[arg-type]  # a stand-in

    def write(self, frames: Sequence[bytes], *files: FileTask, first: int = 0, lost: Sequence[int] = ()) -> Written:
        tasks, data = [], b""
        for seq, raw in enumerate(frames, first):
            frame = b"" if seq in lost else bytes(sealed(raw, seq))
            tasks.append(FrameTask(1 << 32 | seq, PackKind.DATA, len(frame), len(raw)))
            data += frame
        return self.writer.write(tasks, files, memoryview(data + b"what was in the memory before"))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def file(name: bytes, chunks: Sequence[bytes], runs: list[tuple[int, int, int]], directory: int = 4, part: Part | None = None) -> FileTask:
    return FileTask(directory, Node(name, Kind.FILE, 0o644, 0, 0, 0, 0, 0, 0, sum(map(len, chunks)), records(*chunks)), runs, part)


def test_files_are_made_of_the_runs_of_their_chunks(stage: Stage) -> None:
    stage.files.linked = {b"b"}
    written = stage.write(
        [b"onetwo", b"3four"],
        file(b"a", [b"two", b"3", b"four"], [(0, 3, 1), (1, 0, 2)]),
        file(b"b", [b"one", b"two", b"one"], [(0, 0, 2), (0, 0, 1)], directory=9),
        file(b"empty", [], []),
    )
    assert stage.files.written == [("here", b"a", b"two3four"), ("there", b"b", b"onetwoone"), ("here", b"empty", b"")]
    assert written == Written([], [Link(1, 70, 71)], [], 2)


def test_a_part_goes_to_its_place_in_a_pending_file(stage: Stage) -> None:
    assert stage.write([b"middle"], file(b"big", [b"middle"], [(0, 0, 1)], part=Part(b"tmp", 5, 6, 100))) == Written([], [], [], 1)
    assert stage.files.written == [("here", b"big", PartialFile(b"tmp", 5, 6), b"middle", 100)]


def test_a_bad_chunk_or_frame_keeps_its_files_away_and_no_others(stage: Stage) -> None:
    written = stage.write(
        [b"one", b"two", b"six"],
        file(b"good", [b"one"], [(0, 0, 1)]),
        file(b"bad chunk", [b"one", b"ten"], [(0, 0, 1), (2, 0, 1)]),
        file(b"lost frame", [b"one", b"two"], [(0, 0, 1), (1, 0, 1)]),
        file(b"good too", [b"six"], [(2, 0, 1)]),
        lost=[1],
    )
    assert [name for _, name, *_ in stage.files.written] == [b"good", b"good too"]
    assert written.failures == [Failure(1), Failure(2)]


def test_what_the_target_refuses_is_told_with_its_cause(stage: Stage) -> None:
    full = TargetError(b"d/a", "the disk is full")
    full.__cause__ = OSError(errno.ENOSPC, "full")
    stage.files.refused = {b"a": full, b"b": TargetError(b"d/b", "in the way")}
    written = stage.write([b"x"], *(file(name, [b"x"], [(0, 0, 1)]) for name in (b"a", b"b", b"c")))
    assert written.failures == [Failure(0, b"d/a", "the disk is full", errno.ENOSPC), Failure(1, b"d/b", "in the way", 0)]
    assert [name for _, name, _ in stage.files.written] == [b"c"]


def test_problems_are_told_once(stage: Stage) -> None:
    stage.problems.append((b"a", "no such owner"))
    assert stage.write([b"x"], file(b"a", [b"x"], [(0, 0, 1)])).problems == [(b"a", "no such owner")]
    assert stage.write([b"x"], file(b"a", [b"x"], [(0, 0, 1)])).problems == []


def test_frames_that_were_used_last_are_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore_write, "_KEPT_BYTES", 20)

    def opened(seq: int) -> int:
        raw = b"%10d" % seq
        return stage.write([raw], file(b"f", [raw], [(0, 0, 1)]), first=seq).opened_frames

    assert [opened(seq) for seq in (0, 1, 0, 1)] == [1, 1, 0, 0]
    assert [opened(seq) for seq in (0, 2, 0, 1, 0, 2)] == [0, 1, 0, 1, 0, 1]  # 1 goes for 2, and 2 for 1


def test_a_frame_larger_than_what_is_kept_is_kept_as_long_as_it_is_the_last(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore_write, "_KEPT_BYTES", 5)
    raw = b"more than five"
    for expected in (1, 0):
        assert stage.write([raw], file(b"f", [raw], [(0, 0, 1)])).opened_frames == expected
