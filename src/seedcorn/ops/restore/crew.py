"""Who writes the spans of a restore: this process, or several processes of their own.

Owns fetching ahead, the processes' lives and the order in which they are told things. The store is asked in this process only, so its requests are
counted, and keys other than those of the sessions concerned stay here. Invariant: whatever ends a crew, an error, an interrupt or a killed process,
no process of it lives on and no temporary file of it is left.

Why processes, and the figures: docs/adr/0004.
"""

from __future__ import annotations

import itertools
import mmap
import os
import queue
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec

from seedcorn.errors import IntegrityError, SeedcornError
from seedcorn.format.pack import PackKind
from seedcorn.fs.directories import DirectoryHandle
from seedcorn.fs.files import PartialFile
from seedcorn.fs.target import Target
from seedcorn.ids import RepositoryId
from seedcorn.ops.restore.plan import Span
from seedcorn.ops.restore.process import PROGRAM, Channel, Hello
from seedcorn.ops.restore.write import FileTask, FrameTask, KnownDirectory, Part, SpanTask, SpanWriter, Written
from seedcorn.repo.content.opener import FrameOpener, SessionKeys
from seedcorn.repo.content.ranges import coalesce
from seedcorn.repo.content.reader import Reader

__all__ = ["Crew", "CrewJob", "InlineCrew", "ProcessCrew"]

_FETCHES_AHEAD = 2  # spans of each writer that are fetched or being fetched
_SECTION_SPANS = 8  # neighbours go to one process: they share frames, which it keeps
_SLOTS = 2  # spans that a process has been given: the one it writes and the next
SLOT_BYTES = 5 << 20  # a span's sealed frames

OnWritten = Callable[[Span, Written], None]
_Fetch = Future[tuple[list[FrameTask], list[memoryview]]]


@dataclass(frozen=True, slots=True)
class CrewJob:
    """What a crew works on. ``on_written`` is called from any thread; what it raises ends the crew."""

    reader: Reader
    repository: RepositoryId
    target: Target
    on_written: OnWritten


class Crew(Protocol):
    """Takes spans in, and calls ``on_written`` for each sooner or later."""

    def put(self, span: Span, partial: PartialFile | None = None) -> None:
        """Have a span written; waits while there is enough to do. ``partial`` is where a part of a big file goes."""

    def finish(self) -> None:
        """Return when all spans have been written."""

    def close(self) -> None:
        """Stop at once, if there is still work, and clean up."""


@dataclass(frozen=True, slots=True)
class _Order:
    span: Span
    partial: PartialFile | None


class _Fetcher:
    """Sealed frames, ahead of those who open them."""

    def __init__(self, reader: Reader, threads: int) -> None:
        self._reader = reader
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="seedcorn-fetch")

    def start(self, span: Span) -> _Fetch:
        return self._executor.submit(self._fetch, span)

    def _fetch(self, span: Span) -> tuple[list[FrameTask], list[memoryview]]:
        sealed: dict[int, memoryview] = {}
        for wanted in coalesce(span.frames):
            with suppress(IntegrityError):  # gone or cut short: who needs it will look for other copies
                sealed.update((ordinal, memoryview(data)) for ordinal, _, data in self._reader.read_range(wanted))
        tasks, pieces = [], []
        room = SLOT_BYTES
        for ordinal, place in span.frames.items():
            data = sealed.get(ordinal)
            if data is None or len(data) != place.sealed_bytes or len(data) > room:
                tasks.append(FrameTask(ordinal, place.kind, 0, place.raw_bytes))
                continue
            room -= len(data)
            tasks.append(FrameTask(ordinal, place.kind, len(data), place.raw_bytes))
            pieces.append(data)
        return tasks, pieces

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


