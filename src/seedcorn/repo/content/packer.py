"""Frames into packs into the store, on threads: compress, seal, open again and compare, pack, put.

Two kinds of threads: as many sealing threads as processors, and a few upload threads. Frame and pack buffers come from pools of fixed size, which is
all the back-pressure there is: the caller waits for a frame buffer, a sealing thread for a pack buffer. A sealing thread that waits for a pack buffer
holds the lock on the open packs, but finishing a frame in an older pack needs only that pack's own lock, so the older packs always get to the store.

Without workers there are no threads at all: the caller seals each frame as it hands it over and puts each pack as it becomes full.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from seedcorn import compression
from seedcorn.chunking import LARGEST_CHUNK
from seedcorn.crypto import primitives
from seedcorn.crypto.frames import SEAL_OVERHEAD, Sealer
from seedcorn.errors import IntegrityError, SeedcornError
from seedcorn.events import Counter, Monitor
from seedcorn.format.names import pack_key
from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackHead, PackKind
from seedcorn.ids import PackId, SessionId
from seedcorn.repo.bindings import frame_binding
from seedcorn.repo.content.buffers import BufferPool, are_equal, new_buffer
from seedcorn.repo.content.pack_builder import PackBuilder
from seedcorn.repo.repository import HostRepository

__all__ = ["FRAME_TARGET_BYTES", "Frame", "Packer", "PackerOptions"]

FRAME_TARGET_BYTES = 1 << 20
FRAME_BUFFER_BYTES = FRAME_TARGET_BYTES + LARGEST_CHUNK  # a frame is closed by the chunk that takes it past its target
PACK_TARGET_BYTES = 32 << 20
FOOTER_TARGET_BYTES = 2 << 20  # a pack of tiny chunks is closed before: 75,000 of them, where 7,000 are usual
PACK_BUFFER_BYTES = PACK_TARGET_BYTES + FRAME_BUFFER_BYTES + (1 << 20)  # head, entries and trailer
_WAIT_SECONDS = 0.2  # how often the caller looks whether a thread has failed


@dataclass(frozen=True, slots=True)
class PackerOptions:
    """``workers`` sealing threads (0: the caller seals and puts, one thing at a time), ``connections`` puts at a time, zstd ``level``, and whether
    each sealed frame is opened again and compared."""

    workers: int = 2
    connections: int = 2
    level: int = 2  # docs/adr/0007
    verify_seal: bool = True


class Frame:
    """A frame being filled: ``filled`` bytes of ``view`` belong to it, ``records`` are its chunks."""

    __slots__ = ("filled", "kind", "ordinal", "records", "seq", "stored", "view")

    def __init__(self, view: memoryview, kind: PackKind, stored: bool, seq: int, ordinal: int) -> None:
        self.view = view
        self.kind = kind
        self.stored = stored
        self.seq = seq
        self.ordinal = ordinal
        self.filled = 0
        self.records: list[bytes] = []


def _new_plain() -> memoryview:
    """Room for one frame, compressed or opened again."""
    return new_buffer(compression.bound_bytes(FRAME_BUFFER_BYTES))


class Packer:
    """The threads and buffers of one session. ``submit``, ``put``, ``drain`` and ``close`` are called by one thread."""

    def __init__(
        self, repository: HostRepository, session: SessionId, session_key: bytes, row: KeyRow, options: PackerOptions, monitor: Monitor
    ) -> None:
        self._repository = repository
        self._session = session
        self._row = row
        self._options = options
        self._monitor = monitor
        self._sealer = Sealer(session_key, "frame")
        self._footer_sealer = Sealer(repository.key.secrets.index_key, "footer")
        self._failure: BaseException | None = None
        self._frame_buffers = BufferPool(options.workers + 4, FRAME_BUFFER_BYTES)  # some open, one waits for each thread
        # One pack is being filled while others are being put.
        self._pack_buffers = {kind: BufferPool(options.connections + 1, PACK_BUFFER_BYTES, release=True) for kind in PackKind}
        self._sealing: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._open_lock = threading.Lock()
        self._open: dict[PackKind, PackBuilder] = {}
        self._finished: list[PackEntry] = []
        self._puts: set[Future[None]] = set()
        self._puts_lock = threading.Lock()
        self._uploads = ThreadPoolExecutor(options.connections, thread_name_prefix="seedcorn-put") if options.workers else None
        self._plain = None if options.workers else _new_plain()
        self._threads = [threading.Thread(target=self._seal_frames, name=f"seedcorn-seal-{n}", daemon=True) for n in range(options.workers)]
        for thread in self._threads:
            thread.start()

    # -- the caller's side -------------------------------------------------------------------------------------------------------------------

    def new_frame(self, kind: PackKind, stored: bool, seq: int, ordinal: int) -> Frame:
        """A frame with an empty buffer; waits for one."""
        return Frame(self._frame_buffers.take(self._raise_failure), kind, stored, seq, ordinal)

    def release(self, frame: Frame) -> None:
        """Give back the buffer of a frame that is not wanted."""
        self._frame_buffers.give_back(frame.view)

    def submit(self, frame: Frame) -> None:
        """Seal and pack a frame; its buffer must not be touched any more."""
        self._raise_failure()
        if self._plain is None:
            self._sealing.put(frame)
        else:
            self._seal(frame, self._plain)
            self._frame_buffers.give_back(frame.view)

    @property
    def finished_packs(self) -> int:
        """Packs that are in the store and not yet taken."""
        return len(self._finished)

    def take_finished(self) -> list[PackEntry]:
        """The packs that have reached the store since the last call."""
        self._raise_failure()
        with self._puts_lock:
            taken, self._finished = self._finished, []
        return taken

    def put(self, key: str, data: bytes) -> None:
        """Put an object from an upload thread and wait for it (so that a Ctrl-C is heard at once)."""
        if self._uploads is None:
            self._put(key, data)
        else:
            self._uploads.submit(self._put, key, data).result()

    def drain(self) -> None:
        """Wait until every submitted frame is in the store; open packs are put as they are."""
        for _ in self._threads:
            self._sealing.put(None)
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_WAIT_SECONDS)
                self._raise_failure()
        for pack in self._open.values():
            self._leave(pack)
        self._open.clear()
        while self._puts:
            with self._puts_lock:
                some = next(iter(self._puts), None)
            if some is not None:
                some.exception()
        self._raise_failure()

    def close(self) -> None:
        """Stop. Frames that are not in the store are given up."""
        if self._failure is None:
            self._failure = SeedcornError("writing to the repository was stopped")
        for _ in self._threads:
            self._sealing.put(None)
        if self._uploads is not None:
            self._uploads.shutdown(wait=False, cancel_futures=True)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    # -- sealing threads ---------------------------------------------------------------------------------------------------------------------

    def _seal_frames(self) -> None:
        try:
            plain = _new_plain()
            while (frame := self._sealing.get()) is not None and self._failure is None:
                self._seal(frame, plain)
                self._frame_buffers.give_back(frame.view)
        except BaseException as error:  # noqa: BLE001  # the calling thread raises it again
            self._fail(error)

    def _seal(self, frame: Frame, plain: memoryview) -> None:
        raw = frame.view[: frame.filled]
        length = compression.compress_into(raw, plain, None if frame.stored else self._options.level)
        records = b"".join(frame.records)
        pack, offset = self._reserve(frame.kind, length + SEAL_OVERHEAD, len(records))
        sealed = pack.buffer[offset : offset + length + SEAL_OVERHEAD]
        binding = frame_binding(frame.kind, self._repository.repository, self._session, frame.seq)
        self._sealer.seal_into(plain[:length], binding, sealed)
        if self._options.verify_seal:
            self._verify(frame, raw, sealed, binding, plain)
        pack.add(FrameEntry(self._session, frame.seq, offset, len(sealed), len(raw), records))
        self._monitor.count(Counter.SEALED_BYTES, len(sealed))
        self._leave(pack)

    def _verify(self, frame: Frame, raw: memoryview, sealed: memoryview, binding: bytes, opened: memoryview) -> None:
        """Open what has just been sealed, into the buffer ``opened``, and compare."""
        length = self._sealer.open_into(sealed, binding, opened)
        if not are_equal(raw, compression.decompress(opened[:length], len(raw))):
            raise IntegrityError(f"frame {frame.seq} does not open to what was sealed: this machine's memory, processor or zstd is at fault")

    def _reserve(self, kind: PackKind, sealed_bytes: int, record_bytes: int) -> tuple[PackBuilder, int]:
        """Room for a sealed frame in the open pack of this kind; a full pack is closed first."""
        with self._open_lock:
            pack = self._open.get(kind)
            if pack is not None and _is_too_full(pack, sealed_bytes, record_bytes):
                del self._open[kind]
                self._leave(pack)
                pack = None
            if pack is None:
                pack = self._open[kind] = self._begin_pack(kind)
            return pack, pack.reserve(sealed_bytes, record_bytes)

    def _begin_pack(self, kind: PackKind) -> PackBuilder:
        buffer = self._pack_buffers[kind].take(self._raise_failure)
        repository = self._repository
        head = PackHead(kind, repository.repository, repository.host, self._session, repository.key.secrets.domain, (self._row,))
        return PackBuilder(buffer, head)

    def _leave(self, pack: PackBuilder) -> None:
        """One of those who keep the pack open is done with it; after the last one it is put."""
        if not pack.leave():
            return
        if self._uploads is None:
            self._finish_pack(pack)
        else:
            with self._puts_lock:
                future = self._uploads.submit(self._guarded, lambda: self._finish_pack(pack))
                self._puts.add(future)
            future.add_done_callback(self._put_done)

    # -- upload threads ----------------------------------------------------------------------------------------------------------------------

    def _put_done(self, future: Future[None]) -> None:
        with self._puts_lock:
            self._puts.discard(future)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            if self._failure is None:
                work()
        except BaseException as error:  # noqa: BLE001  # the calling thread raises it again
            self._fail(error)

    def _finish_pack(self, pack: PackBuilder) -> None:
        data, frames = pack.finish(self._footer_sealer)
        pack_id = PackId(primitives.object_hash(data))
        self._put(pack_key(self._repository.host, pack_id), data)
        entry = PackEntry(pack_id, pack.kind, frames)
        with self._puts_lock:
            self._finished.append(entry)
        self._pack_buffers[pack.kind].give_back(pack.buffer)

    def _put(self, key: str, data: bytes | memoryview) -> None:
        self._repository.store.put(key, data)
        self._monitor.count(Counter.STORED_BYTES, len(data))

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error


def _is_too_full(pack: PackBuilder, sealed_bytes: int, record_bytes: int) -> bool:
    """Whether one more frame would make the pack, or its footer, too long."""
    footer_bytes = pack.footer_bytes + record_bytes
    return pack.reserved_bytes + sealed_bytes + footer_bytes > PACK_TARGET_BYTES or footer_bytes > FOOTER_TARGET_BYTES
