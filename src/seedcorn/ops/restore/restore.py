"""Restoring: from a snapshot's tree to files, every chunk verified, nothing outside the target.

The calling thread walks the tree in order, makes directories and plans spans of files (``ops.restore.plan``); a crew fetches, opens, verifies and
writes them (``ops.restore.crew``). Files that need a bad frame are written here at the end, chunk by chunk, from whatever copy is good. Memory
depends on the size of a span, not on the tree. The rules for what is written where are ``fs.target``'s and ``fs.files``'s;
docs/threat-model.md, R1 to R10.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import msgspec

from seedcorn.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTEGRITY, IntegrityError, SeedcornError, TargetError, UsageError, printable
from seedcorn.events import Counter, Monitor
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import Kind, Node, check_lengths, content_records
from seedcorn.fs.content import write_content
from seedcorn.fs.directories import DirectoryHandle
from seedcorn.fs.files import LinkSource, Overwrite, PendingFile, TargetOptions
from seedcorn.fs.target import Target, refuse_filled
from seedcorn.ids import RepositoryId
from seedcorn.ops.browse import Browser, Entry, Snapshot
from seedcorn.ops.restore.choice import Choice
from seedcorn.ops.restore.crew import Crew, CrewJob, InlineCrew, ProcessCrew
from seedcorn.ops.restore.links import HardLinks, LinkedFile, linked_file
from seedcorn.ops.restore.parts import BigFiles
from seedcorn.ops.restore.plan import Span, WantedFile, plan_spans
from seedcorn.ops.restore.write import Failure, Written
from seedcorn.repo.content.reader import Reader

__all__ = ["Overwrite", "RestoreOptions", "RestoreResult", "restore"]

_SPANS_WORTH_PROCESSES = 6  # starting processes costs what writing a few spans does
_PROCESSES_LIMIT = 8


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """Where to and what of it. Patterns as for backups, against absolute paths in the snapshot."""

    target: Path
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    dry_run: bool = False
    existing: bool = False  # the target need not be empty
    overwrite: Overwrite = Overwrite.ALWAYS
    processes: int | None = None  # that write; 0: this one alone. None: as many as there are cores, if there is more than one


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


def restore(browser: Browser, snapshot: Snapshot, path: bytes, options: RestoreOptions, monitor: Monitor) -> RestoreResult:
    """Restore what is at ``path`` in a snapshot (``/`` for all of it): a directory's content into the target, anything else under its name.

    A file that can not be restored whole is not there afterwards; it is named in the result, and the rest goes on.

    Raises:
        UsageError: nothing is at ``path``, the target is not empty, or a pattern is malformed.
        StoreError: the store can not be reached.
    """
    top = browser.entry(snapshot, path)
    failures = _Failures(monitor)
    if not options.existing:
        refuse_filled(os.fsencode(options.target))
    found = _wanted_entries(browser, top, options, failures)
    if options.dry_run:
        return _rehearse(found, failures)
    target_options = TargetOptions(as_root=os.geteuid() == 0, on_problem=failures.error, allow_existing=options.existing, overwrite=options.overwrite)
    with closing(Target(os.fsencode(options.target), target_options)) as target:
        run = _Restore(browser.reader, browser.repository.repository, target, options, failures)
        run.restore(top, found, own_metadata=_was_asked_for(snapshot, top.path))
        return RestoreResult(run.entries, run.files, run.bytes, run.skipped, tuple(failures.seen))


def _wanted_entries(browser: Browser, top: Entry, options: RestoreOptions, failures: _Failures) -> Iterator[tuple[Entry, bool]]:
    """As ``Choice.walk``, or ``top`` alone if it is not a directory.

    Raises:
        UsageError: include patterns were given, and nothing matches.
    """
    if top.node.kind != Kind.DIRECTORY:
        return iter([(top, True)])
    choice = Choice(options.includes, options.excludes)
    found = choice.walk(browser, top, failures)
    if choice.included(top):
        return found
    leading = []
    for entry, wanted in found:
        leading.append((entry, wanted))
        if wanted:
            return chain(leading, found)
    if failures.seen:
        return iter(leading)
    raise UsageError(f"nothing below {printable(top.path)} matches {' or '.join(map(repr, options.includes))}: nothing has been restored")


def _was_asked_for(snapshot: Snapshot, path: bytes) -> bool:
    """Whether a directory was itself backed up, as opposed to only leading to what was."""
    return any(path == given or given == b"/" or path.startswith(given + b"/") for given in snapshot.owner.paths)


def _rehearse(found: Iterator[tuple[Entry, bool]], failures: _Failures) -> RestoreResult:
    """Count what a restore would write."""
    entries = files = size = 0
    for entry, wanted in found:
        if wanted:
            entries += 1
            if entry.node.kind == Kind.FILE:
                files += 1
                size += entry.node.size
    return RestoreResult(entries, files, size, 0, tuple(failures.seen))


class _Restore:
    """One restore. The calling thread walks and plans; the crew reports from threads of its own."""

    def __init__(self, reader: Reader, repository: RepositoryId, target: Target, options: RestoreOptions, failures: _Failures) -> None:
        self._reader = reader
        self._repository = repository
        self._target = target
        self._options = options
        self._failures = failures
        self._links = HardLinks()
        self._later_links: list[tuple[DirectoryHandle, Node, LinkedFile]] = []
        self._specials: list[tuple[DirectoryHandle, Node]] = []
        self._directories: dict[bytes, DirectoryHandle] = {}
        self._unwanted: dict[bytes, Entry] = {}  # directories that are made only once something in them is wanted
        self._damaged: list[WantedFile] = []  # to be written chunk by chunk
        self._big = BigFiles(target)
        self._lock = threading.Lock()
        self.entries = self.files = self.bytes = self.skipped = 0

    def restore(self, top: Entry, found: Iterator[tuple[Entry, bool]], *, own_metadata: bool) -> None:
        """Everything, and at the end the metadata of directories."""
        is_directory = top.node.kind == Kind.DIRECTORY
        self._directories[top.path if is_directory else os.path.dirname(top.path)] = self._target.root
        self._write_files(plan_spans(self._reader, self._take_all(found), self._damaged.append))
        for wanted in self._damaged:
            self._write_by_chunk(wanted)
        self._make_links_and_specials()
        if is_directory and own_metadata:
            self._target.finish_directory(self._target.root, top.node)
        self._target.finish()

    # -- entries -----------------------------------------------------------------------------------------------------------------------------

    def _take_all(self, found: Iterator[tuple[Entry, bool]]) -> Iterator[WantedFile]:
        """Make the directories; the files, in order. Links and what is neither wait until the files are there."""
        for entry, wanted in found:
            node = entry.node
            if node.kind == Kind.DIRECTORY and not wanted:
                self._unwanted[entry.path] = entry
                continue
            try:
                parent = self._directory(os.path.dirname(entry.path))
                if parent is None:
                    continue  # could not be made, and that has been said
                if node.kind == Kind.DIRECTORY:
                    self._make_directory(parent, entry)
                elif self._target.keeps(parent, node.name):
                    self.skipped += 1
                elif node.kind != Kind.FILE:
                    self._specials.append((parent, node))
                elif self._is_first_name(parent, entry):
                    yield self._wanted_file(parent, entry)
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
        self._done(1)

    def _is_first_name(self, parent: DirectoryHandle, entry: Entry) -> bool:
        """Whether this is the name under which a file is written; its other names become hard links."""
        file = linked_file(entry.node)
        if file is None or self._links.is_first(file):
            return True
        self._later_links.append((parent, entry.node, file))
        return False

    def _wanted_file(self, parent: DirectoryHandle, entry: Entry) -> WantedFile:
        node, file = entry.node, linked_file(entry.node)
        if node.extra is not None and node.extra.depth:
            content = self._reader.records(node)
            check_lengths(node, content)
            node = msgspec.structs.replace(node, content=content)
        return WantedFile(parent, node, entry.path, file)

    # -- files -------------------------------------------------------------------------------------------------------------------------------

    def _write_files(self, spans: Iterator[Span]) -> None:
        first = list(islice(spans, _SPANS_WORTH_PROCESSES))
        processes = _processes(self._options) if len(first) == _SPANS_WORTH_PROCESSES else 0
        job = CrewJob(self._reader, self._repository, self._target, self._options.overwrite, self._written)
        crew = _start_crew(job, processes)
        try:
            for span in chain(first, spans):
                if span.big is None:
                    crew.put(span)
                    continue
                try:
                    partial = self._big.begin_part(span)
                except TargetError as error:
                    self._fail(span.big.path, error)
                else:
                    if partial is not None:
                        crew.put(span, partial)
            crew.finish()
        finally:
            crew.close()
            self._big.close()

    def _written(self, span: Span, written: Written) -> None:
        """What has become of a span; called from any thread."""
        for path, message in written.problems:
            self._failures.error(TargetError(path, message))
        errors = {failure.file: _target_error(failure) for failure in written.failures}
        if span.big is not None:
            self._written_part(span.big, errors.get(0), is_damaged=bool(errors))
            return
        for number, error in errors.items():
            wanted = span.files[number]
            if error is not None:
                self._fail(wanted.path, error)
            else:
                self._damaged.append(wanted)
        for link in written.links:
            wanted = span.files[link.file]
            self._keep_link(wanted, LinkSource(wanted.directory, wanted.node.name, link.device_id, link.inode))
        sizes = [wanted.node.size for number, wanted in enumerate(span.files) if number not in errors]
        self._done(len(sizes), sizes)

    def _written_part(self, wanted: WantedFile, error: TargetError | None, *, is_damaged: bool) -> None:
        if error is not None:
            self._refuse_full_disk(error)
        big = self._big.end_part(wanted, error, is_damaged=is_damaged)
        if big is None:
            return
        if big.error is None and not big.is_damaged:
            self._finish(wanted, big.pending)
            return
        self._target.discard_file(big.pending)
        if big.error is not None:
            self._fail(wanted.path, big.error)
        else:
            self._damaged.append(wanted)

    def _write_by_chunk(self, wanted: WantedFile) -> None:
        """A file of which a frame is bad: take each chunk from whatever copy is good."""
        node = wanted.node
        holes = node.extra.holes if node.extra is not None else ()
        try:
            pending = self._target.create_file(wanted.directory, node.name)
        except TargetError as error:
            self._fail(wanted.path, error)
            return
        offset = 0
        try:
            for chunk_id, length in content_records(node.content):
                data = memoryview(self._reader.chunk(PackKind.DATA, chunk_id, length))
                write_content(pending.fd, [data], offset, holes, node.size)
                offset += length
        except BaseException as error:
            self._target.discard_file(pending)
            if isinstance(error, OSError):
                self._fail(wanted.path, _caused(TargetError(wanted.directory.path_of(node.name), os.strerror(error.errno or 0)), error))
            elif isinstance(error, IntegrityError):
                self._fail(wanted.path, error)
            else:
                raise
        else:
            self._finish(wanted, pending)

    def _finish(self, wanted: WantedFile, pending: PendingFile) -> None:
        try:
            source = self._target.finish_file(pending, wanted.node)
        except TargetError as error:
            self._fail(wanted.path, error)
            return
        if source is not None:
            self._keep_link(wanted, source)
        self._done(1, [wanted.node.size])

    def _keep_link(self, wanted: WantedFile, source: LinkSource) -> None:
        assert wanted.file is not None, "only a file with several names is given a source of links"
        self._links.written(wanted.file, source)

    # -- the end -----------------------------------------------------------------------------------------------------------------------------

    def _make_links_and_specials(self) -> None:
        for directory, node, file in self._later_links:
            try:
                source = self._links.source(file)
                if source is None:
                    raise TargetError(directory.path_of(node.name), "the file that it is a hard link to could not be restored")
                self._target.make_hard_link(directory, node.name, source)
                self._done(1, [node.size])
            except TargetError as error:
                self._failures.error(error)
        for directory, node in self._specials:
            try:
                self._target.make_special(directory, node)
                self._done(1)
            except TargetError as error:
                self._failures.error(error)

    def _done(self, entries: int, file_sizes: Sequence[int] = ()) -> None:
        size = sum(file_sizes)
        with self._lock:
            self.entries += entries
            self.files += len(file_sizes)
            self.bytes += size
        self._failures.count(Counter.RESTORED_ENTRIES, entries)
        if size:
            self._failures.count(Counter.RESTORED_BYTES, size)

    def _fail(self, path: bytes, error: SeedcornError) -> None:
        """Name the file that is concerned, and where the damage is."""
        self._refuse_full_disk(error)
        if isinstance(error, IntegrityError):
            where = f" in {error.object_name}" if error.object_name else ""
            error = IntegrityError(f"not restored, its content is damaged{where}: {error.message}", object_name=printable(path))
        self._failures.error(error)

    def _refuse_full_disk(self, error: SeedcornError) -> None:
        """A full disk ends the run: every other file would fail as this one did."""
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SeedcornError(f"{self._options.target}: its disk is full; {self.entries} entries have been restored") from error


def _start_crew(job: CrewJob, processes: int) -> Crew:
    """As many processes as were asked for; none where this interpreter can not be started again (a program that has given up its rights)."""
    if processes:
        with suppress(OSError):
            return ProcessCrew(job, processes)
    return InlineCrew(job)


def _processes(options: RestoreOptions) -> int:
    """How many processes write."""
    cores = len(os.sched_getaffinity(0))
    wanted = options.processes if options.processes is not None else min(cores, _PROCESSES_LIMIT) if cores > 1 else 0
    return wanted if hasattr(os, "memfd_create") else 0


def _target_error(failure: Failure) -> TargetError | None:
    """What kept a file from being written; None if it was damage."""
    if not failure.message:
        return None
    return _caused(TargetError(failure.path, failure.message), OSError(failure.errno, failure.message))


def _caused(error: TargetError, cause: OSError) -> TargetError:
    error.__cause__ = cause
    return error
