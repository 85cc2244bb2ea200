"""Directory listings: nodes and the chunks they are cut into. Bytes to frozen structs and back; never sees a key or a file.

docs/format.md, sections "Node", "Content" and "Listing". Invariant: whatever ``decode_nodes`` returns is sorted by name without repeats, every name
is one safe path component, and every length adds up.
"""

from __future__ import annotations

import enum
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

import msgspec

from seedcorn.errors import IntegrityError
from seedcorn.ids import CHUNK_ID_BYTES, ChunkId

__all__ = [
    "CONTENT_RECORD_BYTES",
    "LISTING_CHUNK_LIMIT_BYTES",
    "NAME_LIMIT_BYTES",
    "Extra",
    "Kind",
    "Node",
    "RunCutter",
    "check_lengths",
    "content_records",
    "decode_nodes",
    "decode_own_nodes",
    "encode_nodes",
    "pack_content",
    "with_content",
]

CONTENT_RECORD_BYTES = CHUNK_ID_BYTES + 4
LISTING_CHUNK_LIMIT_BYTES = 1 << 20  # a listing chunk is closed before it would pass this; one node alone may be larger
NAME_LIMIT_BYTES = 255 * 4  # Linux allows 255; other systems 255 UTF-16 units
_RUN_NODES_MIN = 4
_CUT_MASK = 0x03  # a name whose CRC-32 ends in two zero bits begins a new listing chunk, once the one before has its minimum: 7 nodes on average
_RECORD = struct.Struct(f"<{CHUNK_ID_BYTES}sI")


class Kind(enum.IntEnum):
    """What a node is. Sockets are not stored."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    CHAR_DEVICE = 5
    BLOCK_DEVICE = 6

    @staticmethod
    def of_mode(mode: int) -> Kind | None:
        """The kind for ``st_mode``; None for sockets and whatever else can not be stored."""
        return _KIND_OF_TYPE.get(stat.S_IFMT(mode))


_KIND_OF_TYPE = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHAR_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
}


class Extra(msgspec.Struct, frozen=True, omit_defaults=True, rename={"link_count": "links"}):
    """What only few nodes have: a MessagePack map, unknown keys are ignored."""

    target: bytes | None = None  # of a symlink
    device: int | None = None  # st_rdev of a device node
    link_count: int = 1  # st_nlink; files of one snapshot with more than one, equal (device_id, inode) and equal content are one file
    holes: tuple[tuple[int, int], ...] = ()  # (offset, length) of each hole, ascending; content covers the rest, end to end
    xattrs: tuple[tuple[bytes, bytes], ...] = ()  # (name, value), sorted by name; POSIX ACLs and capabilities are among them
    changed: bool = False  # the file was changed while it was being read, twice
    depth: int = 0  # levels of indirection between ``content`` and the records it stands for


class Node(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One entry of a directory. Times are nanoseconds since the epoch and may be negative."""

    name: bytes
    kind: int
    mode: int  # permission bits, set-id and sticky: st_mode & 0o7777
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    device_id: int  # st_dev
    inode: int  # st_ino
    size: int  # bytes of a file with its holes; number of entries of a directory; 0 otherwise
    content: bytes = b""  # content records: a file's chunks, or the chunks of a directory's listing
    extra: Extra | None = None


def with_content(node: Node, content: bytes, depth: int, size: int) -> Node:
    """The same entry with another content."""
    extra = msgspec.structs.replace(node.extra or Extra(), depth=depth)
    return msgspec.structs.replace(node, content=content, size=size, extra=extra if extra != Extra() else None)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Node])


def pack_content(chunks: Iterable[tuple[bytes, int]]) -> bytes:
    """Content records for (chunk id, length in bytes) pairs."""
    return b"".join([_RECORD.pack(chunk_id, length) for chunk_id, length in chunks])


def content_records(content: bytes) -> Iterator[tuple[ChunkId, int]]:
    """The (chunk id, length) pairs of a node's ``content``.

    Raises:
        IntegrityError: not a whole number of records.
    """
    if len(content) % CONTENT_RECORD_BYTES:
        raise IntegrityError(f"content of {len(content)} bytes is not a whole number of {CONTENT_RECORD_BYTES}-byte records")
    return _RECORD.iter_unpack(content)


