"""What a scan may believe to be as it was without reading it: an entry by its lstat, a directory by a fingerprint of all that is in it.

Owns the comparisons; must never know where the memory of the last run comes from. Invariant (git's rule of the racily clean): nothing is believed
that had changed so shortly before the scan that saw it that one more change could have left its time stamps as they were.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import msgspec

from seedcorn.crypto.primitives import object_hash
from seedcorn.format.tree import Kind, Node, with_content
from seedcorn.fs.walk import Listed

__all__ = ["Children", "fingerprint_of", "is_same_directory", "may_take_over", "racy_from_ns"]

_CLOCK_GRANULARITY_NS = 2 * 10**9  # the coarsest time stamps of file systems in use (FAT, some network file systems)


def racy_from_ns(scan_start_ns: int) -> int:
    """From when on a change that a scan saw may have had another one behind it that shows in no time stamp."""
    return scan_start_ns - _CLOCK_GRANULARITY_NS


def may_take_over(old: Node, st: os.stat_result) -> bool:
    """The rest of the comparison (``TreeScanner`` has the part that every entry passes), for nodes with extras: a device number matters only where
    it tells hard links apart."""
    extra = old.extra
    assert extra is not None
    return not extra.changed and extra.link_count == st.st_nlink and (st.st_nlink == 1 or old.device_id == st.st_dev)


def is_same_directory(old: Node, node: Node) -> bool:
    """Whether a directory, its listing too, is as it was; its device number may be another after each boot."""
    return msgspec.structs.replace(node, device_id=old.device_id) == old


def fingerprint_of(entries: Sequence[Listed]) -> bytes:
    """Of everything by which a changed entry is known (and a little more: the device): equal for equal lstats, in 16 bytes.

    ``st[:7]`` is mode, inode, device, links, uid, gid and size.
    """
    try:
        seen = msgspec.msgpack.encode([(name, st[:7], st.st_mtime_ns, st.st_ctime_ns) for name, st in entries])
    except OverflowError:  # a file may claim to be of the year 3000
        seen = msgspec.msgpack.encode([(name, st[:7], str(st.st_mtime_ns), str(st.st_ctime_ns)) for name, st in entries])
    return object_hash(seen)[:16]


class Children:
    """The listings of a directory's subdirectories, as they stand in its own.

    A subdirectory can be remembered without its parent: by a run that was killed, that was given only the subdirectory, or that goes on at the same
    time; and an edit in place shows in no time stamp of the parent. So that the parent is unchanged is not believed before these are compared.
    """

    __slots__ = ("_listings",)

    def __init__(self) -> None:
        self._listings: dict[bytes, tuple[bytes, int, int]] = {}

    @staticmethod
    def of(nodes: Iterable[Node]) -> Children:
        """The subdirectories among these nodes."""
        children = Children()
        for node in nodes:
            if node.kind == Kind.DIRECTORY:
                children.add(node.name, node.content, node.extra.depth if node.extra is not None else 0, node.size)
        return children

    def add(self, name: bytes, content: bytes, depth: int, entries: int) -> None:
        """One more, in the order of names."""
        self._listings[name] = content, depth, entries

    def node(self, old: Node) -> Node:
        """The node of one, which besides its listing is as it was."""
        return with_content(old, *self._listings[old.name])

    def fingerprint(self) -> bytes:
        """Equal for equal listings under equal names; 16 bytes, or none if there are no subdirectories, as in most directories."""
        return object_hash(msgspec.msgpack.encode(self._listings))[:16] if self._listings else b""
