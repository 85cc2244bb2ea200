"""Sealing: round trips into the caller's buffers, every tampering fails, and no key seals twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedcorn.crypto import primitives, slots
from seedcorn.crypto.frames import SALT_BYTES, SEAL_OVERHEAD, Sealer
from seedcorn.crypto.keys import new_owner_seed, new_session_key
from seedcorn.errors import IntegrityError

KEY = b"k" * 32
SEALER = Sealer(KEY, "frame")
AD = primitives.context("frame", 1, 1, bytes(16), bytes(16), 0)


@given(st.binary(max_size=3000), st.binary(max_size=100))
def test_round_trip(plaintext: bytes, associated_data: bytes) -> None:
    sealed = SEALER.seal(plaintext, associated_data)
    assert len(sealed) == len(plaintext) + SEAL_OVERHEAD
    assert SEALER.open(sealed, associated_data) == plaintext


def test_buffers_are_written_only_where_they_should_be() -> None:
    sealed = memoryview(bytearray(b"\xaa" * 200))
    assert SEALER.seal_into(memoryview(b"plaintext"), AD, sealed) == 9 + SEAL_OVERHEAD
    assert bytes(sealed[9 + SEAL_OVERHEAD :]) == b"\xaa" * (200 - 9 - SEAL_OVERHEAD)
    opened = memoryview(bytearray(b"\xbb" * 20))
    assert SEALER.open_into(sealed[: 9 + SEAL_OVERHEAD], AD, opened) == 9
    assert bytes(opened) == b"plaintext" + b"\xbb" * 11


@pytest.mark.parametrize("short", [0, SALT_BYTES, 9 + SEAL_OVERHEAD - 1])
def test_a_buffer_that_is_too_short_is_an_error(short: int) -> None:
    with pytest.raises(ValueError, match=r"assignment|buf"):
        SEALER.seal_into(b"plaintext", AD, memoryview(bytearray(short)))
    with pytest.raises(ValueError, match="buf"):
        SEALER.open_into(SEALER.seal(b"plaintext", AD), AD, memoryview(bytearray(8)))


def test_every_flipped_bit_is_noticed() -> None:
    sealed = SEALER.seal(b"plaintext", AD)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            SEALER.open(changed, AD)


def test_every_other_length_is_noticed() -> None:
    sealed = SEALER.seal(b"plaintext", AD)
    for changed in [sealed[:end] for end in range(len(sealed))] + [sealed + b"\0", sealed[1:]]:
        with pytest.raises(IntegrityError):
            SEALER.open(changed, AD)
        too_few = "too few to be whole" if len(changed) < SEAL_OVERHEAD else "authentication"
        with pytest.raises(IntegrityError, match=too_few):
            SEALER.open_into(changed, AD, memoryview(bytearray(1000)))


@pytest.mark.parametrize(
    ("other", "associated_data"),
    [
        (Sealer(bytes(32), "frame"), AD),
        (Sealer(KEY, "footer"), AD),
        (Sealer(KEY, "segment"), AD),
        (SEALER, b""),
        (SEALER, primitives.context("footer", 1, 1, bytes(16), bytes(16), 0)),
        (SEALER, primitives.context("frame", 1, 2, bytes(16), bytes(16), 0)),
        (SEALER, primitives.context("frame", 1, 1, bytes(16), b"s" + bytes(15), 0)),
        (SEALER, primitives.context("frame", 1, 1, bytes(16), bytes(16), 1)),
    ],
    ids=["key", "footer label", "segment label", "nothing", "label", "kind", "session", "seq"],
)
def test_another_place_does_not_open_it(other: Sealer, associated_data: bytes) -> None:
    sealed = SEALER.seal(b"plaintext", AD)
    with pytest.raises(IntegrityError):
        other.open(sealed, associated_data)


def test_message_key_is_what_the_format_says() -> None:
    sealed = SEALER.seal(b"plaintext", AD)
    out = bytearray(9)
    primitives.open_once(primitives.keyed_hash(KEY, b"frame" + sealed[:24]), sealed[24:], AD, out)
    assert out == b"plaintext"


def test_a_sealer_shows_no_key() -> None:
    assert "kkkk" not in repr(SEALER)


@pytest.fixture
def keys_used(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Every AES key that seals during the test. The nonce is always zero, so a repeated key is a repeated (key, nonce)."""
    used: list[bytes] = []
    original = primitives.seal_once

    def recording(key: bytes, plaintext: primitives.Buffer, associated_data: bytes, out: primitives.Buffer) -> int:
        used.append(key)
        return original(key, plaintext, associated_data, out)

    monkeypatch.setattr(primitives, "seal_once", recording)
    yield used
    assert used, "nothing was sealed: the collector is deaf"
    assert len(set(used)) == len(used), "a key sealed twice"


def test_no_key_seals_twice(keys_used: list[bytes]) -> None:
    sealers = [Sealer(key, label) for key in (new_session_key(), new_session_key()) for label in ("frame", "footer", "segment")]

    def seal_many(sealer: Sealer) -> None:
        out = memoryview(bytearray(100))
        for _ in range(2000):
            sealer.seal_into(b"the same plaintext", AD, out)

    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(seal_many, sealers):
            pass
    seed = new_owner_seed()
    for _ in range(20):
        slots.wrap_seed("the same passphrase", slots.KdfParameters.fresh(memory_kib=64, iterations=1, lanes=1), AD, seed)
    assert len(keys_used) == 6 * 2000 + 20


def test_one_sealer_serves_many_threads() -> None:
    plaintexts = [bytes([number]) * 50_000 for number in range(64)]

    def there_and_back(plaintext: bytes) -> bytes:
        return SEALER.open(SEALER.seal(plaintext, AD), AD)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(there_and_back, plaintexts)) == plaintexts
