"""Restoring: from a snapshot's tree to files, every chunk verified, nothing outside the target.

The tree is walked in order and files are collected into batches. For each batch the chunks are grouped by the frames that hold them, so that each
frame is fetched, opened and decompressed once, neighbours in one request, several requests at a time. Memory depends on the size of a batch, not on
the tree. The rules for what is written where are ``fs.target``'s; docs/threat-model.md, R1 to R10.
"""

from __future__ import annotations

import errno
import os
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from seedcorn.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTEGRITY, IntegrityError, SeedcornError, TargetError, printable
from seedcorn.events import Counter, Monitor
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import Kind, Node, check_lengths, content_records
from seedcorn.fs.content import data_extents
from seedcorn.fs.directories import DirectoryHandle
from seedcorn.fs.selection import Inclusion, Selection
from seedcorn.fs.target import LinkSource, Overwrite, PendingFile, Target, TargetOptions, refuse_filled
from seedcorn.ids import ChunkId
from seedcorn.ops.browse import Browser, Entry, Snapshot
from seedcorn.repo.reader import FrameRange, Reader

__all__ = ["Overwrite", "RestoreOptions", "RestoreResult", "restore"]

_BATCH_FILES = 20_000
_BATCH_CHUNKS = 100_000
_PIECES_AT_ONCE = 50_000  # of one file: a huge file is planned in parts


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """Where to and what of it. Patterns as for backups, against absolute paths in the snapshot."""

    target: Path
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    dry_run: bool = False
    existing: bool = False  # the target need not be empty
    overwrite: Overwrite = Overwrite.ALWAYS
    workers: int = 4
    open_files: int = 400  # files that may be half written at a time


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What has been restored (or, in a dry run, would be). ``skipped`` entries were there already and were kept."""

    entries: int
    files: int
    bytes: int
    skipped: int
    errors: tuple[SeedcornError, ...]

    @property
    def exit_code(self) -> int:
        if any(isinstance(error, IntegrityError) for error in self.errors):
            return EXIT_INTEGRITY
        return EXIT_FAILED if self.errors else EXIT_DONE


class _Failures:
    """Passes errors on and keeps them; heard from several threads."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.seen: list[SeedcornError] = []

    def error(self, error: SeedcornError) -> None:
        self.seen.append(error)
        self._monitor.error(error)

    def count(self, counter: Counter, amount: int = 1) -> None:
        self._monitor.count(counter, amount)

    def expect(self, counter: Counter, total: int) -> None:
        self._monitor.expect(counter, total)

    def note(self, message: str) -> None:
        self._monitor.note(message)


@dataclass(slots=True, eq=False)
class _File:
    """A file on its way. ``remaining`` chunks are not written yet; ``extents`` are only there for a file with holes."""

    directory: DirectoryHandle
    node: Node
    path: bytes
    remaining: int
    extents: list[tuple[int, int, int]] | None  # content offset, offset in the file, length
    pending: PendingFile | None = None
    error: SeedcornError | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, offset: int, data: memoryview) -> None:
        """Write content bytes from content offset ``offset``."""
        assert self.pending is not None
        if self.extents is None:
            _write_all(self.pending.fd, data, offset)
            return
        at = bisect_right(self.extents, offset, key=itemgetter(0)) - 1
        while data:
            begin, file_offset, length = self.extents[at]
            part = data[: begin + length - offset]
            _write_all(self.pending.fd, part, file_offset + offset - begin)
            data = data[len(part) :]
            offset += len(part)
            at += 1


_Piece = tuple[_File, int, int, int, bytes]  # file, offset in its content, offset in the frame, length, chunk id


def restore(browser: Browser, snapshot: Snapshot, path: bytes, options: RestoreOptions, monitor: Monitor) -> RestoreResult:
    """Restore what is at ``path`` in a snapshot (``/`` for all of it): a directory's content into the target, anything else under its name.

    A file that can not be restored whole is not there afterwards; it is named in the result, and the rest goes on.

    Raises:
        UsageError: nothing is at ``path``, the target is not empty, or a pattern is malformed.
        StoreError: the store can not be reached.
    """
    entry = browser.entry(snapshot, path)
    failures = _Failures(monitor)
    if options.dry_run:
        if not options.existing:
            refuse_filled(os.fsencode(options.target))
        return _rehearse(browser, entry, options, failures)
    target_options = TargetOptions(as_root=os.geteuid() == 0, on_problem=failures.error, allow_existing=options.existing, overwrite=options.overwrite)
    target = Target(os.fsencode(options.target), target_options)
    try:
        run = _Restore(browser, target, options, failures)
        run.restore(entry, own_metadata=_was_asked_for(snapshot, entry.path))
        return RestoreResult(run.entries, run.files, run.bytes, run.skipped, tuple(failures.seen))
    finally:
        target.close()


