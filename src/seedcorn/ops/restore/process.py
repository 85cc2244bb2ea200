"""A process that writes a restore's files: what ``ProcessCrew`` starts, and how the two talk.

Owns the process's whole life: told everything through a socket (keys too: nothing secret in arguments, environment or on a disk), sealed frames
through shared memory, the target by an open descriptor. Ends when the socket does, so it never outlives the run that started it.
"""

from __future__ import annotations

import gc
import mmap
import os
import socket
import struct
from typing import TypeVar

import msgspec

from seedcorn.fs.directories import DirectoryCache, DirectoryHandle, DirectoryRecord
from seedcorn.fs.files import FileWriter, Overwrite, TargetOptions
from seedcorn.ids import RepositoryId
from seedcorn.ops.restore.write import SpanTask, SpanWriter
from seedcorn.repo.content.opener import FrameOpener

__all__ = ["PROGRAM", "Channel", "Hello", "main"]

# Not multiprocessing: its children import the caller's main module, which a script without an ``if __name__ == "__main__"`` would not survive.
PROGRAM = "import sys; sys.path[:] = sys.argv[1].splitlines(); from seedcorn.ops.restore.process import main; main(*map(int, sys.argv[2:]))"

_LENGTH = struct.Struct("<I")
_Message = TypeVar("_Message")


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """The first message: what all spans have in common."""

    repository: RepositoryId
    as_root: bool
    overwrite: str
    root: DirectoryRecord
    slot_bytes: int


class Channel:
    """Whole messages over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader = connection.makefile("rb")

    def send(self, message: msgspec.Struct) -> None:
        """Raises:
        OSError: the other end is gone.
        """
        data = msgspec.msgpack.encode(message)
        self._socket.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self, kind: type[_Message]) -> _Message | None:
        """The next message, or None if the other end is gone."""
        try:
            head = self._reader.read(_LENGTH.size)
            if len(head) < _LENGTH.size:
                return None
            (length,) = _LENGTH.unpack(head)
            data = self._reader.read(length)
        except ConnectionError:
            return None
        return msgspec.msgpack.decode(data, type=kind) if len(data) == length else None

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


def main(socket_fd: int, memory_fd: int, root_fd: int) -> None:
    """Write spans until nobody asks for more."""
    gc.disable()  # nothing here makes cycles
    os.umask(0)  # files are created with the very mode that they are to have
    channel = Channel(socket.socket(fileno=socket_fd))
    memory = memoryview(mmap.mmap(memory_fd, 0, prot=mmap.PROT_READ))
    hello = channel.receive(Hello)
    if hello is None:
        return
    problems: list[tuple[bytes, str]] = []
    options = TargetOptions(
        as_root=hello.as_root,
        on_problem=lambda error: problems.append((error.path, error.message)),
        overwrite=Overwrite(hello.overwrite),
        no_umask=True,
    )
    cache = DirectoryCache(options.open_directories)
    root = cache.adopt_root(hello.root, root_fd)
    directories: dict[int, DirectoryHandle] = {root.serial: root}
    opener = FrameOpener(hello.repository)
    writer = SpanWriter(FileWriter(cache, options), opener, directories, problems)
    while (task := channel.receive(SpanTask)) is not None:
        for known in task.directories:
            directories[known.record.serial] = cache.know(directories[known.parent], known.record)
        for number, keys in task.sessions.items():
            opener.admit(number, keys)
        begin = task.slot * hello.slot_bytes
        try:
            channel.send(writer.write(task.frames, task.files, memory[begin : begin + hello.slot_bytes]))
        except ConnectionError:
            return