class _Briefing:
    """What one receiver of spans has been told, and how a span is put to it."""

    def __init__(self, reader: Reader, root: DirectoryHandle) -> None:
        self._reader = reader
        self._directories = {root.serial}
        self._sessions: set[int] = set()

    def task(self, order: _Order, frames: Sequence[FrameTask], slot: int = 0) -> SpanTask:
        span, partial = order.span, order.partial
        directories: list[KnownDirectory] = []
        part = None if partial is None else Part(partial.temporary_name, partial.device_id, partial.inode, span.offset)
        files = []
        for wanted, runs in zip(span.files, span.runs, strict=True):
            if wanted.directory.serial not in self._directories:
                self._introduce(wanted.directory, directories)
            files.append(FileTask(wanted.directory.serial, wanted.node, runs, part))
        return SpanTask(self._new_sessions(span), directories, list(frames), files, slot)

    def _introduce(self, directory: DirectoryHandle, directories: list[KnownDirectory]) -> None:
        way = []
        at: DirectoryHandle | None = directory
        while at is not None and at.parent is not None and at.serial not in self._directories:
            way.append(KnownDirectory(at.parent.serial, at.record))
            self._directories.add(at.serial)
            at = at.parent
        directories += reversed(way)

    def _new_sessions(self, span: Span) -> dict[int, SessionKeys]:
        new = {}
        for number in {ordinal >> 32 for ordinal in span.frames} - self._sessions:
            self._sessions.add(number)
            with suppress(IntegrityError):  # its frames will not open; another host may have other copies
                new[number] = self._reader.session_keys(number, PackKind.DATA)
        return new


class InlineCrew:
    """The calling thread writes, while the next spans are being fetched."""

    def __init__(self, job: CrewJob) -> None:
        self._job = job
        self._fetcher = _Fetcher(job.reader, _FETCHES_AHEAD)
        self._briefing = _Briefing(job.reader, job.target.root)
        self._opener = FrameOpener(job.repository)
        self._directories = {job.target.root.serial: job.target.root}
        self._writer = SpanWriter(job.target, self._opener, self._directories, [])  # problems go to the target's own listener
        self._fetching: deque[tuple[_Order, _Fetch]] = deque()

    def put(self, span: Span, partial: PartialFile | None = None) -> None:
        self._fetching.append((_Order(span, partial), self._fetcher.start(span)))
        if len(self._fetching) >= _FETCHES_AHEAD:
            self._write_one()

    def finish(self) -> None:
        while self._fetching:
            self._write_one()

    def close(self) -> None:
        self._fetcher.close()

    def _write_one(self) -> None:
        order, fetched = self._fetching.popleft()
        frames, sealed = fetched.result()
        task = self._briefing.task(order, frames)
        for number, keys in task.sessions.items():
            self._opener.admit(number, keys)
        self._directories.update((wanted.directory.serial, wanted.directory) for wanted in order.span.files)
        self._job.on_written(order.span, self._writer.write(task.frames, task.files, memoryview(b"".join(sealed))))