def _was_asked_for(snapshot: Snapshot, path: bytes) -> bool:
    """Whether a directory was itself backed up, as opposed to only leading to what was."""
    return any(path == given or given == b"/" or path.startswith(given + b"/") for given in snapshot.owner.paths)


class _Choice:
    """Which entries are wanted."""

    def __init__(self, options: RestoreOptions) -> None:
        self._inclusion = Inclusion(options.includes) if options.includes else None
        self._selection = Selection(options.excludes) if options.excludes else None

    def walk(self, browser: Browser, top: Entry, failures: _Failures) -> Iterator[tuple[Entry, bool]]:
        """(entry, wanted itself) of everything below ``top`` that is wanted or leads to it, parents first. A damaged listing is reported."""
        pending = [(top, self._inclusion is None or self._included(top))]
        while pending:
            at, inside = pending.pop()
            directories = []
            try:
                for child in browser.children(at):
                    is_directory = child.node.kind == Kind.DIRECTORY
                    if self._selection is not None and self._selection.excluded(child.path, child.node.name, is_directory):
                        continue
                    wanted = inside or self._included(child)
                    if wanted or (is_directory and self._inclusion is not None and self._inclusion.leads_to(child.path)):
                        yield child, wanted
                        if is_directory:
                            directories.append((child, wanted))
            except IntegrityError as error:
                where = f" in {error.object_name}" if error.object_name else ""
                failures.error(IntegrityError(f"the listing of this directory is damaged{where}: {error.message}", object_name=printable(at.path)))
            pending += reversed(directories)

    def _included(self, entry: Entry) -> bool:
        return self._inclusion is None or self._inclusion.included(entry.path, entry.node.name, entry.node.kind == Kind.DIRECTORY)


def _rehearse(browser: Browser, top: Entry, options: RestoreOptions, failures: _Failures) -> RestoreResult:
    """Count what a restore would write."""
    found = [(top, True)] if top.node.kind != Kind.DIRECTORY else _Choice(options).walk(browser, top, failures)
    entries = files = size = 0
    for entry, wanted in found:
        if wanted:
            entries += 1
            if entry.node.kind == Kind.FILE:
                files += 1
                size += entry.node.size
    return RestoreResult(entries, files, size, 0, tuple(failures.seen))


