"""Backing up: scan the paths into a writer, then commit a signed snapshot.

The snapshot is put last and create-only: until then nothing exists, after that everything does. docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, EXIT_SOURCE_ERRORS, IntegrityError, SeedcornError, SourceError, UsageError, printable
from seedcorn.events import Clock, Counter, Monitor
from seedcorn.format.names import pack_key
from seedcorn.format.pack import PackKind
from seedcorn.format.snapshot import Head, SnapshotMaintain, SnapshotOwner, SnapshotPublic, Statistics
from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.fs.owners import group_names, user_names
from seedcorn.fs.selection import Selection
from seedcorn.ids import HostId, SessionId, SnapshotId
from seedcorn.ops.entries import Tally
from seedcorn.ops.scan import ScanOptions, TreeScanner
from seedcorn.repo.history import (
    build_snapshot,
    check_rollback,
    group_of,
    list_heads,
    remember_heads,
    remembered_heads,
)
from seedcorn.repo.hosts import HostRegistry, load_registry
from seedcorn.repo.index import sync_state
from seedcorn.repo.needed import needed_frames
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.state import FrameSet, State
from seedcorn.repo.writer import ReadInto, Writer, WriterOptions
from seedcorn.store.api import Requests
from seedcorn.version import PROGRAM

__all__ = ["BackupOptions", "BackupResult", "Requests", "backup", "backup_stream"]

_ERRORS_LIMIT = 10_000
_OWNERS = "owners"


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What is to be backed up and how. Patterns are those of docs/guide; ``host_name`` is what snapshots call this machine."""

    host_name: str
    excludes: tuple[str, ...] = ()
    exclude_caches: bool = False
    one_file_system: bool = False
    force: bool = False
    dry_run: bool = False  # keep nothing in the state; the store has to be one that makes no puts
    tags: tuple[str, ...] = ()
    writer: WriterOptions = field(default_factory=WriterOptions)


@dataclass(frozen=True, slots=True)
class BackupResult:
    """What came of it. ``snapshot`` is None after a dry run; sizes in bytes, times in nanoseconds; ``requests`` without those that opened the
    repository."""

    snapshot: SnapshotId | None
    seq: int
    statistics: Statistics
    start_ns: int
    end_ns: int
    elapsed_ns: int
    requests: Requests
    errors: tuple[SourceError, ...]
    problems: tuple[IntegrityError, ...]

    @property
    def exit_code(self) -> int:
        if self.problems:
            return EXIT_INTEGRITY
        return EXIT_SOURCE_ERRORS if self.errors else EXIT_DONE


def backup(repository: HostRepository, state: State, paths: Sequence[bytes], options: BackupOptions, clock: Clock, monitor: Monitor) -> BackupResult:
    """Back up files and directories. ``paths`` may be relative; they are stored by their absolute names.

    Raises:
        UsageError: no path, or a malformed pattern.
        SeedcornError: none of the paths can be read, the store fails, or this host has been revoked.
    """
    if not all(paths):
        raise UsageError("one of the paths to back up is empty: an unset variable in a script?")
    wanted = _without_nested([b"/" + os.path.abspath(path).lstrip(b"/") for path in paths])  # POSIX lets abspath keep two leading slashes
    if not wanted:
        raise UsageError("nothing to back up: give at least one path")
    excluded = Selection(options.excludes).excluded if options.excludes else None
    with _Run(repository, state, options, clock, monitor) as run:
        scan = ScanOptions(excluded, options.exclude_caches, options.one_file_system, options.force)
        scanner = TreeScanner(run.writer, state, scan, run.start_ns, monitor)
        root = _scan_paths(scanner, run.writer, wanted)
        if not root.content:
            raise SeedcornError(f"none of the given paths can be read: {', '.join(map(printable, wanted))}")
        scanner.finish()
        return run.commit(root, wanted, scanner.frames, scanner.tally, source="files")


