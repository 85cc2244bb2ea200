"""The codec inside a frame: compress or store, and a decompressor that believes nothing. Sole importer of zstd.

Owns the codec ids and the limits of what a compressed frame may demand. Must never know keys or chunks.

Invariant: nothing is decompressed before the size that the frame declares equals the size that the index gives, and its window is at most 8 MiB.

docs/format.md, section "Frame".
"""

from __future__ import annotations

import sys
import threading
from typing import Final

from seedcorn.errors import IntegrityError, UsageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = [
    "CODEC_BYTES",
    "DEFAULT_LEVEL",
    "HEAD_BYTES",
    "STORED",
    "ZSTD",
    "bound_bytes",
    "compress",
    "compress_into",
    "decompress",
    "decompress_bounded",
    "decompress_zstd",
    "is_compressible",
]

Buffer = bytes | bytearray | memoryview

STORED: Final = 0  # codec ids: the first byte of a frame's plaintext
ZSTD: Final = 1
CODEC_BYTES = 1
DEFAULT_LEVEL = 3
HEAD_BYTES = 32 * 1024  # how much of a content decides whether it counts as compressible

_LEVELS = range(1, 20)  # above 19, zstd's window outgrows _WINDOW_BYTES
_WINDOW_LOG = 23
_WINDOW_BYTES = 1 << _WINDOW_LOG
_DECOMPRESSION: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_WORTHWHILE = 0.98  # stored if zstd keeps more than this of the size: reading it back then costs nothing
_COMPRESSIBLE = 0.95


class _Compressors(threading.local):
    """This thread's compressors by level: setting one up costs as much as compressing 100 KiB, and one serves one thread at a time."""

    def __init__(self) -> None:
        self.by_level: dict[int, zstd.ZstdCompressor] = {}


_local = _Compressors()


def bound_bytes(raw_bytes: int) -> int:
    """The most that ``compress_into`` writes for ``raw_bytes``."""
    return raw_bytes + CODEC_BYTES


def compress_into(view: Buffer, out: memoryview, level: int | None) -> int:
    """Writes the codec byte and ``view`` in that codec to the start of ``out``; returns how many bytes that is, at most ``bound_bytes(len(view))``.

    ``level`` is one of zstd's from 1 to 19; ``None`` does not try.
    """
    if level is not None:
        packed = compress(view, level)
        end = CODEC_BYTES + len(packed)
        if len(packed) <= _WORTHWHILE * len(view):
            out[0] = ZSTD
            out[CODEC_BYTES:end] = packed
            return end
    end = CODEC_BYTES + len(view)
    out[0] = STORED
    out[CODEC_BYTES:end] = view
    return end


def decompress(plaintext: memoryview, raw_bytes: int) -> bytes | memoryview:
    """The chunks' bytes of an opened frame, ``raw_bytes`` long. A stored frame gives a view of ``plaintext``, not a copy.

    Raises:
        IntegrityError: unknown codec, other size than ``raw_bytes``, or a zstd frame that is refused or broken.
    """
    if not plaintext:
        raise IntegrityError("a frame without a codec byte")
    codec, payload = plaintext[0], plaintext[CODEC_BYTES:]
    if codec == ZSTD:
        return decompress_zstd(payload, raw_bytes)
    if codec != STORED:
        raise IntegrityError(f"its codec {codec} is not known to this version")
    if len(payload) != raw_bytes:
        raise IntegrityError(f"{len(payload)} bytes are stored where {raw_bytes} are expected")
    return payload


def compress(view: Buffer, level: int = DEFAULT_LEVEL) -> bytes:
    """One zstd frame that declares its content size."""
    return _compressor(level).compress(view, zstd.ZstdCompressor.FLUSH_FRAME)


def decompress_zstd(frame: Buffer, raw_bytes: int) -> bytes:
    """The content of exactly one zstd frame, when its length is known.

    Raises:
        IntegrityError: as ``decompress``.
    """
    if _declared_bytes(frame) != raw_bytes:
        raise IntegrityError(f"its compressed data declare another size than the {raw_bytes} bytes expected")
    return _decompress_declared(frame, raw_bytes)


def decompress_bounded(frame: Buffer, *, limit_bytes: int) -> bytes:
    """The content of exactly one zstd frame, when only a limit of its length is known (footers, segments).

    Raises:
        IntegrityError: as ``decompress``; a frame that declares no size or more than ``limit_bytes`` is refused.
    """
    declared = _declared_bytes(frame)
    if declared is None or declared > limit_bytes:
        raise IntegrityError(f"its compressed data do not declare a size of at most {limit_bytes} bytes")
    return _decompress_declared(frame, declared)


def is_compressible(head: memoryview) -> bool:
    """Whether the first ``HEAD_BYTES`` of a content promise anything to a compressor; more than that is not looked at."""
    head = head[:HEAD_BYTES]
    return len(compress(head, 1)) <= _COMPRESSIBLE * len(head) if head else True


def _compressor(level: int) -> zstd.ZstdCompressor:
    compressors = _local.by_level
    found = compressors.get(level)
    if found is None:
        if level not in _LEVELS:
            raise UsageError(f"the compression level {level} is not one of 1 to 19")
        found = compressors[level] = zstd.ZstdCompressor(level)
    return found


def _declared_bytes(frame: Buffer) -> int | None:
    """The content size that a frame's header states, if it does."""
    if bytes(frame[: len(_ZSTD_MAGIC)]) != _ZSTD_MAGIC:
        raise IntegrityError("its compressed data are not zstd")
    try:
        info = zstd.get_frame_info(frame)
    except zstd.ZstdError as error:
        raise IntegrityError("its compressed data have a damaged header") from error
    if info.dictionary_id:
        raise IntegrityError("its compressed data need a dictionary, and version 1 has none")
    return info.decompressed_size


def _window_bytes(frame: Buffer, content_bytes: int) -> int:
    """Window_Size of a whole zstd frame header (RFC 8878, section 3.1.1.1.2). The library itself checks it only when it streams."""
    single_segment = frame[4] & 0x20
    if single_segment:
        return content_bytes
    exponent, mantissa = frame[5] >> 3, frame[5] & 7
    base: int = 1 << (10 + exponent)
    return base + base // 8 * mantissa


def _decompress_declared(frame: Buffer, raw_bytes: int) -> bytes:
    """The content of a frame whose declared size is ``raw_bytes`` and has been agreed to."""
    if _window_bytes(frame, raw_bytes) > _WINDOW_BYTES:
        raise IntegrityError("its compressed data need more memory to decompress than is allowed")
    decompressor = zstd.ZstdDecompressor(options=_DECOMPRESSION)
    try:
        # room for one byte more than is due shows a frame that does not end where it said
        raw = decompressor.decompress(frame, raw_bytes + 1)
    except zstd.ZstdError as error:
        raise IntegrityError("its compressed data are damaged") from error
    if len(raw) != raw_bytes or not decompressor.eof or decompressor.unused_data:
        raise IntegrityError("its compressed data are not one whole zstd frame")
    return raw