class _Process:
    """One writing process: its socket, and memory that it shares with us for sealed frames."""

    def __init__(self, job: CrewJob) -> None:
        memory_fd = os.memfd_create("seedcorn-restore", os.MFD_CLOEXEC)
        ours, theirs = socket.socketpair()
        try:
            os.ftruncate(memory_fd, _SLOTS * SLOT_BYTES)
            self._memory = mmap.mmap(memory_fd, _SLOTS * SLOT_BYTES)
            descriptors = (theirs.fileno(), memory_fd, job.target.root_fd)
            # A group of its own, so that a Ctrl-C at the terminal reaches this process only, which knows what is to be cleaned up.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", PROGRAM, "\n".join(sys.path), *map(str, descriptors)],
                pass_fds=descriptors,
                process_group=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(memory_fd)
        self.pid = self._process.pid
        self.given: deque[Span] = deque()  # that it has not answered for
        self._channel = Channel(ours)
        self._briefing = _Briefing(job.reader, job.target.root)
        self._slots = itertools.cycle(range(_SLOTS))
        options = job.target.options
        self._hello = Hello(job.repository, options.as_root, options.overwrite.value, job.target.root.record, SLOT_BYTES)

    def greet(self) -> None:
        """Say what all spans have in common."""
        self._send(self._hello)

    def give(self, order: _Order, frames: Sequence[FrameTask], sealed: Sequence[memoryview]) -> None:
        """Have a span written; at most ``_SLOTS`` at a time."""
        slot = next(self._slots)
        at = slot * SLOT_BYTES
        for data in sealed:
            self._memory[at : at + len(data)] = data
            at += len(data)
        self.given.append(order.span)
        self._send(self._briefing.task(order, frames, slot))

    def receive(self) -> tuple[Span, Written]:
        """What became of the span that was given first."""
        written = self._channel.receive(Written)
        if written is None:
            raise self._gone()
        return self.given.popleft(), written

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Wait for its end, which comes when it is told nothing more."""
        self._channel.close()
        self._process.wait()
        self._memory.close()

    def _send(self, message: msgspec.Struct) -> None:
        try:
            self._channel.send(message)
        except OSError as error:
            raise self._gone() from error

    def _gone(self) -> SeedcornError:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return SeedcornError(f"a process that was writing files {how} (process {self.pid}): the restore is not complete; try --processes 0")


class ProcessCrew:
    """Processes that open, verify and write. A thread for each fetches and feeds it; the calling thread only plans."""

    def __init__(self, job: CrewJob, processes: int) -> None:
        self._job = job
        self._section: list[_Order] = []
        self._sections: queue.SimpleQueue[list[_Order] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(processes)  # sections that have been planned and not begun
        self._failure: BaseException | None = None
        self._processes: list[_Process] = []
        self._threads = [threading.Thread(target=self._feed, args=(number,), name="seedcorn-restore") for number in range(processes)]
        self._fetcher = _Fetcher(job.reader, processes * _FETCHES_AHEAD)
        try:
            for thread in self._threads:
                self._processes.append(_Process(job))
                thread.start()
        except BaseException:
            self.close()
            raise

    def put(self, span: Span, partial: PartialFile | None = None) -> None:
        self._section.append(_Order(span, partial))
        if len(self._section) >= _SECTION_SPANS:
            self._hand_out()

    def finish(self) -> None:
        self._hand_out()
        for _ in self._threads:
            self._sections.put(None)
        for thread in self._threads:
            thread.join()
        self._raise_failure()

    def close(self) -> None:
        running = [thread for thread in self._threads if thread.is_alive()]
        if running or self._failure is not None:
            self._failure = self._failure or SeedcornError("the restore was stopped")
            for process in self._processes:
                process.kill()
            for _ in running:
                self._sections.put(None)
            for thread in running:
                thread.join()
        self._fetcher.close()
        for process in self._processes:
            process.close()
            for directory in {wanted.directory for span in process.given for wanted in span.files}:
                self._job.target.remove_leftovers(directory, process.pid)
        self._processes.clear()

    def _hand_out(self) -> None:
        self._room.acquire()
        self._raise_failure()
        section, self._section = self._section, []
        self._sections.put(section)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    # -- one thread for each process ---------------------------------------------------------------------------------------------------------

    def _feed(self, number: int) -> None:
        try:
            self._feed_until_the_end(self._processes[number])
        except BaseException as error:  # noqa: BLE001  # whatever it is, the calling thread raises it
            self._failure = self._failure or error
            self._room.release()

    def _feed_until_the_end(self, process: _Process) -> None:
        process.greet()
        planned: deque[_Order] = deque()
        fetching: deque[tuple[_Order, _Fetch]] = deque()
        ended = False
        while self._failure is None:
            while not ended and len(fetching) < _FETCHES_AHEAD:
                if not planned:
                    try:
                        section = self._sections.get(block=not fetching and not process.given)
                    except queue.Empty:
                        break
                    if section is None:
                        ended = True
                        break
                    self._room.release()
                    planned.extend(section)
                    continue
                order = planned.popleft()
                fetching.append((order, self._fetcher.start(order.span)))
            if fetching and len(process.given) < _SLOTS:
                order, fetched = fetching.popleft()
                process.give(order, *fetched.result())
            elif process.given:
                self._job.on_written(*process.receive())
            elif ended:
                return