class _Restore:
    """One restore. The calling thread walks, plans and makes directories; workers fetch frames and write files."""

    def __init__(self, browser: Browser, target: Target, options: RestoreOptions, failures: _Failures) -> None:
        self._browser = browser
        self._reader: Reader = browser.reader
        self._target = target
        self._options = options
        self._failures = failures
        self._choice = _Choice(options)
        self._links: dict[tuple[int, int], LinkSource | None] = {}
        self._later_links: list[tuple[DirectoryHandle, Node, bytes]] = []
        self._specials: list[tuple[DirectoryHandle, Node]] = []
        self._directories: dict[bytes, DirectoryHandle] = {}
        self._unwanted: dict[bytes, Entry] = {}  # directories that are made only once something in them is wanted
        self._pieces: dict[int, list[_Piece]] = defaultdict(list)
        self._batch_files = self._batch_chunks = self._batch_open = 0
        self._running: list[Future[None]] = []
        self._tally_lock = threading.Lock()
        self.entries = self.files = self.bytes = self.skipped = 0

    def restore(self, top: Entry, *, own_metadata: bool) -> None:
        """Everything, and at the end the metadata of directories."""
        with ThreadPoolExecutor(self._options.workers, thread_name_prefix="seedcorn-restore") as self._workers:
            try:
                if top.node.kind == Kind.DIRECTORY:
                    self._directories[top.path] = self._target.root
                    for entry, wanted in self._choice.walk(self._browser, top, self._failures):
                        self._take(entry, wanted)
                    if own_metadata:
                        self._target.finish_directory(self._target.root, top.node)
                else:
                    self._directories[os.path.dirname(top.path)] = self._target.root
                    self._take(top, True)
                self._start_batch()
                self._wait()
            except BaseException:
                self._workers.shutdown(wait=True, cancel_futures=True)
                raise
        self._make_links_and_specials()
        self._target.finish()

    # -- entries -----------------------------------------------------------------------------------------------------------------------------

    def _take(self, entry: Entry, wanted: bool) -> None:
        node = entry.node
        if node.kind == Kind.DIRECTORY and not wanted:
            self._unwanted[entry.path] = entry
            return
        try:
            parent = self._directory(os.path.dirname(entry.path))
            if parent is None:
                return  # could not be made, and that has been said
            if node.kind == Kind.DIRECTORY:
                self._make_directory(parent, entry)
            elif self._target.keeps(parent, node.name):
                self.skipped += 1
            elif node.kind == Kind.FILE:
                self._take_file(parent, entry)
            else:
                self._specials.append((parent, node))
        except (TargetError, IntegrityError) as error:
            self._fail(entry.path, error)

    def _directory(self, path: bytes) -> DirectoryHandle | None:
        """The handle of a directory that is restored, making those that so far only led here."""
        leading: list[Entry] = []
        above = path
        while above in self._unwanted:
            leading.append(self._unwanted.pop(above))
            above = os.path.dirname(above)
        for entry in reversed(leading):
            parent = self._directories.get(os.path.dirname(entry.path))
            if parent is not None:
                self._make_directory(parent, entry)
        return self._directories.get(path)

    def _make_directory(self, parent: DirectoryHandle, entry: Entry) -> None:
        handle = self._target.open_directory(parent, entry.node.name)
        self._directories[entry.path] = handle
        self._target.finish_directory(handle, entry.node)
        self._done(entry.node)

    def _take_file(self, parent: DirectoryHandle, entry: Entry) -> None:
        node = entry.node
        extra = node.extra
        if extra is not None and extra.link_count > 1:
            link = (node.device_id, node.inode)
            if link in self._links:
                self._later_links.append((parent, node, entry.path))
                return
            self._links[link] = None
        if not node.content:
            self._finish(_File(parent, node, entry.path, 0, None))
            return
        content = self._reader.records(node)
        check_lengths(node, content)
        records = list(content_records(content))
        self._plan(_File(parent, node, entry.path, len(records), _extents(node)), records)

    # -- batches -----------------------------------------------------------------------------------------------------------------------------

    def _plan(self, file: _File, records: list[tuple[ChunkId, int]]) -> None:
        offset = 0
        for begin in range(0, len(records), _PIECES_AT_ONCE):
            part = records[begin : begin + _PIECES_AT_ONCE]
            places = self._reader.places([chunk_id for chunk_id, _ in part])
            for chunk_id, length in part:
                place = places.get(chunk_id)
                if place is not None and place.length == length:
                    self._pieces[place.ordinal].append((file, offset, place.offset, length, chunk_id))
                else:
                    self._write_copy((file, offset, 0, length, chunk_id))
                offset += length
            self._batch_chunks += len(part)
            if self._batch_chunks >= _BATCH_CHUNKS:
                self._start_batch()
        self._batch_files += 1
        self._batch_open += len(records) > 1
        if self._batch_files >= _BATCH_FILES or self._batch_open >= self._options.open_files:
            self._start_batch()

    def _start_batch(self) -> None:
        """Send the collected pieces to the workers, after the batch before has been written (which bounds memory and open files)."""
        pieces, self._pieces = self._pieces, defaultdict(list)
        self._batch_files = self._batch_chunks = self._batch_open = 0
        self._wait()
        ranges = self._reader.plan(pieces)
        for lost in pieces.keys() - {ordinal for wanted in ranges for ordinal, _ in wanted.frames}:
            self._write_pieces(lost, None, pieces[lost])
        self._running = [self._workers.submit(self._write_range, wanted, pieces) for wanted in ranges]

    def _wait(self) -> None:
        running, self._running = self._running, []
        for future in running:
            future.result()

    # -- workers -----------------------------------------------------------------------------------------------------------------------------

    def _write_range(self, wanted: FrameRange, pieces: dict[int, list[_Piece]]) -> None:
        try:
            frames = list(self._reader.read_range(wanted))
        except IntegrityError:
            for ordinal, _ in wanted.frames:
                self._write_pieces(ordinal, None, pieces[ordinal])
            return
        for ordinal, place, sealed in frames:
            try:
                raw: memoryview | None = memoryview(self._reader.open_frame(ordinal, place, sealed))
            except IntegrityError:
                raw = None
            self._write_pieces(ordinal, raw, pieces[ordinal])

    def _write_pieces(self, ordinal: int, raw: memoryview | None, pieces: list[_Piece]) -> None:
        """Verify and write the chunks that one frame holds; neighbours that stay neighbours in one call. Without ``raw``, other copies are sought."""
        at = 0
        try:
            verify = self._reader.verifier(PackKind.DATA, ordinal)
        except IntegrityError:  # its session key does not open: somebody else's copy may
            raw = None
        while at < len(pieces):
            file, offset, begin, _, _ = pieces[at]
            end, after = begin, at
            while raw is not None and after < len(pieces):
                other, other_offset, other_begin, length, chunk_id = pieces[after]
                if other is not file or other_begin != end or other_offset - offset != end - begin or not verify(chunk_id, raw[end : end + length]):
                    break
                end += length
                after += 1
            if raw is not None and after > at:
                self._write(file, offset, raw[begin:end], after - at)
            else:
                self._write_copy(pieces[at])
                after = at + 1
            at = after

    def _write_copy(self, piece: _Piece) -> None:
        """The copy that was planned for is bad: take any other one."""
        file, offset, _, length, chunk_id = piece
        try:
            data = memoryview(self._reader.chunk(PackKind.DATA, ChunkId(chunk_id), length))
        except IntegrityError as error:
            self._fail_chunk(file, error)
            return
        self._write(file, offset, data, 1)

    def _write(self, file: _File, offset: int, data: memoryview, chunks: int) -> None:
        with file.lock:
            try:
                if file.error is None:
                    if file.pending is None:
                        file.pending = self._target.create_file(file.directory, file.node.name)
                    file.write(offset, data)
            except OSError as error:
                file.error = TargetError(file.path, os.strerror(error.errno or 0))
                file.error.__cause__ = error
            except TargetError as error:
                file.error = error
            file.remaining -= chunks
            if file.remaining:
                return
        self._finish(file)

    def _fail_chunk(self, file: _File, error: IntegrityError) -> None:
        with file.lock:
            file.error = file.error or error
            file.remaining -= 1
            if file.remaining:
                return
        self._finish(file)

    def _finish(self, file: _File) -> None:
        """All chunks of a file have been seen: give it its name, or take it away."""
        try:
            if file.error is None:
                pending = file.pending or self._target.create_file(file.directory, file.node.name)
                source = self._target.finish_file(pending, file.node)
                if source is not None:
                    self._links[file.node.device_id, file.node.inode] = source
                self._done(file.node)
                return
        except TargetError as error:
            file.error = error
        else:
            if file.pending is not None:
                self._target.discard_file(file.pending)
        self._fail(file.path, file.error)

    # -- the end -----------------------------------------------------------------------------------------------------------------------------

    def _make_links_and_specials(self) -> None:
        for directory, node, path in self._later_links:
            try:
                source = self._links[node.device_id, node.inode]
                if source is None:
                    raise TargetError(path, "the file that it is a hard link to could not be restored")
                self._target.make_hard_link(directory, node.name, source)
                self._done(node)
            except TargetError as error:
                self._failures.error(error)
        for directory, node in self._specials:
            try:
                self._target.make_special(directory, node)
                self._done(node)
            except TargetError as error:
                self._failures.error(error)

    def _done(self, node: Node) -> None:
        is_file = node.kind == Kind.FILE
        with self._tally_lock:
            self.entries += 1
            self.files += is_file
            self.bytes += node.size if is_file else 0
        self._failures.count(Counter.RESTORED_ENTRIES)
        if is_file:
            self._failures.count(Counter.RESTORED_BYTES, node.size)

    def _fail(self, path: bytes, error: SeedcornError) -> None:
        """Name the file that is concerned, and where the damage is. A full disk ends the run: every other file would fail as this one did."""
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SeedcornError(f"{self._options.target}: its disk is full; {self.entries} entries have been restored") from error
        if isinstance(error, IntegrityError):
            where = f" in {error.object_name}" if error.object_name else ""
            error = IntegrityError(f"not restored, its content is damaged{where}: {error.message}", object_name=printable(path))
        self._failures.error(error)


def _extents(node: Node) -> list[tuple[int, int, int]] | None:
    """Where the content of a file with holes goes: (content offset, offset in the file, length), ascending. None for a file without."""
    if node.extra is None or not node.extra.holes:
        return None
    found = []
    begin = 0
    for offset, length in data_extents(node.size, node.extra.holes):
        found.append((begin, offset, length))
        begin += length
    return found


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data = data[written:]
        offset += written
