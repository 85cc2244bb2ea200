"""Writing a span of a restore: open its frames, verify every chunk, write its files. The same in a process of its own as in the calling one.

Owns the messages between the two, and knows neither store nor index nor the owner's key: a process that writes is given open descriptors, the keys of
the sessions it needs, and sealed frames. Invariant: no byte is written that has not been verified (R5); a file that can not be written whole is not
there afterwards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from seedcorn.errors import IntegrityError, TargetError
from seedcorn.format.tree import CONTENT_RECORD_BYTES, Node
from seedcorn.fs.directories import DirectoryHandle, DirectoryRecord
from seedcorn.fs.files import FileWriter, PartialFile
from seedcorn.repo.content.opener import FrameOpener, SessionKeys
from seedcorn.repo.frames import verify_chunks

__all__ = ["Failure", "FileTask", "FrameTask", "KnownDirectory", "Link", "Part", "SpanTask", "SpanWriter", "Written"]

_KEPT_BYTES = 24 << 20  # of opened frames: neighbouring spans share some


class FrameTask(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A frame that a span needs. ``sealed_bytes`` is 0 if it could not be fetched."""

    ordinal: int
    kind: int
    sealed_bytes: int
    raw_bytes: int


class Part(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a part of a file goes: a pending file, and an offset in its content."""

    temporary_name: bytes
    device_id: int
    inode: int
    offset: int


class FileTask(msgspec.Struct, array_like=True, frozen=True):
    """A file: its node's content records lie in ``runs`` of (number of a frame in the span, offset, number of chunks)."""

    directory: int  # serial
    node: Node
    runs: list[tuple[int, int, int]]
    part: Part | None = None


class KnownDirectory(msgspec.Struct, array_like=True, frozen=True):
    """A directory of the target. ``parent`` is a serial."""

    parent: int
    record: DirectoryRecord


class SpanTask(msgspec.Struct, array_like=True, frozen=True):
    """A span, with what its receiver has not been told yet. The sealed frames come beside it."""

    sessions: dict[int, SessionKeys]
    directories: list[KnownDirectory]
    frames: list[FrameTask]
    files: list[FileTask]
    slot: int = 0  # of the shared memory


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """A file that is not there. ``path`` and ``message`` are a TargetError's; an empty message: a chunk in the frames that were tried is bad."""

    file: int  # number in the span
    path: bytes = b""
    message: str = ""
    errno: int = 0


class Link(msgspec.Struct, array_like=True, frozen=True):
    """A file that hard links can be made to."""

    file: int
    device_id: int
    inode: int


class Written(msgspec.Struct, array_like=True, frozen=True):
    """What has become of a span: every file is there but for the ``failures``. ``problems`` are (path, message) of metadata that could not be set."""

    failures: list[Failure]
    links: list[Link]
    problems: list[tuple[bytes, str]]
    opened_frames: int


class SpanWriter:
    """Writes spans into one target; keeps the frames that it opened last."""

    def __init__(self, files: FileWriter, opener: FrameOpener, directories: Mapping[int, DirectoryHandle], problems: list[tuple[bytes, str]]) -> None:
        """``directories``: by serial. ``problems``: where ``files`` leaves word of what it could not set; taken from there by each span."""
        self._files = files
        self._opener = opener
        self._directories = directories
        self._problems = problems
        self._frames: OrderedDict[int, tuple[memoryview, bytes]] = OrderedDict()
        self._kept_bytes = 0

    def write(self, frames: Sequence[FrameTask], files: Sequence[FileTask], sealed: memoryview) -> Written:
        """Write ``files``; ``sealed`` begins with the bytes of ``frames``, end to end."""
        failures: list[Failure] = []
        links: list[Link] = []
        span = _SpanFrames(frames, sealed)
        for number, task in enumerate(files):
            try:
                link = self._write_file(task, span)
                if link is not None:
                    links.append(Link(number, *link))
            except IntegrityError:
                failures.append(Failure(number))
            except TargetError as error:
                cause = error.__cause__
                failures.append(Failure(number, error.path, error.message, (isinstance(cause, OSError) and cause.errno) or 0))
        problems = list(self._problems)
        self._problems.clear()
        return Written(failures, links, problems, span.opened)

    def _write_file(self, task: FileTask, span: _SpanFrames) -> tuple[int, int] | None:
        node, part = task.node, task.part
        content = []
        at = 0
        for number, begin, count in task.runs:
            raw, id_key = self._frame(span, number)
            records_end = at + count * CONTENT_RECORD_BYTES
            end = verify_chunks(id_key, raw, begin, node.content[at:records_end])
            content.append(raw[begin:end])
            at = records_end
        directory = self._directories[task.directory]
        if part is not None:
            self._files.write_part(directory, node, PartialFile(part.temporary_name, part.device_id, part.inode), content, part.offset)
            return None
        source = self._files.write_file(directory, node, content)
        return (source.device_id, source.inode) if source is not None else None

    def _frame(self, span: _SpanFrames, number: int) -> tuple[memoryview, bytes]:
        frame = span.frames[number]
        kept = self._frames.get(frame.ordinal)
        if kept is not None:
            self._frames.move_to_end(frame.ordinal)
            return kept
        opened = self._opener.open(frame.ordinal, frame.kind, span.sealed(number), frame.raw_bytes)
        span.opened += 1
        self._frames[frame.ordinal] = opened
        self._kept_bytes += len(opened[0])
        while self._kept_bytes > _KEPT_BYTES and len(self._frames) > 1:
            _, (oldest, _) = self._frames.popitem(last=False)
            self._kept_bytes -= len(oldest)
        return opened


class _SpanFrames:
    """The sealed frames of one span."""

    def __init__(self, frames: Sequence[FrameTask], sealed: memoryview) -> None:
        self.frames = frames
        self.opened = 0
        self._sealed = sealed
        self._begins: list[int] = []
        at = 0
        for frame in frames:
            self._begins.append(at)
            at += frame.sealed_bytes

    def sealed(self, number: int) -> memoryview:
        begin = self._begins[number]
        return self._sealed[begin : begin + self.frames[number].sealed_bytes]
