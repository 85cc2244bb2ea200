"""Backing up: scan the paths, or read a stream, into a run, and begin anew if a collection has taken something from under it.

docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence

from seedcorn.errors import SeedcornError, UsageError, printable
from seedcorn.events import Clock, Counter, Monitor
from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.fs.selection import Selection
from seedcorn.fs.walk import open_directory, open_leading_directory
from seedcorn.ops.backup.entries import Tally
from seedcorn.ops.backup.run import ATTEMPTS, BackupOptions, BackupResult, BackupRun
from seedcorn.ops.backup.scan import ScanOptions, TreeScanner
from seedcorn.repo.content.writer import ReadInto, Writer
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.state.state import FrameSet, State
from seedcorn.store.api import Requests

__all__ = ["BackupOptions", "BackupResult", "Requests", "backup", "backup_stream"]


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
    scan = ScanOptions(excluded, options.exclude_caches, options.one_file_system, options.force)
    for _ in range(ATTEMPTS):
        with BackupRun(repository, state, wanted, options, clock, monitor) as run:
            scanner = TreeScanner(run.writer, state, scan, run.start_ns, monitor, run.heartbeat)
            root = _scan_paths(scanner, run.writer, wanted)
            if not root.content:
                raise SeedcornError(f"none of the given paths can be read: {', '.join(map(printable, wanted))}")
            scanner.finish()
            result = run.commit(root, scanner.frames, scanner.tally, source="files")
        if result is not None:
            return result
        monitor.note("a collection has removed data that this backup was about to reuse: what is missing is read and stored again")
    raise SeedcornError(
        f"{ATTEMPTS} times a collection has removed what this backup relied on: is `prune` running without pause? Run the backup again"
    )


def backup_stream(
    repository: HostRepository, state: State, read_into: ReadInto, file_name: bytes, options: BackupOptions, clock: Clock, monitor: Monitor
) -> BackupResult:
    """Back up what ``read_into`` gives, to its end, as one file ``file_name`` in the root."""
    if not file_name or b"/" in file_name or b"\0" in file_name or file_name in (b".", b".."):
        raise UsageError(f"{printable(file_name)!r} can not be the name of a file")
    with BackupRun(repository, state, (b"/" + file_name,), options, clock, monitor) as run:
        stored = run.writer.store_content(_counting(read_into, monitor, run.heartbeat), None)
        frames = set(stored.frames)
        extra = Extra(depth=stored.depth) if stored.depth else None
        now = clock.now_ns()
        node = Node(file_name, Kind.FILE, 0o600, os.getuid(), os.getgid(), now, now, 0, 0, stored.size, stored.content, extra)
        content, depth = run.writer.store_listing([node], frames)
        tally = Tally(source_files=1, source_file_size=stored.size, new_files=1, new_file_size=stored.size, read_bytes=stored.size)
        tally.deduplicated_bytes = stored.size - stored.new_bytes
        tally.users.add(node.uid)
        tally.groups.add(node.gid)
        result = run.commit(_directory(b"", content, depth, 1), FrameSet(frames), tally, source="stdin")
    if result is None:
        raise SeedcornError("a collection has removed data that this backup had reused, and a stream can not be read twice: run it again")
    return result


def _scan_paths(scanner: TreeScanner, writer: Writer, paths: Sequence[bytes]) -> Node:
    """The root node: the given paths under directories that lead to them."""
    if paths == [b"/"]:
        descriptor = open_directory(b"/")
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
        descriptor = open_leading_directory(parent or b"/")
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


def _counting(read_into: ReadInto, monitor: Monitor, heartbeat: Callable[[FrameSet], None]) -> ReadInto:
    nothing_else = FrameSet()

    def read(view: memoryview) -> int:
        count = read_into(view)
        heartbeat(nothing_else)
        monitor.count(Counter.SOURCE_BYTES, count)
        monitor.count(Counter.READ_BYTES, count)
        return count

    return read