def backup_stream(
    repository: HostRepository, state: State, read_into: ReadInto, file_name: bytes, options: BackupOptions, clock: Clock, monitor: Monitor
) -> BackupResult:
    """Back up what ``read_into`` gives, to its end, as one file ``file_name`` in the root."""
    if not file_name or b"/" in file_name or b"\0" in file_name or file_name in (b".", b".."):
        raise UsageError(f"{printable(file_name)!r} can not be the name of a file")
    with _Run(repository, state, options, clock, monitor) as run:
        stored = run.writer.store_content(_counting(read_into, monitor), None)
        frames = set(stored.frames)
        extra = Extra(depth=stored.depth) if stored.depth else None
        now = clock.now_ns()
        node = Node(file_name, Kind.FILE, 0o600, os.getuid(), os.getgid(), now, now, 0, 0, stored.size, stored.content, extra)
        content, depth = run.writer.store_listing([node], frames)
        tally = Tally(source_files=1, source_file_size=stored.size, new_files=1, new_file_size=stored.size, read_bytes=stored.size)
        tally.deduplicated_bytes = stored.size - stored.new_bytes
        tally.users.add(node.uid)
        tally.groups.add(node.gid)
        root = _directory(b"", content, depth, 1)
        return run.commit(root, (b"/" + file_name,), FrameSet(frames), tally, source="stdin")