def encode_nodes(nodes: Sequence[Node]) -> bytes:
    """One listing chunk."""
    return _ENCODER.encode(nodes)


class RunCutter:
    """Cuts the nodes of one directory, handed in sorted by name, into the runs that become its listing chunks.

    A run begins at a name whose CRC-32 ends in two zero bits if the run before has at least four nodes (so a changed node moves no cut, and one that
    comes or goes moves a few), and before a node that would take the run past ``LISTING_CHUNK_LIMIT_BYTES``. Only the open run is held: a directory
    may be larger than memory.
    """

    __slots__ = ("_run", "_run_bytes")

    def __init__(self) -> None:
        self._run: list[Node] = []
        self._run_bytes = 0

    def add(self, nodes: Iterable[Node]) -> Iterator[list[Node]]:
        """The runs that end before one of these nodes."""
        run, run_bytes = self._run, self._run_bytes
        for node in nodes:
            node_bytes = len(node.content) + len(node.name) + 64
            if node.extra is not None:
                node_bytes += _extra_bytes(node.extra)
            if run and ((crc32(node.name) & _CUT_MASK == 0 and len(run) >= _RUN_NODES_MIN) or run_bytes + node_bytes > LISTING_CHUNK_LIMIT_BYTES):
                yield run
                run, run_bytes = [], 0
            run.append(node)
            run_bytes += node_bytes
        self._run, self._run_bytes = run, run_bytes

    def finish(self) -> list[Node]:
        """The last run; empty only for an empty directory."""
        return self._run


def _extra_bytes(extra: Extra) -> int:
    return len(extra.target or b"") + 19 * len(extra.holes) + sum([len(name) + len(value) + 9 for name, value in extra.xattrs])


def decode_nodes(chunk: bytes | memoryview, *, after: bytes = b"") -> list[Node]:
    """The nodes of one listing chunk, checked. ``after`` is the last name of the chunk before it.

    Raises:
        IntegrityError: malformed, unsorted, or a node that no honest host writes.
    """
    try:
        nodes = _DECODER.decode(chunk)
    except (msgspec.DecodeError, RecursionError) as error:
        raise IntegrityError(f"malformed listing: {error}") from error
    last = after
    for node in nodes:
        name = node.name
        if name <= last:
            raise IntegrityError("listing is not sorted by name")
        last = name
        _check(node)
    return nodes


def decode_own_nodes(chunk: bytes) -> list[Node]:
    """The nodes of a listing chunk that this machine has encoded and kept itself: not checked again."""
    return _DECODER.decode(chunk)


def _check(node: Node) -> None:
    name = node.name
    if b"/" in name or b"\0" in name or name in (b".", b"..") or len(name) > NAME_LIMIT_BYTES:
        raise IntegrityError(f"{name[:64]!r} is not a file name")
    if not Kind.FILE <= node.kind <= Kind.BLOCK_DEVICE:
        raise IntegrityError(f"{name!r} is of unknown kind {node.kind}")
    if node.mode & ~0o7777 or node.size < 0 or node.uid < 0 or node.gid < 0:
        raise IntegrityError(f"{name!r} has an impossible mode, size or owner")
    if node.kind == Kind.FILE:
        check_lengths(node, None if node.extra and node.extra.depth else node.content)
    elif node.kind != Kind.DIRECTORY and node.content:
        raise IntegrityError(f"{name!r} has content but is not a file or directory")
    elif node.kind == Kind.SYMLINK and not (node.extra and node.extra.target):
        raise IntegrityError(f"symbolic link {name!r} has no target")


def check_lengths(node: Node, records: bytes | None) -> None:
    """Refuse a file whose chunks and holes do not make up its size. ``records`` are its content records with every indirection followed, or None as
    long as they are not known.

    Raises:
        IntegrityError: with the figures.
    """
    end = hole_bytes = 0
    for offset, length in node.extra.holes if node.extra else ():
        if offset < end or length <= 0:
            raise IntegrityError(f"{node.name!r} has holes that overlap or are empty")
        end = offset + length
        hole_bytes += length
    total = node.size if records is None else hole_bytes + sum(length for _, length in content_records(records))
    if end > node.size or total != node.size:
        raise IntegrityError(f"{node.name!r} is {node.size} bytes long, but its chunks and holes add up to {total}")
