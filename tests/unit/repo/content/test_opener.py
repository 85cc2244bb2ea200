"""What opens a frame, and what does not."""

from __future__ import annotations

import pytest
from tests.unit.repo.sealed import KEYS, REPOSITORY, sealed

from seedcorn.crypto.frames import SEAL_OVERHEAD
from seedcorn.errors import IntegrityError
from seedcorn.format.pack import PackKind
from seedcorn.ids import RepositoryId, SessionId
from seedcorn.repo.content.opener import FrameOpener, SessionKeys

NUMBER = 5
TEXT = b"the same line again\n" * 50


@pytest.fixture
def opener() -> FrameOpener:
    made = FrameOpener(REPOSITORY)
    made.admit(NUMBER, KEYS)
    return made


@pytest.mark.parametrize("level", [None, 3])
@pytest.mark.parametrize("kind", PackKind)
def test_a_frame_opens_in_its_place(opener: FrameOpener, level: int | None, kind: PackKind) -> None:
    raw, id_key = opener.open(NUMBER << 32 | 7, kind, sealed(TEXT, 7, kind=kind, level=level), len(TEXT))
    assert (bytes(raw), id_key) == (TEXT, KEYS.id_key)


def test_a_frame_opens_in_no_other_place(opener: FrameOpener) -> None:
    frame = sealed(TEXT, 7)
    opener.admit(6, SessionKeys(SessionId(b"t" * 16), KEYS.frame_key, KEYS.id_key))
    places = [(NUMBER << 32 | 8, PackKind.DATA), (NUMBER << 32 | 7, PackKind.LISTING), (6 << 32 | 7, PackKind.DATA), (8 << 32 | 7, PackKind.DATA)]
    for ordinal, kind in places:
        with pytest.raises(IntegrityError):
            opener.open(ordinal, kind, frame, len(TEXT))
    elsewhere = FrameOpener(RepositoryId(b"q" * 16))
    elsewhere.admit(NUMBER, KEYS)
    with pytest.raises(IntegrityError):
        elsewhere.open(NUMBER << 32 | 7, PackKind.DATA, frame, len(TEXT))
    for raw_bytes in (len(TEXT) - 1, len(TEXT) + 1):
        with pytest.raises(IntegrityError):
            opener.open(NUMBER << 32 | 7, PackKind.DATA, frame, raw_bytes)
    for length in (0, SEAL_OVERHEAD - 1, SEAL_OVERHEAD, len(frame) - 1):
        with pytest.raises(IntegrityError):
            opener.open(NUMBER << 32 | 7, PackKind.DATA, frame[:length], len(TEXT))


def test_what_was_opened_outlives_what_is_opened_next(opener: FrameOpener) -> None:
    """A stored frame is a view of the memory it was opened in, and larger and smaller ones follow each other."""
    contents = [bytes([number]) * size for number, size in enumerate((100, 5_000, 3, 5_000, 100))]
    opened = [opener.open(NUMBER << 32 | seq, PackKind.DATA, sealed(raw, seq), len(raw))[0] for seq, raw in enumerate(contents)]
    assert [bytes(raw) for raw in opened] == contents


def test_memory_is_kept_for_the_next_frame(opener: FrameOpener) -> None:
    for seq, size in enumerate((1_000, 1_000, 900)):
        opener.open(NUMBER << 32 | seq, PackKind.DATA, sealed(bytes(size), seq, level=3), size)
        kept = opener._plain
        opener.open(NUMBER << 32 | seq, PackKind.DATA, sealed(bytes(size), seq, level=3), size)
        assert opener._plain is kept


def test_keys_do_not_show() -> None:
    assert repr(KEYS) == f"SessionKeys({KEYS.session.hex()})"
