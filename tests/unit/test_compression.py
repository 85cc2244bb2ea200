"""The codec: round trips, when it stores, and that no hostile frame gets a byte decompressed beyond what is due."""

from __future__ import annotations

import contextlib
import random
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedcorn import compression
from seedcorn.errors import IntegrityError, UsageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"".join(b"line %d of a text that compresses quite well\n" % number for number in range(4000))
NOISE = random.Random(1).randbytes(100_000)
MAGIC = b"\x28\xb5\x2f\xfd"
MIB = 1024 * 1024


def pack(data: bytes, level: int | None = 3) -> bytes:
    out = memoryview(bytearray(compression.bound_bytes(len(data))))
    return bytes(out[: compression.compress_into(memoryview(data), out, level)])


def unpack(plaintext: bytes, raw_bytes: int) -> bytes:
    return bytes(compression.decompress(memoryview(plaintext), raw_bytes))


def raw_block(data: bytes, *, last: bool = True) -> bytes:
    return ((len(data) << 3) | int(last)).to_bytes(3, "little") + data


def repeat_block(byte: int, times: int, *, last: bool = True) -> bytes:
    return ((times << 3) | 2 | int(last)).to_bytes(3, "little") + bytes([byte])


def hand_made(content_size: int | None, blocks: bytes, *, window: int | None = None) -> bytes:
    """A zstd frame written by hand: one segment, or with the given window descriptor byte."""
    descriptor = (0 if window is not None else 0x20) | (0xC0 if content_size is not None else 0)
    size = b"" if content_size is None else content_size.to_bytes(8, "little")
    return MAGIC + bytes([descriptor]) + (b"" if window is None else bytes([window])) + size + blocks


@given(st.binary(max_size=5000), st.sampled_from([None, 1, 3, 19]))
def test_round_trip(data: bytes, level: int | None) -> None:
    assert unpack(pack(data, level), len(data)) == data


@pytest.mark.parametrize("level", [1, 2, 3, 9, 19])
def test_text_is_compressed_at_every_level(level: int) -> None:
    packed = pack(TEXT, level)
    assert packed[0] == compression.ZSTD
    assert len(packed) < len(TEXT) / 4
    assert unpack(packed, len(TEXT)) == TEXT


def test_the_codec_byte_is_that_of_the_format() -> None:
    assert pack(TEXT)[0] == 1
    assert pack(NOISE)[0] == pack(TEXT, None)[0] == 0


@pytest.mark.parametrize(("data", "level"), [(TEXT, 3), (NOISE, 3), (TEXT, None)], ids=["compressed", "stored", "stored untried"])
def test_memory_that_was_used_before_shows_nowhere(data: bytes, level: int | None) -> None:
    out = bytearray(b"\xaa" * (compression.bound_bytes(len(data)) + 10))
    written = compression.compress_into(memoryview(data), memoryview(out), level)
    assert unpack(bytes(out[:written]), len(data)) == data
    assert out[written:] == b"\xaa" * (len(out) - written)


def test_a_compressor_is_as_good_as_new_after_each_frame() -> None:
    first = pack(TEXT)
    pack(NOISE)
    assert pack(TEXT) == first


@pytest.mark.parametrize("level", [0, -1, 20, 22])
def test_other_levels_are_refused(level: int) -> None:
    with pytest.raises(UsageError, match="1 to 19"):
        compression.compress(TEXT, level)


def test_level_19_stays_within_the_window_that_readers_accept() -> None:
    data = NOISE * 200  # 20 MB, longer than any window
    frame = compression.compress(data, 19)
    assert compression.decompress_zstd(frame, len(data)) == data


def test_what_saves_less_than_two_percent_is_stored() -> None:
    assert pack(NOISE) == b"\x00" + NOISE
    noise = random.Random(2).randbytes(1_000_000)
    assert len(compression.compress(noise + bytes(15_000))) < len(noise) + 1000, "zstd does save 1.5 percent here"
    assert pack(noise + bytes(15_000))[0] == compression.STORED
    assert pack(noise + bytes(30_000))[0] == compression.ZSTD
    assert pack(TEXT, None) == b"\x00" + TEXT


