"""No chunk passes for another."""

from __future__ import annotations

import pytest
from tests.unit.repo.sealed import KEYS, records

from seedcorn.crypto.primitives import keyed_hash
from seedcorn.errors import IntegrityError
from seedcorn.format.tree import pack_content
from seedcorn.ids import CHUNK_ID_BYTES
from seedcorn.repo.frames import verify_chunks


def test_chunks_lie_end_to_end() -> None:
    raw = memoryview(b"--one3two!!")
    assert verify_chunks(KEYS.id_key, raw, 2, records(b"one", b"3", b"two")) == 9
    assert verify_chunks(KEYS.id_key, raw, 9, records(b"!!")) == 11
    assert verify_chunks(KEYS.id_key, raw, 4, b"") == 4


def test_a_chunk_that_is_another_one() -> None:
    raw = memoryview(b"onetwo")
    other_key = pack_content([(keyed_hash(b"o" * 32, b"one", CHUNK_ID_BYTES), 3)])
    too_long = pack_content([(keyed_hash(KEYS.id_key, b"two", CHUNK_ID_BYTES), 4)])  # what is left of the frame would fit
    for begin, wanted in ((0, records(b"one", b"2wo")), (1, records(b"one")), (0, records(b"two")), (0, other_key), (3, too_long)):
        with pytest.raises(IntegrityError, match="does not have the content its id stands for"):
            verify_chunks(KEYS.id_key, raw, begin, wanted)
