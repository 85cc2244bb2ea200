"""What a scan holds of one directory while it is in the middle of it. Plain data: ``scan`` decides what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from seedcorn.format.tree import Node
from seedcorn.fs.read_ahead import Stretch
from seedcorn.fs.walk import Block, Listed
from seedcorn.ops.backup.recall import Recalled, Recorder, listing_key
from seedcorn.ops.backup.unchanged import Children
from seedcorn.repo.state.listings import CachedListing

__all__ = ["ScannedDirectory", "path_below"]


def path_below(path: bytes, name: bytes) -> bytes:
    """The path of an entry of the directory ``path``."""
    return path + name if path == b"/" else path + b"/" + name


class ScannedDirectory:
    """A directory in the middle of being scanned; or the stand-in for one, with a single entry, of a path that is not a directory.

    ``entries`` to ``old`` are those of the block at hand: an ordinary directory has one, a huge one has many.
    """

    __slots__ = (
        "ahead", "ahead_last", "at", "blocks", "bound", "changed", "changed_children", "children", "count", "entries", "fd", "fingerprint", "frames",
        "is_first", "key", "last", "name", "nodes", "old", "passed", "path", "recalled", "recorder", "reread", "size_bytes", "st", "steady",
        "taken_over", "unchanged",
    )  # fmt: skip

    def __init__(self, fd: int, path: bytes, name: bytes, st: os.stat_result, blocks: Iterator[Block]) -> None:
        self.fd = fd
        self.path = path
        self.name = name
        self.st = st
        self.key = listing_key(path)
        self.blocks = blocks
        self.entries: list[Listed] = []
        self.is_first = True
        self.last = False  # no block comes after this one
        self.passed = self.bound = b""  # no name of the blocks before, and of this one, comes after these
        self.at = 0
        self.ahead: Stretch | None = None  # what readers have been asked for
        self.ahead_last: bytes | None = None  # its last name: when the scan comes to it, more is asked for
        self.nodes: list[Node] = []
        self.taken_over: list[int] = []  # positions in ``nodes`` of what is as it was
        self.frames: list[tuple[Node, Collection[int]]] = []  # of files that were read
        self.old: dict[bytes, Node] = {}
        self.recalled: Recalled | None = None
        self.recorder: Recorder | None = None  # from the first block on in which something has changed
        self.changed = False
        self.reread = False  # a file was read again although nothing had changed, to be sure
        self.steady = True  # every entry got a node: nothing failed, vanished, or has to be said again
        self.fingerprint = b""
        self.unchanged = False  # by its fingerprint: only subdirectories are looked at
        self.children = Children()  # the subdirectories of such a directory that are unchanged too
        self.changed_children: dict[bytes, Node] = {}  # subdirectories whose node may be another, of such a directory
        self.count = 0  # of the nodes that it has
        self.size_bytes = 0  # of the files among them

    @property
    def last_listing(self) -> CachedListing:
        """What the last run knew, of a directory of which it is known that it knew something."""
        assert self.recalled is not None
        return self.recalled.listing
