"""The entries of a restore: directories are made as the walk comes to them, files are handed on to be written, and the rest waits for the end.

Owns rule R4's order for links and devices (docs/threat-model.md), and which directories are made at all: one that only leads to what is wanted is
made once something in it is. Must never know how files are written. Memory: a handle for each directory, a node for each link and device.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator

import msgspec

from seedcorn.errors import IntegrityError, TargetError
from seedcorn.format.tree import Kind, Node, check_lengths
from seedcorn.fs.directories import DirectoryHandle
from seedcorn.fs.files import LinkSource
from seedcorn.fs.target import Target
from seedcorn.ops.browse import Entry
from seedcorn.ops.restore.links import HardLinks, LinkedFile, linked_file
from seedcorn.ops.restore.outcome import Outcome
from seedcorn.ops.restore.plan import WantedFile
from seedcorn.repo.content.reader import Reader

__all__ = ["TreeRestorer"]


class _FoldedNames:
    """The names of one directory after the other, as a file system has them to which capital letters make no difference."""

    def __init__(self) -> None:
        self._directory: bytes | None = None
        self._names: set[str] = set()

    def add(self, path: bytes) -> bool:
        """Whether the name is a new one in its directory."""
        directory, name = os.path.split(path)
        if directory != self._directory:
            self._directory, self._names = directory, set()
        folded = unicodedata.normalize("NFC", os.fsdecode(name)).casefold()
        is_new = folded not in self._names
        self._names.add(folded)
        return is_new


class TreeRestorer:
    """Restores one tree, whose top is the target itself, but for the content of files."""

    def __init__(self, reader: Reader, target: Target, top: Entry, links: HardLinks, outcome: Outcome) -> None:
        self._reader = reader
        self._target = target
        self._outcome = outcome
        self._links = links
        self._later_links: list[tuple[DirectoryHandle, Entry]] = []
        self._specials: list[tuple[DirectoryHandle, Node]] = []
        self._directories = {top.path if top.node.kind == Kind.DIRECTORY else os.path.dirname(top.path): target.root}
        self._unwanted: dict[bytes, Entry] = {}  # directories that are made only once something in them is wanted
        self._names = _FoldedNames()

    def take(self, found: Iterator[tuple[Entry, bool]]) -> Iterator[WantedFile]:
        """Make the directories among ``found``, which are (entry, wanted itself); the files, in order, each under the first of its names."""
        for entry, wanted in found:
            node = entry.node
            is_taken = self._target.folds_case and not self._names.add(entry.path)
            if node.kind == Kind.DIRECTORY and not wanted:
                self._unwanted[entry.path] = entry
                continue
            try:
                parent = self._directory(os.path.dirname(entry.path))
                if parent is None:
                    continue  # could not be made, and that has been said
                if is_taken:
                    raise TargetError(
                        parent.path_of(node.name), "the target has another name in its place, since capital letters make no difference there"
                    )
                if node.kind == Kind.DIRECTORY:
                    self._make_directory(parent, entry)
                elif self._target.keeps(parent, node.name):
                    self._outcome.skip()
                elif node.kind != Kind.FILE:
                    self._specials.append((parent, node))
                else:
                    file = linked_file(node)
                    if file is None or self._links.is_first(file):
                        yield self._wanted_file(parent, entry, file)
                    else:
                        self._later_links.append((parent, entry))
            except (TargetError, IntegrityError) as error:
                self._outcome.fail(entry.path, error)

    def finish(self, write: Callable[[WantedFile], None]) -> None:
        """Make links and devices, when the files are there. ``write`` writes a file under a name that can not be a link."""
        for directory, entry in self._later_links:
            self._make_hard_link(directory, entry, write)
        for directory, node in self._specials:
            try:
                self._target.make_special(directory, node)
                self._outcome.done(1)
            except TargetError as error:
                self._outcome.error(error)

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
        self._outcome.done(1)

    def _wanted_file(self, parent: DirectoryHandle, entry: Entry, file: LinkedFile | None) -> WantedFile:
        """Raises:
        IntegrityError: the list of its content is damaged.
        """
        node = entry.node
        if node.extra is not None and node.extra.depth:
            content = self._reader.records(node)
            check_lengths(node, content)
            node = msgspec.structs.replace(node, content=content)
        return WantedFile(parent, node, entry.path, file)

    def _make_hard_link(self, directory: DirectoryHandle, entry: Entry, write: Callable[[WantedFile], None]) -> None:
        """One more name for a file that is there; or, if that can not be, its content once more."""
        node, file = entry.node, linked_file(entry.node)
        assert file is not None, "a file with one name waits for no other"
        source = self._links.source(file)
        try:
            if source is not None and self._is_linked(directory, node, source):
                self._outcome.done(1, [node.size])
            else:
                write(self._wanted_file(directory, entry, file))
        except IntegrityError as error:
            self._outcome.fail(entry.path, error)

    def _is_linked(self, directory: DirectoryHandle, node: Node, source: LinkSource) -> bool:
        try:
            self._target.make_hard_link(directory, node.name, source)
        except TargetError as error:  # another file system is mounted there, it has enough links, or knows none
            self._outcome.error(TargetError(error.path, f"is to be a file of its own, since it can not be linked: {error.message}"))
            return False
        return True