def test_a_stored_frame_is_not_copied() -> None:
    plaintext = memoryview(bytearray(b"\x00stored"))
    raw = compression.decompress(plaintext, 6)
    plaintext[1] = ord("S")
    assert bytes(raw) == b"Stored"


@pytest.mark.parametrize(
    ("plaintext", "raw_bytes"),
    [
        (b"", 0),
        (b"\x00abc", 4),
        (b"\x00abc", 2),
        (b"\x02abc", 3),
        (b"\xff", 0),
        (b"\x01", 0),
        (b"\x01abc", 3),
    ],
)
def test_codec_and_length_are_checked(plaintext: bytes, raw_bytes: int) -> None:
    with pytest.raises(IntegrityError):
        unpack(plaintext, raw_bytes)


FRAME = compression.compress(TEXT)


@pytest.mark.parametrize("raw_bytes", [0, len(TEXT) - 1, len(TEXT) + 1])
def test_a_size_other_than_expected_is_refused(raw_bytes: int) -> None:
    with pytest.raises(IntegrityError, match="another size"):
        compression.decompress_zstd(FRAME, raw_bytes)


def test_hand_made_frames_are_good_frames() -> None:
    assert compression.decompress_zstd(hand_made(3, raw_block(b"abc")), 3) == b"abc"
    assert compression.decompress_zstd(hand_made(3, raw_block(b"abc"), window=0), 3) == b"abc"
    assert compression.decompress_zstd(hand_made(1000, repeat_block(7, 1000)), 1000) == b"\x07" * 1000


@pytest.mark.parametrize("end", [0, 3, 4, 5, 8, 100, len(FRAME) - 1])
def test_a_truncated_frame_is_refused(end: int) -> None:
    with pytest.raises(IntegrityError):
        compression.decompress_zstd(FRAME[:end], len(TEXT))


def test_a_frame_without_its_end_is_refused_even_if_all_content_is_there() -> None:
    checked = zstd.compress(TEXT, options={zstd.CompressionParameter.checksum_flag: 1})
    assert compression.decompress_zstd(checked, len(TEXT)) == TEXT
    for endless, raw_bytes in ((checked[:-1], len(TEXT)), (checked[:-4], len(TEXT)), (hand_made(3, raw_block(b"abc", last=False)), 3)):
        with pytest.raises(IntegrityError, match="one whole"):
            compression.decompress_zstd(endless, raw_bytes)


@pytest.mark.parametrize("tail", [b"\x00", FRAME, b"\x50\x2a\x4d\x18\x00\x00\x00\x00", hand_made(0, raw_block(b""))])
def test_trailing_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(IntegrityError, match="one whole"):
        compression.decompress_zstd(FRAME + tail, len(TEXT))


def test_a_frame_without_content_size_is_refused() -> None:
    compressor = zstd.ZstdCompressor()
    frame = compressor.compress(TEXT[:1000]) + compressor.compress(TEXT[1000:]) + compressor.flush()
    assert zstd.decompress(frame) == TEXT
    with pytest.raises(IntegrityError, match="another size"):
        compression.decompress_zstd(frame, len(TEXT))
    with pytest.raises(IntegrityError, match="do not declare"):
        compression.decompress_bounded(frame, limit_bytes=MIB)


def test_a_skippable_frame_is_refused() -> None:
    with pytest.raises(IntegrityError, match="not zstd"):
        compression.decompress_zstd(b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + FRAME, len(TEXT))


def test_a_frame_with_a_dictionary_is_refused() -> None:
    dictionary = zstd.ZstdDict(TEXT[:5000], is_raw=True)
    trained = zstd.train_dict([TEXT[at : at + 500] for at in range(0, 100_000, 500)], 4000)
    with pytest.raises(IntegrityError, match="dictionary"):
        compression.decompress_zstd(zstd.compress(TEXT, zstd_dict=trained), len(TEXT))
    with pytest.raises(IntegrityError):
        compression.decompress_zstd(zstd.compress(TEXT[:5000], zstd_dict=dictionary), 5000)


@pytest.mark.parametrize("window", [(13 << 3) | 1, (14 << 3) | 0, (20 << 3) | 7])
def test_a_huge_window_is_refused(window: int) -> None:
    with pytest.raises(IntegrityError, match="memory"):
        compression.decompress_zstd(hand_made(3, raw_block(b"abc"), window=window), 3)


