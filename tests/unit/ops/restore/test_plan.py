"""How files become spans: everything once, in order, within the limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from seedcorn.format.tree import Kind, Node, content_records, pack_content
from seedcorn.fs.directories import DirectoryHandle, DirectoryRecord
from seedcorn.ids import HostId, PackId
from seedcorn.ops.restore.plan import Span, SpanLimits, WantedFile, plan_spans
from seedcorn.repo.state.state import ChunkPlace, FramePlace

_DIRECTORY = DirectoryHandle(None, DirectoryRecord(1, b"", 1, 1, True, False, True), (0, 0))
_LIMITS = SpanLimits(sealed_bytes=100, content_bytes=1_000, files=5, lookup_chunks=8)
_CHUNK_BYTES = 20
_FRAME_CHUNKS = 4
_SEALED_BYTES = 30


class FakeIndex:
    """Chunks 0, 1, 2 ... lie end to end in frames of four; those of ``missing`` are not indexed."""

    def __init__(self, missing: Iterable[int] = ()) -> None:
        self._missing = {_chunk(number) for number in missing}

    def places(self, chunk_ids: Iterable[bytes]) -> dict[bytes, ChunkPlace]:
        found = {}
        for chunk_id in set(chunk_ids) - self._missing:
            number = int.from_bytes(chunk_id, "big")
            found[chunk_id] = ChunkPlace(number // _FRAME_CHUNKS, number % _FRAME_CHUNKS * _CHUNK_BYTES, _CHUNK_BYTES)
        return found

    def frame_places(self, ordinals: Iterable[int]) -> dict[int, FramePlace]:
        return {ordinal: FramePlace(HostId(b"h"), PackId(b"p"), ordinal * _SEALED_BYTES, _SEALED_BYTES, 80, 1) for ordinal in ordinals}


def _chunk(number: int) -> bytes:
    return number.to_bytes(24, "big")


def _file(numbers: Sequence[int]) -> WantedFile:
    content = pack_content((_chunk(number), _CHUNK_BYTES) for number in numbers)
    node = Node(b"n", Kind.FILE, 0o644, 0, 0, 0, 0, 0, 0, len(numbers) * _CHUNK_BYTES, content)
    return WantedFile(_DIRECTORY, node, b"/n")


def _plan(files: Sequence[WantedFile], missing: Iterable[int] = (), limits: SpanLimits = _LIMITS) -> tuple[list[Span], list[WantedFile]]:
    unplaced: list[WantedFile] = []
    spans = list(plan_spans(FakeIndex(missing), iter(files), unplaced.append, limits))  # type: ignore[arg-type]
    for span in spans:
        assert span.sealed_bytes == len(span.frames) * _SEALED_BYTES <= limits.sealed_bytes
        assert span.content_bytes <= limits.content_bytes
        assert 0 < len(span.files) <= limits.files
    return spans, unplaced


def _chunks(span: Span) -> list[list[int]]:
    """The numbers of the chunks that each file of a span is made of, by its runs; they agree with its content records."""
    ordinals = list(span.frames)
    found = []
    for wanted, runs in zip(span.files, span.runs, strict=True):
        numbers = [ordinals[frame] * _FRAME_CHUNKS + begin // _CHUNK_BYTES + at for frame, begin, count in runs for at in range(count)]
        assert [_chunk(number) for number in numbers] == [chunk_id for chunk_id, _ in content_records(wanted.node.content)]
        found.append(numbers)
    return found


def test_nothing() -> None:
    assert _plan([]) == ([], [])


def test_files_come_whole_and_in_order() -> None:
    contents = [[0, 1], [2, 3, 4], [], [5], [6, 7, 8], [9, 2], [1, 1, 1], *([number] for number in range(10, 30))]
    spans, unplaced = _plan([_file(content) for content in contents])
    assert unplaced == []
    assert [numbers for span in spans for numbers in _chunks(span)] == contents
    assert spans[0].runs[:2] == [[(0, 0, 2)], [(0, 40, 2), (1, 0, 1)]]


def test_a_large_file_comes_in_parts() -> None:
    contents = [[100], list(range(3, 40)), [101]]
    spans, unplaced = _plan([_file(content) for content in contents])
    assert unplaced == []
    first, *parts, last = spans
    assert (_chunks(first), _chunks(last)) == ([[100]], [[101]])
    assert {part.big.node.size for part in parts if part.big} == {37 * _CHUNK_BYTES}
    assert [number for part in parts for number in _chunks(part)[0]] == contents[1]
    offsets = [sum(len(_chunks(before)[0]) for before in parts[:at]) * _CHUNK_BYTES for at in range(len(parts))]
    assert [part.offset for part in parts] == offsets
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(part.is_placed for part in parts)


def test_much_content_from_few_frames_comes_in_parts_too() -> None:
    spans, _ = _plan([_file([0] * 120)])
    assert sum(len(_chunks(span)[0]) for span in spans) == 120
    assert len(spans) >= 3 and {len(span.frames) for span in spans} == {1}


_AMPLE = SpanLimits(sealed_bytes=10_000, content_bytes=10_000, files=100, lookup_chunks=100)
_TWO_FRAMES = [
    replace(_AMPLE, sealed_bytes=2 * _SEALED_BYTES),
    replace(_AMPLE, content_bytes=2 * _FRAME_CHUNKS * _CHUNK_BYTES),
]


@pytest.mark.parametrize("limits", [*_TWO_FRAMES, replace(_AMPLE, files=2)], ids=["sealed", "content", "files"])
def test_spans_are_filled_to_their_limits(limits: SpanLimits) -> None:
    frames = [list(range(begin, begin + _FRAME_CHUNKS)) for begin in range(0, 5 * _FRAME_CHUNKS, _FRAME_CHUNKS)]
    spans, _ = _plan([_file(frame) for frame in frames], limits=limits)
    assert [_chunks(span) for span in spans] == [frames[:2], frames[2:4], frames[4:]]
    assert all(span.big is None for span in spans)


@pytest.mark.parametrize("limits", _TWO_FRAMES, ids=["sealed", "content"])
def test_parts_are_filled_to_their_limits(limits: SpanLimits) -> None:
    whole, more = range(2 * _FRAME_CHUNKS), range(3 * _FRAME_CHUNKS)
    (span,), _ = _plan([_file(whole)], limits=limits)
    assert (span.big, _chunks(span)) == (None, [list(whole)])
    parts, _ = _plan([_file(more)], limits=limits)
    assert [(_chunks(part), part.offset, part.is_last) for part in parts] == [
        ([list(more[: len(whole)])], 0, False),
        ([list(more[len(whole) :])], len(whole) * _CHUNK_BYTES, True),
    ]
    assert all(part.big for part in parts)


def test_a_file_of_as_many_chunks_as_are_looked_up_at_once_is_none_too_large() -> None:
    limits = replace(_AMPLE, lookup_chunks=8)
    (span,), _ = _plan([_file(range(8))], limits=limits)
    assert span.big is None
    (span,), _ = _plan([_file(range(9))], limits=limits)
    assert span.big is not None and _chunks(span) == [list(range(9))]


def test_what_the_index_does_not_place() -> None:
    files = [_file([0, 1]), _file([2, 3]), _file([0])]
    spans, unplaced = _plan(files, missing=[3])
    assert unplaced == [files[1]]
    assert [span.files for span in spans] == [[files[0], files[2]]]


def test_a_large_file_that_is_not_all_placed_ends_where_it_is_not() -> None:
    spans, unplaced = _plan([_file(range(40))], missing=[30])
    assert unplaced == []
    assert [span.is_placed for span in spans] == [True] * (len(spans) - 1) + [False]
    assert spans[-1].is_last
    assert all(number < 30 for span in spans for number in _chunks(span)[0])
