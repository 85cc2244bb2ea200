"""A pack that several fill at once is the pack that a reader opens."""

from __future__ import annotations

import random
import threading

import pytest
from msgspec.structs import replace

from seedcorn import compression
from seedcorn.crypto.frames import SEAL_OVERHEAD, Sealer
from seedcorn.crypto.keys import OwnerKey, new_owner_seed, new_session_id, new_session_key
from seedcorn.errors import ForeignSessionError
from seedcorn.format.codec import SUITE
from seedcorn.format.pack import FrameEntry, KeyRow, PackHead, PackKind
from seedcorn.format.tree import pack_content
from seedcorn.ids import HostId, RepositoryId
from seedcorn.repo.bindings import frame_binding, session_binding
from seedcorn.repo.content.pack_builder import PackBuilder
from seedcorn.repo.packs import open_pack

REPOSITORY, HOST = RepositoryId(b"r" * 16), HostId(b"h" * 16)


class Session:
    """An owner, and a session of a host that fills packs for them."""

    def __init__(self) -> None:
        self.id = new_session_id(HOST)
        self.owner = OwnerKey.from_seed(new_owner_seed(), REPOSITORY)
        self.secrets = self.owner.domain(0)
        key = new_session_key()
        self.sealer = Sealer(key, "frame")
        sealed_key = self.owner.public.seal_read(session_binding(REPOSITORY, HOST, self.id), key)
        self.head = PackHead(PackKind.DATA, REPOSITORY, HOST, self.id, 0, (KeyRow(self.id, HOST, SUITE, sealed_key),))

    def builder(self) -> PackBuilder:
        return PackBuilder(memoryview(bytearray(1 << 20)), self.head)

    def fill(self, builder: PackBuilder, seq: int, offset: int, raw: bytes) -> None:
        """Seal one chunk as a frame into the room that has been reserved for it."""
        sealed = builder.buffer[offset : offset + len(raw) + compression.CODEC_BYTES + SEAL_OVERHEAD]
        self.sealer.seal_into(b"\0" + raw, frame_binding(PackKind.DATA, REPOSITORY, self.id, seq), sealed)
        records = pack_content([(self.secrets.chunk_id(raw), len(raw))])
        builder.add(FrameEntry(self.id, seq, offset, len(sealed), len(raw), records))


def reserve(builder: PackBuilder, raw: bytes) -> int:
    return builder.reserve(len(raw) + compression.CODEC_BYTES + SEAL_OVERHEAD, 28)


@pytest.fixture
def session() -> Session:
    return Session()


def test_what_threads_fill_in_any_order_opens_in_the_order_of_its_room(session: Session) -> None:
    builder = session.builder()
    raws = [bytes([n]) * (100 + 7 * n) for n in range(40)]
    offsets = [reserve(builder, raw) for raw in raws]
    lasts: list[bool] = []

    def work(seqs: list[int]) -> None:
        for seq in seqs:
            session.fill(builder, seq, offsets[seq], raws[seq])
            lasts.append(builder.leave())

    order = random.Random(1).sample(range(40), 40)
    threads = [threading.Thread(target=work, args=(order[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(lasts)
    assert builder.leave(), "whoever had it open was the last"
    data, frames = builder.finish(Sealer(session.secrets.index_key, "footer"))
    assert [frame.seq for frame in frames] == list(range(40))
    opened = open_pack(data, HOST, REPOSITORY, session.owner)
    assert opened.frames == frames
    assert [bytes(opened.open_frame(frame)) for frame in opened.frames] == raws


@pytest.mark.parametrize("place", ["session", "row"])
def test_a_pack_with_another_hosts_session_is_refused(place: str, session: Session) -> None:
    foreign = new_session_id(HostId(b"o" * 16))
    (row,) = session.head.key_rows
    change = {"session": foreign} if place == "session" else {"key_rows": (row, replace(row, session=foreign))}
    session.head = replace(session.head, **change)
    builder = session.builder()
    session.fill(builder, 0, reserve(builder, b"one"), b"one")
    data, _ = builder.finish(Sealer(session.secrets.index_key, "footer"))
    with pytest.raises(ForeignSessionError):
        open_pack(data, HOST, REPOSITORY, session.owner)


def test_the_footer_is_no_longer_than_was_reckoned_with(session: Session) -> None:
    builder = session.builder()
    for seq in range(500):
        session.fill(builder, seq, reserve(builder, b"%d" % seq), b"%d" % seq)
    data, _ = builder.finish(Sealer(session.secrets.index_key, "footer"))
    assert len(data) - builder.reserved_bytes <= builder.footer_bytes + 100
