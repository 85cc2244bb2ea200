"""Copying the tree of one snapshot into another repository, in the order of names, with a stack of its own.

Owns what becomes of each node: nodes stay as they are, but their content is read from the source through its verified reader and written anew, or
known from an earlier copy: a directory's content stands for all that is below it, so what has not changed between two snapshots is not even listed.
What can not be read is named and left out, and no directory above it is remembered as copied. Memory depends on the depth of the tree and on what
is read ahead, not on the number of entries. Once ``NAMED_LIMIT`` paths have been named, a damaged directory that comes again is taken as it was
copied, and what is wrong with it counted: a host can make a tree with more paths than anyone can walk out of a few listings.

Invariant: ``frames`` is exactly what the copied tree needs, and every frame in it may be relied on in this run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from seedcorn.errors import IntegrityError, printable
from seedcorn.events import Counter, Monitor
from seedcorn.format.tree import Kind, Node, check_lengths, content_records, with_content
from seedcorn.ops.copy.content import ContentSource, ContentStream
from seedcorn.repo.content.writer import ListingWriter, Writer
from seedcorn.repo.state.copied_contents import CopiedContent, CopiedContents
from seedcorn.repo.state.state import FrameSet, State

__all__ = ["NAMED_LIMIT", "TreeCopier"]

NAMED_LIMIT = 10_000


class _DamagedSourceError(Exception):
    """Content of the source can not be read: an IntegrityError of the repository that is written to is none of these."""

    def __init__(self, error: IntegrityError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True, eq=False)
class _Directory:
    """A directory in the middle of being copied."""

    node: Node
    path: bytes
    rest: Iterator[Node]
    listing: ListingWriter
    listed: set[int]  # frames that hold the listing
    frames: FrameSet  # and those of what is in it
    entries: int = 0
    error_count: int = 0

    def take(self, node: Node) -> None:
        self.listing.add([node])
        self.entries += 1


@dataclass(frozen=True, slots=True)
class _Broken:
    """What has become of a damaged directory, the frames that hold it, and how much of it could not be copied."""

    copied: Node
    frames: FrameSet
    error_count: int


class TreeCopier:
    """Copies one tree. ``heartbeat`` is called often, with the frames that are needed so far.

    ``errors`` are (path, message) of what could not be copied, ``problems`` the same with ``label`` before the path; ``error_count`` counts all.
    """

    def __init__(
        self,
        source: ContentSource,
        writer: Writer,
        state: State,
        contents: CopiedContents,
        monitor: Monitor,
        heartbeat: Callable[[FrameSet], None],
        label: str,
    ) -> None:
        """``source`` is of the repository that is copied from; the others of the one that is copied to."""
        self._source = source
        self._reader = source.reader
        self._writer = writer
        self._state = state
        self._contents = contents
        self._monitor = monitor
        self._heartbeat = heartbeat
        self._label = label
        self.frames = FrameSet()
        self.errors: list[tuple[bytes, str]] = []
        self.problems: list[IntegrityError] = []
        self.error_count = 0
        self._broken: dict[tuple[int, bytes], _Broken] = {}
        self.read_bytes = 0
        self.new_bytes = 0

    def copy(self, root: Node) -> Node:
        """The root of the copied tree."""
        try:
            return self._copy([self._enter(b"", root)])
        finally:
            self._contents.flush()

    def _copy(self, stack: list[_Directory]) -> Node:
        while True:
            directory = stack[-1]
            node = self._next(directory)
            if node is None:
                copied = self._leave(stack.pop())
                if not stack:
                    return copied
                above = stack[-1]
                above.take(copied)
                above.frames |= directory.frames
                above.error_count += directory.error_count
            elif not node.content:
                directory.take(node)
            elif (known := self._known(node)) is not None:
                content, frames = known
                self.frames |= frames
                directory.frames |= frames
                size = content.size if node.kind == Kind.DIRECTORY else node.size
                directory.take(with_content(node, content.content, content.depth, size))
            elif (broken := self._broken.get(_content_of(node))) is not None and len(self.errors) >= NAMED_LIMIT:
                self.error_count += broken.error_count
                directory.error_count += broken.error_count
                directory.frames |= broken.frames
                directory.take(with_content(node, broken.copied.content, _depth(broken.copied), broken.copied.size))
            elif node.kind == Kind.DIRECTORY:
                stack.append(self._enter(directory.path + b"/" + node.name, node))
            else:
                self._file(directory, node)

    # -- directories -------------------------------------------------------------------------------------------------------------------------

    def _enter(self, path: bytes, node: Node) -> _Directory:
        listed: set[int] = set()
        return _Directory(node, path, self._reader.list_directory(node), ListingWriter(self._writer, listed), listed, FrameSet())

    def _next(self, directory: _Directory) -> Node | None:
        try:
            return next(directory.rest, None)
        except IntegrityError as error:
            self._fail(directory, directory.path or b"/", error)
            return None  # and nothing more comes of it

    def _leave(self, directory: _Directory) -> Node:
        directory.listing.finish()
        self.frames.update(directory.listed)
        directory.frames.update(directory.listed)
        content, depth = directory.listing.content, directory.listing.depth
        copied = with_content(directory.node, content, depth, directory.entries)
        if directory.error_count:
            self._broken[_content_of(directory.node)] = _Broken(copied, directory.frames, directory.error_count)
        else:
            self._contents.put(directory.node, CopiedContent(content, depth, directory.entries, directory.frames.serialize()))
        return copied

    # -- files -------------------------------------------------------------------------------------------------------------------------------

    def _known(self, node: Node) -> tuple[CopiedContent, FrameSet] | None:
        """What an earlier copy, or this one, has made of a node's content, if all of it may still be relied on."""
        content = self._contents.get(node)
        if content is None:
            return None
        frames = FrameSet.deserialize(content.frames)
        unsure = frames - self.frames
        return (content, frames) if not unsure or self._state.may_rely_on_all(unsure) else None

    def _file(self, directory: _Directory, node: Node) -> None:
        try:
            content, frames = self._read(node)
        except _DamagedSourceError as damage:
            self._fail(directory, directory.path + b"/" + node.name, damage.error)
            return
        self.frames.update(frames)
        directory.frames.update(frames)
        self._contents.put(node, content)
        directory.take(with_content(node, content.content, content.depth, node.size))

    def _read(self, node: Node) -> tuple[CopiedContent, Collection[int]]:
        with _reading_source():
            records = self._reader.records(node)
            check_lengths(node, records)
        size = sum(length for _, length in content_records(records))
        stream = ContentStream(self._source, records)

        def read_into(view: memoryview) -> int:
            with _reading_source():
                count = stream.readinto(view)
            self.read_bytes += count
            self._monitor.count(Counter.COPIED_BYTES, count)
            self._heartbeat(self.frames)
            return count

        stored = self._writer.store_content(read_into, size)
        self.new_bytes += stored.new_bytes
        return CopiedContent(stored.content, stored.depth, stored.size, FrameSet(stored.frames).serialize()), stored.frames

    def _fail(self, directory: _Directory, path: bytes, error: IntegrityError) -> None:
        directory.error_count += 1
        self.error_count += 1
        where = f" (in {error.object_name})" if error.object_name else ""
        problem = IntegrityError(error.message + where, object_name=f"{self._label}:{printable(path)}")
        self.errors.append((path, f"is damaged in the repository that it was copied from: {error.message}{where}"))
        self.problems.append(problem)
        self._monitor.error(problem)


def _depth(node: Node) -> int:
    return node.extra.depth if node.extra else 0


def _content_of(node: Node) -> tuple[int, bytes]:
    return _depth(node), node.content


@contextmanager
def _reading_source() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise _DamagedSourceError(error) from error