class _Run:
    """One backup from opening the index to the commit."""

    def __init__(self, repository: HostRepository, state: State, options: BackupOptions, clock: Clock, monitor: Monitor) -> None:
        self._repository = repository
        self._state = state
        self._options = options
        self._clock = clock
        self._monitor = monitor
        state.discard_writes = options.dry_run
        self._begun_ns = clock.elapsed_ns()
        self._requests_before = dataclasses.replace(repository.store.requests)
        self.start_ns = clock.now_ns()
        self._registry = _check_enrolled(repository, state)
        only = None if repository.header.trust_hosts else repository.host
        self.problems = list(self._registry.problems)
        self.problems += sync_state(repository.store, state, repository.repository, repository.key.secrets, self._registry, only=only)
        if not repository.header.trust_hosts:
            state.trust_only(lambda host: host == repository.host)
        if options.force:
            self._forget_lost_packs(only)
        self._heads = list_heads(repository.store)
        self.problems += check_rollback(remembered_heads(state), self._heads)
        for problem in self.problems:
            monitor.error(problem)
        # A dry run's packs never reach the index, so its chunks are only known as long as no checkpoint hands them over.
        writing = (
            dataclasses.replace(options.writer, checkpoint_packs=sys.maxsize, checkpoint_seconds=sys.maxsize) if options.dry_run else options.writer
        )
        self.writer = Writer(repository, state, writing, clock, monitor)

    def _forget_lost_packs(self, only: HostId | None) -> None:
        """With ``force`` nothing is believed, not even that what the index lists is there: what lost packs held is stored again."""
        prefix = f"packs/{only.hex()}/" if only else "packs/"
        present = {info.key for info in self._repository.store.list(prefix)}
        lost = {pack for host, pack in self._state.packs() if (only is None or host == only) and pack_key(host, pack) not in present}
        if lost:
            self._monitor.note(
                f"{len(lost)} packs that the index lists are missing from the store: what the sources still have of them is stored again"
            )
            self._state.forget_packs(lost)

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            with suppress(SeedcornError):  # so that the next run need not send the finished packs again
                self.writer.checkpoint()
        self.writer.close()
        self._state.discard_writes = False

    def commit(self, root: Node, paths: Sequence[bytes], frames: FrameSet, tally: Tally, *, source: str) -> BackupResult:
        """Finish the writer and put the snapshot."""
        self.writer.finish()
        statistics = _statistics(tally, self.writer, self._requests().put_bytes)
        end_ns = self._clock.now_ns()
        users, groups = self._owner_names(tally)
        owner = SnapshotOwner(
            host_name=self._options.host_name,
            paths=tuple(paths),
            tags=self._options.tags,
            root=root,
            start_ns=self.start_ns,
            end_ns=end_ns,
            statistics=statistics,
            errors=tuple((error.path, error.message) for error in tally.errors[:_ERRORS_LIMIT]),
            error_count=len(tally.errors),
            excludes=self._options.excludes,
            program=PROGRAM,
            users=users,
            groups=groups,
            source=source,
        )
        snapshot, seq = self._put_snapshot(owner, frames)
        requests = self._requests()
        return BackupResult(
            snapshot=None if self._options.dry_run else snapshot,
            seq=seq,
            statistics=msgspec.structs.replace(statistics, total_destination_size_change=requests.put_bytes),
            start_ns=self.start_ns,
            end_ns=self._clock.now_ns(),
            elapsed_ns=self._clock.elapsed_ns() - self._begun_ns,
            requests=requests,
            errors=tuple(tally.errors),
            problems=tuple(self.problems),
        )

    def _put_snapshot(self, owner: SnapshotOwner, frames: FrameSet) -> tuple[SnapshotId, int]:
        repository, state = self._repository, self._state
        with state.locked():  # two runs on one machine must not take the same number
            newest = _newest(self._heads.get(repository.host), remembered_heads(state).get(repository.host))
            seq = newest.seq + 1 if newest else 1
            public = SnapshotPublic(
                repository.repository, repository.host, seq, newest.snapshot if newest else b"", self.writer.session, repository.key.secrets.domain
            )
            maintain = SnapshotMaintain(
                time_ns=owner.start_ns,
                group=group_of(repository, owner.host_name, owner.paths),
                tags=owner.tags,
                complete=owner.error_count == 0,
                needed=needed_frames(frames, self._session_of),
                heads=tuple(head for host, head in sorted(self._heads.items()) if host != repository.host),
            )
            key, snapshot, data = build_snapshot(repository, public, maintain, owner)
            self.writer.put(key, data)
            if self._options.dry_run:
                return snapshot, seq
            state.complete_session(self.writer.session_number)
            remember_heads(state, self._heads | {repository.host: Head(repository.host, seq, snapshot)})
        return snapshot, seq

    def _requests(self) -> Requests:
        """The requests of this run so far."""
        return self._repository.store.requests.since(self._requests_before)

    def _session_of(self, number: int) -> SessionId:
        return self.writer.session if number == self.writer.session_number else self._state.session(number).session

    def _owner_names(self, tally: Tally) -> tuple[dict[int, str], dict[int, str]]:
        """Names for the owners met now and in the runs whose listings are still in use."""
        packed = self._state.fact(_OWNERS)
        users, groups = msgspec.msgpack.decode(packed, type=tuple[dict[int, str], dict[int, str]]) if packed else ({}, {})
        found = users | user_names(tally.users), groups | group_names(tally.groups)
        if found != (users, groups):
            self._state.remember(_OWNERS, msgspec.msgpack.encode(found))
        return found


def _check_enrolled(repository: HostRepository, state: State) -> HostRegistry:
    """Whose segments may be believed; and a host that the owner has revoked learns of it here."""
    key = repository.key
    if repository.header.trust_hosts:
        registry = load_registry(repository.store, repository.repository, key.public, state=state)
    else:
        registry = load_registry(repository.store, repository.repository, key.public, state=state, only=repository.host)
    damaged = [problem for problem in registry.problems if problem.object_name.startswith(f"hosts/{repository.host.hex()}/")]
    if damaged:
        raise damaged[0]
    own = registry.hosts.get(repository.host)
    if own is None:
        raise SeedcornError(f"host {repository.host_name} is not enrolled in {repository.store.url}: its record is missing from the store")
    if own.revoked:
        raise SeedcornError(f"host {repository.host_name} has been revoked in {repository.store.url}: ask the owner for a new host file")
    return registry


