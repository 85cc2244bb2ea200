"""The files of a restore: planned into spans, which a crew writes; and those that need a bad frame, chunk by chunk from whatever copy is good.

Owns what becomes of a file that could not be written as planned. Memory depends on the size of a span, not on the number of files (but for damaged
ones). The rules for what is written where are ``fs.files``'s; docs/threat-model.md, R5 and R9.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice

from seedcorn.errors import IntegrityError, TargetError
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import content_records
from seedcorn.fs.content import write_content
from seedcorn.fs.files import LinkSource, PendingFile
from seedcorn.fs.metadata import MetadataError, error_text
from seedcorn.fs.target import Target
from seedcorn.ids import RepositoryId
from seedcorn.ops.restore.crew import Crew, CrewJob, InlineCrew, ProcessCrew
from seedcorn.ops.restore.links import HardLinks
from seedcorn.ops.restore.outcome import Outcome
from seedcorn.ops.restore.parts import BigFiles
from seedcorn.ops.restore.plan import Span, WantedFile, plan_spans
from seedcorn.ops.restore.write import Failure, Written
from seedcorn.repo.content.reader import Reader

__all__ = ["FileRestorer"]

_SPANS_WORTH_PROCESSES = 6  # starting processes costs what writing a few spans does
_PROCESSES_LIMIT = 8


class FileRestorer:
    """Writes files into directories of one target. The calling thread plans; the crew reports from threads of its own."""

    def __init__(self, reader: Reader, repository: RepositoryId, target: Target, processes: int | None, links: HardLinks, outcome: Outcome) -> None:
        """``processes`` as in ``RestoreOptions``."""
        self._reader = reader
        self._target = target
        self._job = CrewJob(reader, repository, target, self._written)
        self._processes = processes
        self._links = links
        self._outcome = outcome
        self._big = BigFiles(target)
        self._damaged: list[WantedFile] = []  # to be written chunk by chunk

    def write(self, files: Iterable[WantedFile]) -> None:
        """Write all of ``files``, which come in the order of the tree; what can not be written is said.

        Raises:
            SeedcornError: the disk is full, or a process that writes was killed.
            StoreError: the store can not be reached.
        """
        self._write_spans(plan_spans(self._reader, files, self._damaged.append))
        for wanted in self._damaged:
            self.write_by_chunk(wanted)

    def write_by_chunk(self, wanted: WantedFile) -> None:
        """Write one file by itself, each chunk from whatever copy is good."""
        node = wanted.node
        holes = node.extra.holes if node.extra is not None else ()
        try:
            pending = self._target.create_file(wanted.directory, node.name)
        except TargetError as error:
            self._outcome.fail(wanted.path, error)
            return
        offset = 0
        try:
            for chunk_id, length in content_records(node.content):
                data = memoryview(self._reader.chunk(PackKind.DATA, chunk_id, length))
                write_content(pending.fd, [data], offset, holes, node.size)
                offset += length
        except BaseException as error:
            self._target.discard_file(pending)
            if isinstance(error, MetadataError):
                self._outcome.fail(wanted.path, _caused(TargetError(wanted.directory.path_of(node.name), error_text(error)), error))
            elif isinstance(error, IntegrityError):
                self._outcome.fail(wanted.path, error)
            else:
                raise
        else:
            self._finish(wanted, pending)

    def _write_spans(self, spans: Iterator[Span]) -> None:
        first = list(islice(spans, _SPANS_WORTH_PROCESSES))
        crew = _start_crew(self._job, _process_count(self._processes) if len(first) == _SPANS_WORTH_PROCESSES else 0)
        try:
            for span in chain(first, spans):
                if span.big is None:
                    crew.put(span)
                    continue
                try:
                    partial = self._big.begin_part(span)
                except TargetError as error:
                    self._outcome.fail(span.big.path, error)
                else:
                    if partial is not None:
                        crew.put(span, partial)
            crew.finish()
        finally:
            crew.close()
            self._big.close()

    # -- what the crew reports, from any thread ----------------------------------------------------------------------------------------------

    def _written(self, span: Span, written: Written) -> None:
        for path, message in written.problems:
            self._outcome.error(TargetError(path, message))
        errors = {failure.file: _target_error(failure) for failure in written.failures}
        if span.big is not None:
            self._written_part(span.big, errors.get(0), is_damaged=bool(errors))
            return
        for number, error in errors.items():
            wanted = span.files[number]
            if error is not None:
                self._outcome.fail(wanted.path, error)
            else:
                self._damaged.append(wanted)
        for link in written.links:
            wanted = span.files[link.file]
            self._keep_link(wanted, LinkSource(wanted.directory, wanted.node.name, link.device_id, link.inode))
        sizes = [wanted.node.size for number, wanted in enumerate(span.files) if number not in errors]
        self._outcome.done(len(sizes), sizes)

    def _written_part(self, wanted: WantedFile, error: TargetError | None, *, is_damaged: bool) -> None:
        if error is not None:
            self._outcome.refuse_full_disk(error)
        big = self._big.end_part(wanted, error, is_damaged=is_damaged)
        if big is None:
            return
        if big.error is None and not big.is_damaged:
            self._finish(wanted, big.pending)
            return
        self._target.discard_file(big.pending)
        if big.error is not None:
            self._outcome.fail(wanted.path, big.error)
        else:
            self._damaged.append(wanted)

    def _finish(self, wanted: WantedFile, pending: PendingFile) -> None:
        try:
            source = self._target.finish_file(pending, wanted.node)
        except TargetError as error:
            self._outcome.fail(wanted.path, error)
            return
        if source is not None:
            self._keep_link(wanted, source)
        self._outcome.done(1, [wanted.node.size])

    def _keep_link(self, wanted: WantedFile, source: LinkSource) -> None:
        assert wanted.file is not None, "only a file with several names is given a source of links"
        self._links.written(wanted.file, source)


def _start_crew(job: CrewJob, processes: int) -> Crew:
    """As many processes as were asked for; none where this interpreter can not be started again (a program that has given up its rights)."""
    if processes:
        with suppress(OSError):
            return ProcessCrew(job, processes)
    return InlineCrew(job)


def _process_count(wanted: int | None) -> int:
    """How many processes write; 0: this one alone."""
    cores = len(os.sched_getaffinity(0))
    if wanted is None:
        wanted = min(cores, _PROCESSES_LIMIT) if cores > 1 else 0
    return wanted if hasattr(os, "memfd_create") else 0


def _target_error(failure: Failure) -> TargetError | None:
    """What kept a file from being written; None if it was damage."""
    if not failure.message:
        return None
    return _caused(TargetError(failure.path, failure.message), OSError(failure.errno, failure.message))


def _caused(error: TargetError, cause: Exception) -> TargetError:
    error.__cause__ = cause
    return error
