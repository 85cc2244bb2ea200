"""Files with several names: which nodes of a snapshot are one file, and what hard links to it are made with.

docs/format.md, section "Node", ``links``. Invariant: no two names are linked whose nodes differ in content, whatever inode numbers say: a number that
became free while the backup ran may have been given to another file.
"""

from __future__ import annotations

from seedcorn.format.tree import Node
from seedcorn.fs.files import LinkSource

__all__ = ["HardLinks", "LinkedFile", "linked_file"]

LinkedFile = tuple[object, ...]  # equal for all names of one file


def linked_file(node: Node) -> LinkedFile | None:
    """What a file with several names is known by; None for one that has a single name."""
    extra = node.extra
    if extra is None or extra.link_count < 2:
        return None
    return node.device_id, node.inode, node.size, node.content, extra.depth, extra.holes


class HardLinks:
    """The files with several names that a restore has met. ``written`` may be called from any thread."""

    def __init__(self) -> None:
        self._sources: dict[LinkedFile, LinkSource | None] = {}

    def is_first(self, file: LinkedFile) -> bool:
        """Whether this name is the first, under which the file is to be written; the other ones become links to it."""
        if file in self._sources:
            return False
        self._sources[file] = None
        return True

    def written(self, file: LinkedFile, source: LinkSource) -> None:
        """The file is there."""
        self._sources[file] = source

    def source(self, file: LinkedFile) -> LinkSource | None:
        """What links to it are made with; None if it could not be restored."""
        return self._sources[file]