def test_a_window_that_the_library_does_not_know_is_refused() -> None:
    with pytest.raises(IntegrityError, match="header"):
        compression.decompress_zstd(hand_made(3, raw_block(b"abc"), window=0xFF), 3)


def test_a_window_of_8_mib_is_accepted() -> None:
    assert compression.decompress_zstd(hand_made(3, raw_block(b"abc"), window=13 << 3), 3) == b"abc"


def test_one_segment_longer_than_the_window_is_refused() -> None:
    blocks = b"".join(repeat_block(0, 128 * 1024, last=False) for _ in range(64))
    largest = hand_made(8 * MIB, blocks + raw_block(b""))
    assert len(compression.decompress_zstd(largest, 8 * MIB)) == 8 * MIB
    longer = hand_made(8 * MIB + 1, blocks + raw_block(b"!"))
    assert len(zstd.decompress(longer)) == 8 * MIB + 1
    with pytest.raises(IntegrityError, match="memory"):
        compression.decompress_zstd(longer, 8 * MIB + 1)


def bomb() -> bytes:
    """64 MiB of zeros in 2 KiB."""
    blocks = b"".join(repeat_block(0, 128 * 1024, last=number == 511) for number in range(512))
    return hand_made(64 * MIB, blocks, window=7 << 3)


def test_a_bomb_costs_no_memory(record_property: Callable[[str, object], None]) -> None:
    frame = bomb()
    lying = frame.replace((64 * MIB).to_bytes(8, "little"), (1000).to_bytes(8, "little"), 1)
    assert len(zstd.decompress(frame)) == 64 * MIB
    tracemalloc.start()
    for hostile in (frame, lying):
        with pytest.raises(IntegrityError):
            compression.decompress_zstd(hostile, 1000)
        with pytest.raises(IntegrityError):
            compression.decompress_bounded(hostile, limit_bytes=MIB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    record_property("peak_bytes", peak)
    record_property("bomb_bytes", 64 * MIB)
    assert peak < MIB


@pytest.mark.parametrize("declared", [0, 2, 4])
def test_a_frame_that_lies_about_its_size_is_refused(declared: int) -> None:
    with pytest.raises(IntegrityError):
        compression.decompress_zstd(hand_made(declared, raw_block(b"abc")), declared)


def test_bounded() -> None:
    assert compression.decompress_bounded(FRAME, limit_bytes=len(TEXT)) == TEXT
    with pytest.raises(IntegrityError, match="at most"):
        compression.decompress_bounded(FRAME, limit_bytes=len(TEXT) - 1)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_arbitrary_bytes_raise_nothing_else(data: bytes, raw_bytes: int) -> None:
    for hostile in (data, MAGIC + data):
        with contextlib.suppress(IntegrityError):
            assert len(compression.decompress_zstd(hostile, raw_bytes)) == raw_bytes


@given(st.integers(0, len(FRAME) - 1), st.integers(1, 255))
def test_a_changed_byte_raises_nothing_else(at: int, change: int) -> None:
    changed = bytearray(FRAME)
    changed[at] ^= change
    with contextlib.suppress(IntegrityError):
        assert len(compression.decompress_zstd(bytes(changed), len(TEXT))) == len(TEXT)


def test_heads() -> None:
    assert compression.is_compressible(memoryview(TEXT))
    assert not compression.is_compressible(memoryview(NOISE))
    assert compression.is_compressible(memoryview(b""))
    head = NOISE[: compression.HEAD_BYTES]
    assert not compression.is_compressible(memoryview(head + TEXT)), "only the head counts"
    for zeros_percent, compressible in ((3, False), (7, True)):
        zeros = len(head) * zeros_percent // 100
        assert compression.is_compressible(memoryview(head[:-zeros] + bytes(zeros))) is compressible
    assert compression.HEAD_BYTES == 32 * 1024


def test_threads_do_not_share_a_compressor() -> None:
    contents = [random.Random(number).randbytes(20_000) * 10 for number in range(16)]
    with ThreadPoolExecutor(4) as pool:
        assert [unpack(packed, 200_000) for packed in pool.map(pack, contents)] == contents
        assert pool.submit(compression._compressor, 3).result() is not compression._compressor(3)
    assert compression._compressor(3) is compression._compressor(3) is not compression._compressor(4)
