"""A read-only view of snapshots: choosing one, walking its tree. Shared by ``ls``, ``restore``, ``check`` and the library."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from seedcorn.errors import IntegrityError, UsageError, printable
from seedcorn.events import Monitor
from seedcorn.format.tree import Kind, Node
from seedcorn.ids import match_prefix
from seedcorn.ops.access import HostRegistry, registry
from seedcorn.repo.content.reader import Reader
from seedcorn.repo.index import sync_state
from seedcorn.repo.repository import OwnerRepository
from seedcorn.repo.roots.history import Snapshot, open_snapshots
from seedcorn.repo.roots.needed import IndexedFrames
from seedcorn.repo.roots.needs import assess_needs, with_standings
from seedcorn.repo.roots.roots import Roots, RootsReader, Standing
from seedcorn.repo.state.state import State

__all__ = ["Browser", "Entry", "Snapshot", "SnapshotFilter", "Standing", "damaged_listing", "open_browser", "split_reference"]

_LATEST = re.compile(r"latest(?:~([0-9]+))?")


@dataclass(frozen=True, slots=True)
class SnapshotFilter:
    """Which snapshots are meant: empty fields ask for nothing. ``host`` is what they call their machine, or the beginning of its id; ``paths`` must
    all be among a snapshot's."""

    host: str = ""
    tags: tuple[str, ...] = ()
    paths: tuple[bytes, ...] = ()

    def accepts(self, snapshot: Snapshot, hosts: HostRegistry) -> bool:
        """Whether it is one of them. ``hosts`` are those that the owner has enrolled, with their names."""
        owner = snapshot.owner
        return (not self.host or self._is_of(snapshot, hosts)) and set(self.tags) <= set(owner.tags) and set(self.paths) <= set(owner.paths)

    def _is_of(self, snapshot: Snapshot, hosts: HostRegistry) -> bool:
        """A machine may call itself what it likes, but for the name that the owner has given to another one: or whoever may back up could choose what
        is restored there."""
        named = {host for host, enrolled in hosts.hosts.items() if enrolled.name == self.host}
        claims = snapshot.owner.host_name == self.host and (not named or snapshot.host in named)
        return claims or snapshot.host.hex().startswith(self.host)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A node and where it is: ``path`` is absolute, raw bytes."""

    path: bytes
    node: Node


class Browser:
    """An opened repository with its hosts, its snapshots (oldest first) and the problems that were found in its history and index.

    ``snapshots`` are those that can be relied on, and those that may yet be confirmed; ``all_snapshots`` also those that a collection may take.
    ``roots`` is what they were chosen from, with the objects that can not be read; ``collections`` what there was of them before all else was read.
    """

    def __init__(
        self,
        repository: OwnerRepository,
        state: State,
        hosts: HostRegistry,
        snapshots: Sequence[Snapshot],
        problems: Sequence[IntegrityError],
        roots: Roots,
    ) -> None:
        self.repository = repository
        self.state = state
        self.hosts = hosts
        self.all_snapshots = tuple(snapshots)
        self.snapshots = tuple(snapshot for snapshot in snapshots if snapshot.standing.is_root and snapshot.standing is not Standing.TORN)
        self.problems = tuple(problems)
        self.roots = roots
        self.collections = roots.collections
        self.reader = Reader(repository, state)

    def select(self, chosen: SnapshotFilter) -> list[Snapshot]:
        """The snapshots that ``chosen`` accepts, oldest first."""
        return [snapshot for snapshot in self.snapshots if chosen.accepts(snapshot, self.hosts)]

    def find(self, reference: str, chosen: SnapshotFilter = SnapshotFilter()) -> Snapshot:
        """The snapshot that ``reference`` means: ``latest``, ``latest~N`` or the beginning of an id.

        Raises:
            UsageError: there is none, or several.
        """
        candidates = self.select(chosen)
        match = _LATEST.fullmatch(reference)
        if match is None:
            found = match_prefix(reference, [snapshot.id for snapshot in candidates], noun="snapshot")
            return next(snapshot for snapshot in candidates if snapshot.id == found)
        back = int(match[1] or 0)
        if back >= len(candidates):
            raise UsageError(f"{reference}: there {_are(len(candidates))} to choose from")
        return candidates[-1 - back]

    def entry(self, snapshot: Snapshot, path: bytes) -> Entry:
        """What is at an absolute ``path`` in a snapshot; ``/`` is its root.

        Raises:
            UsageError: nothing is there.
            IntegrityError: a listing on the way is damaged.
        """
        node = snapshot.owner.root
        at = b""
        for name in [part for part in path.split(b"/") if part]:
            child = self._child(node, name)
            if child is None:
                raise UsageError(
                    f"{printable(path)} is not in snapshot {snapshot.id.hex()[:12]}: {printable(at or b'/')} has no entry {printable(name)}"
                )
            node, at = child, at + b"/" + name
        return Entry(at or b"/", node)

    def _child(self, node: Node, name: bytes) -> Node | None:
        if node.kind != Kind.DIRECTORY:
            return None
        return next((child for child in self.reader.list_directory(node) if child.name == name), None)

    def children(self, entry: Entry) -> Iterator[Entry]:
        """The entries of a directory, sorted by name.

        Raises:
            IntegrityError: its listing is damaged.
        """
        base = b"" if entry.path == b"/" else entry.path
        for child in self.reader.list_directory(entry.node):
            yield Entry(base + b"/" + child.name, child)

    def walk(self, entry: Entry, monitor: Monitor) -> Iterator[Entry]:
        """Everything below a directory, parents first, each directory's entries by name. A damaged listing goes to ``monitor`` and is passed over."""
        pending = [entry]
        while pending:
            at = pending.pop()
            directories: list[Entry] = []
            try:
                for child in self.children(at):
                    yield child
                    if child.node.kind == Kind.DIRECTORY:
                        directories.append(child)
            except IntegrityError as error:
                monitor.error(damaged_listing(at, error))
            pending += reversed(directories)


def damaged_listing(directory: Entry, error: IntegrityError) -> IntegrityError:
    """The failure as a person is told of it: by the directory, whose entries are not known now."""
    where = f" in {error.object_name}" if error.object_name else ""
    return IntegrityError(f"the listing of this directory is damaged{where}: {error.message}", object_name=printable(directory.path))


def open_browser(repository: OwnerRepository, state: State) -> Browser:
    """Read the snapshots first, then bring the index up to date (in this order, so that what a snapshot needs is there)."""
    hosts = registry(repository, state)
    roots = RootsReader(repository, state, checkpoints=False).read(hosts)
    problems = [*roots.problems, *roots.oddities]
    problems += sync_state(repository.store, state, repository.repository, repository.key.index_key, hosts, only=None)
    if roots.collections.sweeps or roots.receipts.void:
        roots = with_standings(roots, assess_needs(roots, IndexedFrames.of(state)))
    snapshots, unopened = open_snapshots(repository, roots)
    return Browser(repository, state, hosts, snapshots, problems + unopened, roots)


def split_reference(text: str) -> tuple[str, bytes]:
    """``SNAP`` or ``SNAP:/absolute/path`` as (reference, path)."""
    reference, colon, path = text.partition(":")
    if colon and not path.startswith("/"):
        raise UsageError(f"{text!r}: the path after the colon must be absolute, as in latest:/etc/hosts")
    return reference, path.encode("utf-8", "surrogateescape") or b"/"


def _are(count: int) -> str:
    return {0: "is no snapshot", 1: "is one snapshot"}.get(count, f"are {count} snapshots")
