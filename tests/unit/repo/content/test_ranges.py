"""Which frames come in one request."""

from __future__ import annotations

from seedcorn.ids import HostId, PackId
from seedcorn.repo.content.ranges import COALESCE_GAP_BYTES, COALESCE_LIMIT_BYTES, coalesce, surroundings
from seedcorn.repo.state.state import FramePlace


def place(offset: int, sealed_bytes: int, pack: bytes = b"p") -> FramePlace:
    return FramePlace(HostId(b"h" * 16), PackId(pack * 32), offset, sealed_bytes, 1, 1)


def spans(*places: FramePlace) -> list[tuple[int, int, int]]:
    """(start, length, number of frames) of each range."""
    return [(found.start, found.length, len(found.frames)) for found in coalesce(dict(enumerate(places)))]


def test_neighbours_come_in_one_request() -> None:
    assert spans() == []
    assert spans(place(100, 50)) == [(100, 50, 1)]
    assert spans(place(150, 50), place(100, 50)) == [(100, 100, 2)]


def test_gaps_are_read_over_up_to_a_limit() -> None:
    near, far = 150 + COALESCE_GAP_BYTES, 151 + COALESCE_GAP_BYTES
    assert spans(place(100, 50), place(near, 50)) == [(100, near - 50, 2)]
    assert spans(place(100, 50), place(far, 50)) == [(100, 50, 1), (far, 50, 1)]


def test_a_request_stays_below_its_limit() -> None:
    size = 1 << 20
    found = spans(*(place(n * size, size) for n in range(30)))
    assert sum(count for _, _, count in found) == 30
    assert max(length for _, length, _ in found) <= COALESCE_LIMIT_BYTES
    assert len(found) == -(-30 * size // COALESCE_LIMIT_BYTES)


def test_packs_are_asked_one_by_one() -> None:
    assert spans(place(0, 10, b"p"), place(10, 10, b"q"), place(10, 10, b"p")) == [(0, 20, 2), (10, 10, 1)]


# -- around a frame ---------------------------------------------------------------------------------------------------------------


def around(ordinal: int, places: dict[int, FramePlace]) -> tuple[int, int, list[int]]:
    """(start, end, ordinals) of the range that a frame is fetched with."""
    found = surroundings(places, ordinal)
    return found.start, found.start + found.length, [other for other, _ in found.frames]


def test_a_frame_comes_with_those_around_it() -> None:
    size = 1 << 20
    small = {ordinal: place(100 + ordinal * size, size) for ordinal in range(6)}
    for ordinal in small:
        assert around(ordinal, small) == (100, 100 + 6 * size, list(range(6)))
    large = {ordinal: place(ordinal * size, size) for ordinal in range(30)}
    assert around(0, large)[2] == list(range(8))
    assert around(15, large)[2] == list(range(11, 19))
    assert around(29, large)[2] == list(range(22, 30))
    assert around(3, {3: place(0, 50 * size), 4: place(50 * size, 10)})[2] == [3]


def test_only_frames_of_the_same_pack_come_along() -> None:
    other_host = FramePlace(HostId(b"i" * 16), PackId(b"p" * 32), 20, 10, 1, 1)
    assert around(1, {0: place(0, 10, b"q"), 1: place(10, 10), 2: other_host, 3: place(30 + COALESCE_GAP_BYTES, 10)})[2] == [1]


def test_packs_of_two_hosts_are_two_although_their_names_are_one() -> None:
    """A thief lists the first pack of the next host in his own room."""
    places = {1: FramePlace(HostId(b"g" * 16), PackId(b"p" * 32), 50, 10, 1, 1), 2: place(0, 10), 3: place(10, 10)}
    assert [[ordinal for ordinal, _ in found.frames] for found in coalesce(places)] == [[1], [2, 3]]
