"""repo/rewriting/repacking.py: frames are moved as they are, and every new pack says where they lie now."""

from __future__ import annotations

import pytest

from seedcorn import compression
from seedcorn.crypto.frames import Sealer
from seedcorn.crypto.primitives import object_hash
from seedcorn.format.codec import decode
from seedcorn.format.pack import TRAILER_BYTES, FrameEntry, KeyRow, PackHead, PackKind, parse_pack_head, parse_trailer
from seedcorn.ids import HostId, PackId
from seedcorn.repo.bindings import footer_binding
from seedcorn.repo.maintenance import MaintainRepository, maintained_by_owner
from seedcorn.repo.packs import listed_bytes
from seedcorn.repo.rewriting import repacking
from seedcorn.repo.rewriting.repacking import LiveFrames, NewPack, repack
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository

HOST, OTHER = HostId(b"\xaa" * 16), HostId(b"\xbb" * 16)
SESSIONS = {letter: letter * 16 for letter in (b"s", b"t")}


def row(session: bytes = b"s", key: bytes = b"key") -> KeyRow:
    return KeyRow(SESSIONS[session], HOST, 1, key)


ONE_ROW = (row(),)


class Stage:
    """Packs of made-up frames, of ``size`` bytes each, which nobody here can open."""

    def __init__(self, repository: SmallRepository, store: MemoryStore) -> None:
        self.store = store
        self.repository: MaintainRepository = maintained_by_owner(repository.owner(store))
        self.data: dict[tuple[HostId, PackId], bytes] = {}

    def live(
        self, letter: bytes, offsets: list[int], host: HostId = HOST, kind: PackKind = PackKind.DATA, rows: tuple[KeyRow, ...] = ONE_ROW
    ) -> LiveFrames:
        """Frames of 10 bytes at these offsets of a pack of 200."""
        pack = PackId(letter * 32)
        data = b"".join(letter + b"%03d" % at for at in range(50))
        self.data[host, pack] = data
        frames = tuple(FrameEntry(rows[0].session, ord(letter) + at, at, 10, 30, b"r" * 28) for at in offsets)
        return LiveFrames(host, pack, kind, 0, frames, tuple(data[at : at + 10] for at in offsets), rows)

    def repack(self, *live: LiveFrames) -> list[NewPack]:
        return list(repack(self.repository, iter(live)))

    def check(self, new: NewPack, *sources: LiveFrames, rows: tuple[KeyRow, ...] = ONE_ROW) -> None:
        """A new pack holds exactly the frames of its sources, in their order, byte for byte, and its head and footer say so."""
        wanted = [(source, frame) for source in sources for frame in source.frames]
        at = parse_pack_head(new.data)[1]
        for moved, (source, frame) in zip(new.entry.frames, wanted, strict=True):
            assert moved == FrameEntry(frame.session, frame.seq, at, 10, 30, frame.records)
            assert new.data[at : at + 10] == self.data[source.host, source.pack][frame.offset : frame.offset + 10]
            at += 10
        count, footer_bytes = parse_trailer(new.data)
        assert (count, at) == (len(wanted), len(new.data) - TRAILER_BYTES - footer_bytes)
        head = PackHead(sources[0].kind, self.repository.repository, sources[0].host, bytes(16), 0, rows)
        assert parse_pack_head(new.data)[0] == head
        footer = Sealer(self.repository.index_key(0), "footer").open(new.data[at:-TRAILER_BYTES], footer_binding(head, count))
        assert decode(compression.decompress_bounded(footer, limit_bytes=1 << 20), list[FrameEntry]) == list(new.entry.frames)
        assert (new.host, new.domain, new.rows, new.sources) == (sources[0].host, 0, rows, tuple(source.pack for source in sources))
        assert (new.entry.kind, new.entry.pack) == (sources[0].kind, object_hash(new.data))
        assert new.key == f"packs/{new.host.hex()}/{object_hash(new.data).hex()}"


@pytest.fixture
def stage(repository: SmallRepository, store: MemoryStore) -> Stage:
    return Stage(repository, store)


def test_frames_of_several_packs_in_one(stage: Stage) -> None:
    one, two = stage.live(b"p", [10, 20, 30, 100, 190]), stage.live(b"q", [0])
    (new,) = stage.repack(one, two)
    stage.check(new, one, two)


def test_hosts_and_kinds_are_kept_apart(stage: Stage) -> None:
    sources = [stage.live(b"p", [0]), stage.live(b"q", [0], host=OTHER), stage.live(b"r", [0], kind=PackKind.LISTING), stage.live(b"s", [50])]
    first, second, third = stage.repack(*sources)
    stage.check(first, sources[0], sources[3])
    stage.check(second, sources[1])
    stage.check(third, sources[2])


def test_a_full_pack_is_followed_by_another(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repacking, "PACK_TARGET_BYTES", 40)
    sources = [stage.live(letter, [0, 30]) for letter in (b"p", b"q", b"r")]
    first, second = stage.repack(*sources)
    stage.check(first, *sources[:2])  # filled to the byte
    stage.check(second, sources[2])
    large = stage.live(b"x", [0, 20, 40, 60, 80])
    (alone,) = stage.repack(large)
    stage.check(alone, large)


def test_a_pack_of_which_much_is_listed_is_followed_by_another(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [stage.live(letter, [0, 30]) for letter in (b"p", b"q", b"r")]
    monkeypatch.setattr(repacking, "LISTED_TARGET_BYTES", sum(listed_bytes(source.frames, source.rows) for source in sources[:2]))
    first, second = stage.repack(*sources)
    stage.check(first, *sources[:2])  # to the byte
    stage.check(second, sources[2])


def test_one_session_under_two_keys_never_shares_a_pack(stage: Stage) -> None:
    both, other = (row(), row(b"t")), (row(key=b"another"), row(b"t"))
    sources = [stage.live(b"p", [0]), stage.live(b"q", [0], rows=both), stage.live(b"r", [0], rows=other)]
    first, second = stage.repack(*sources)
    stage.check(first, *sources[:2], rows=both)
    stage.check(second, sources[2], rows=other)


def test_nothing(stage: Stage) -> None:
    assert stage.repack() == []