def _scan_paths(scanner: TreeScanner, writer: Writer, paths: Sequence[bytes]) -> Node:
    """The root node: the given paths under directories that lead to them."""
    if paths == [b"/"]:
        descriptor = os.open(b"/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return scanner.scan(descriptor, b"", b"/") or _directory(b"", b"", 0, 0)
        finally:
            os.close(descriptor)
    return _scan_below(scanner, writer, b"", b"", paths)


def _scan_below(scanner: TreeScanner, writer: Writer, parent: bytes, name: bytes, paths: Sequence[bytes]) -> Node:
    """A directory that was not itself asked for: it lists only what leads to ``paths``.

    It has the mode and owner of the real one, but the time of its newest listed entry: what else happens in it is no change of this backup.
    """
    by_name: dict[bytes, list[bytes]] = defaultdict(list)
    for path in paths:
        by_name[path[len(parent) + 1 :].split(b"/", 1)[0]].append(path)
    nodes: list[Node] = []
    try:
        descriptor = os.open(parent or b"/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        for path in paths:
            scanner.fail(path, error)
        return _directory(name, b"", 0, 0)
    try:
        st = os.fstat(descriptor)
        for child, below in sorted(by_name.items()):
            path = parent + b"/" + child
            node = scanner.scan(descriptor, child, path) if below == [path] else _scan_below(scanner, writer, path, child, below)
            if node is not None and (below == [path] or node.content):
                nodes.append(node)
    finally:
        os.close(descriptor)
    if not nodes:
        return _directory(name, b"", 0, 0)
    frames: set[int] = set()
    content, depth = writer.store_listing(nodes, frames)
    scanner.frames.update(frames)
    newest_ns = max(node.mtime_ns for node in nodes)
    extra = Extra(depth=depth) if depth else None
    return Node(name, Kind.DIRECTORY, st.st_mode & 0o7777, st.st_uid, st.st_gid, newest_ns, 0, 0, 0, len(nodes), content, extra)


def _directory(name: bytes, content: bytes, depth: int, entries: int) -> Node:
    return Node(name, Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 0, 0, entries, content, Extra(depth=depth) if depth else None)


def _without_nested(paths: Sequence[bytes]) -> list[bytes]:
    """Sorted, without repeats and without what lies below another path of the list."""
    kept: list[bytes] = []
    for path in sorted(set(paths), key=lambda path: path.split(b"/")):
        if not any(path == other or path.startswith(other.rstrip(b"/") + b"/") for other in kept[-1:]):
            kept.append(path)
    return kept


def _newest(*heads: Head | None) -> Head | None:
    return max((head for head in heads if head is not None), key=lambda head: head.seq, default=None)


def _counting(read_into: ReadInto, monitor: Monitor) -> ReadInto:
    def read(view: memoryview) -> int:
        count = read_into(view)
        monitor.count(Counter.SOURCE_BYTES, count)
        monitor.count(Counter.READ_BYTES, count)
        return count

    return read


def _statistics(tally: Tally, writer: Writer, put_bytes: int) -> Statistics:
    return Statistics(
        source_files=tally.source_files,
        source_file_size=tally.source_file_size,
        new_files=tally.new_files,
        new_file_size=tally.new_file_size,
        deleted_files=tally.deleted_files,
        changed_files=tally.changed_files,
        changed_file_size=tally.changed_file_size,
        changed_delta_size=tally.changed_delta_size,
        delta_entries=tally.new_files + tally.changed_files + tally.deleted_files,
        raw_delta_size=writer.new_data_bytes,
        total_destination_size_change=put_bytes,
        errors=len(tally.errors),
        read_bytes=tally.read_bytes,
        deduplicated_bytes=tally.deduplicated_bytes,
        listing_bytes=writer.new_listing_bytes,
        data_packs=writer.packs[PackKind.DATA],
        listing_packs=writer.packs[PackKind.LISTING],
    )
