"""One pack while it is being filled: what stands where in its buffer, and who is still at work on it.

Room is reserved in order and filled in any order, by several threads. Knows neither threads nor the store, and does not decide when a pack is full.

docs/format.md, section "Pack".
"""

from __future__ import annotations

import threading

from seedcorn import compression
from seedcorn.crypto.frames import Sealer
from seedcorn.format.codec import encode
from seedcorn.format.pack import TRAILER_BYTES, FrameEntry, PackHead, PackKind, build_pack_head, build_trailer
from seedcorn.repo.bindings import footer_binding

__all__ = ["PackBuilder"]

_ENTRY_BYTES = 64  # of a frame's entry in the footer, besides its chunk records; rather too many


class PackBuilder:
    """``reserved_bytes`` and ``footer_bytes`` (an estimate) are for whoever reserves, one at a time; ``add`` and ``leave`` are for any thread."""

    __slots__ = ("_entries", "_head", "_lock", "_users", "buffer", "footer_bytes", "reserved_bytes")

    def __init__(self, buffer: memoryview, head: PackHead) -> None:
        """A pack that is open, and has one user: whoever will ``leave`` it so that it is finished."""
        self.buffer = buffer
        self._head = head
        first = build_pack_head(head)
        buffer[: len(first)] = first
        self.reserved_bytes = len(first)
        self.footer_bytes = 0
        self._entries: list[FrameEntry] = []
        self._users = 1
        self._lock = threading.Lock()

    @property
    def kind(self) -> PackKind:
        return self._head.kind

    def reserve(self, sealed_bytes: int, record_bytes: int) -> int:
        """Room for a frame; its offset. There is one user more, who is to ``add`` the frame's entry and to ``leave``."""
        offset = self.reserved_bytes
        self.reserved_bytes += sealed_bytes
        self.footer_bytes += record_bytes + _ENTRY_BYTES
        with self._lock:
            self._users += 1
        return offset

    def add(self, entry: FrameEntry) -> None:
        """The frame of this entry is in its place."""
        with self._lock:
            self._entries.append(entry)

    def leave(self) -> bool:
        """One of the users is done with it. Whether that was the last: it is to be finished then."""
        with self._lock:
            self._users -= 1
            return self._users == 0

    def finish(self, footer_sealer: Sealer) -> tuple[memoryview, tuple[FrameEntry, ...]]:
        """(the whole pack, its frames in order), once nobody is at work on it any more."""
        frames = tuple(sorted(self._entries, key=lambda entry: entry.offset))
        footer = footer_sealer.seal(compression.compress(encode(frames)), footer_binding(self._head, len(frames)))
        footer_end = self.reserved_bytes + len(footer)
        end = footer_end + TRAILER_BYTES
        self.buffer[self.reserved_bytes : footer_end] = footer
        self.buffer[footer_end:end] = build_trailer(len(frames), len(footer))
        return self.buffer[:end], frames
