"""What is encoded decodes to itself, for values that hypothesis makes up."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Envelope, Magic, decode, encode
from seedcorn.format.names import LAST_NUMBER, NumberedKey, host_key, parse_numbered_key, segment_key, snapshot_key
from seedcorn.format.pack import (
    FrameEntry,
    KeyRow,
    PackEntry,
    PackHead,
    PackKind,
    SegmentPublic,
    build_pack_head,
    build_trailer,
    check_frames,
    parse_pack_head,
    parse_trailer,
)
from seedcorn.format.snapshot import CopiedFrom, Head, NeededFrames, SnapshotMaintain, SnapshotOwner, SnapshotPublic, Statistics
from seedcorn.format.tree import (
    CONTENT_RECORD_BYTES,
    LISTING_CHUNK_LIMIT_BYTES,
    Extra,
    Kind,
    Node,
    RunCutter,
    content_records,
    decode_nodes,
    encode_nodes,
    pack_content,
)
from seedcorn.ids import HostId, SegmentId, SnapshotId

ids16, ids32 = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 2**63 - 1)
rows = st.builds(KeyRow, ids16, ids16, st.integers(0, 9), st.binary(max_size=60))
records = st.lists(st.tuples(st.binary(min_size=24, max_size=24), st.integers(1, 2 << 20)), min_size=1, max_size=2)


@st.composite
def frame_entries(draw: st.DrawFn) -> FrameEntry:
    content = draw(records)
    raw_bytes = sum(length for _, length in content)
    return FrameEntry(
        draw(ids16), draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 1 << 25)), draw(st.integers(1, 8 << 20)), raw_bytes, pack_content(content)
    )


packs = st.builds(PackEntry, ids32, st.sampled_from(PackKind), st.lists(frame_entries(), max_size=3).map(tuple))
names = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b".."))


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    kind = draw(st.sampled_from(Kind))
    content = draw(records) if kind == Kind.FILE else []
    size = sum(length for _, length in content)
    holes: tuple[tuple[int, int], ...] = ()
    if kind == Kind.FILE and draw(st.booleans()):
        holes, size = ((size, 4096),), size + 4096
    extra = Extra(
        target=draw(st.binary(min_size=1)) if kind == Kind.SYMLINK else None,
        device=draw(numbers) if kind in (Kind.CHAR_DEVICE, Kind.BLOCK_DEVICE) else None,
        link_count=draw(st.integers(1, 9)),
        holes=holes,
        xattrs=draw(st.lists(st.tuples(st.binary(min_size=1), st.binary()), max_size=2).map(tuple)),
        changed=draw(st.booleans()),
    )
    times = st.integers(-(2**63), 2**63 - 1)
    return Node(
        draw(names),
        kind,
        draw(st.integers(0, 0o7777)),
        draw(numbers),
        draw(numbers),
        draw(times),
        draw(times),
        draw(numbers),
        draw(numbers),
        size,
        pack_content(content),
        draw(st.sampled_from([extra, extra if kind == Kind.SYMLINK or holes else None])),
    )


@given(st.sampled_from(Magic), st.data())
def test_envelope(magic: Magic, data: st.DataObject) -> None:
    parts = tuple(data.draw(st.binary(max_size=300)) for _ in range(magic.part_count))
    signature = data.draw(st.binary(min_size=64, max_size=64)) if magic.signed else b""
    body = Envelope.build(magic, parts)
    assert Envelope.parse(magic, body + signature) == Envelope(parts, body, signature)


@given(st.builds(PackHead, st.sampled_from(PackKind), ids16, ids16, ids16, numbers, st.lists(rows, max_size=3).map(tuple)), st.binary(max_size=50))
def test_pack_head(head: PackHead, frames: bytes) -> None:
    data = build_pack_head(head)
    assert parse_pack_head(data + frames) == (head, len(data))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=50))
def test_trailer(frame_count: int, footer_bytes: int, before: bytes) -> None:
    assert parse_trailer(before + build_trailer(frame_count, footer_bytes)) == (frame_count, footer_bytes)


@given(st.builds(SegmentPublic, ids16, ids16, ids16, numbers, numbers, st.lists(ids32, max_size=3).map(tuple), st.lists(rows, max_size=2).map(tuple)))
def test_segment_public(public: SegmentPublic) -> None:
    assert decode(encode(public), SegmentPublic) == public


@given(st.lists(packs, max_size=3))
def test_pack_entries(entries: list[PackEntry]) -> None:
    assert decode(encode(entries), list[PackEntry]) == entries
    for entry in entries:
        fits = all(0 < frame.raw_bytes <= 4 << 20 for frame in entry.frames)
        try:
            check_frames(entry.frames)
        except IntegrityError:
            assert not fits
        else:
            assert fits


@given(
    st.builds(SnapshotPublic, ids16, ids16, numbers, st.sampled_from([b"", b"p" * 32]), ids16, numbers),
    st.builds(
        SnapshotMaintain,
        numbers,
        ids16,
        st.lists(st.text(max_size=5), max_size=3).map(tuple),
        st.booleans(),
        st.lists(st.builds(NeededFrames, ids16, st.binary(max_size=30)), max_size=3).map(tuple),
        st.lists(st.builds(Head, ids16, numbers, ids32), max_size=3).map(tuple),
    ),
)
def test_snapshot_parts(public: SnapshotPublic, maintain: SnapshotMaintain) -> None:
    assert decode(encode(public), SnapshotPublic) == public
    assert decode(encode(maintain), SnapshotMaintain) == maintain


@given(nodes(), st.dictionaries(st.integers(0, 2**32), st.text(max_size=9), max_size=3), st.lists(st.binary(max_size=40), max_size=3))
def test_snapshot_owner(root: Node, users: dict[int, str], paths: list[bytes]) -> None:
    owner = SnapshotOwner(
        host_name="h",
        paths=tuple(paths),
        root=root,
        start_ns=-1,
        end_ns=2**62,
        statistics=Statistics(new_files=3),
        users=users,
        errors=((b"\xff", "e"),),
    )
    assert decode(encode(owner), SnapshotOwner) == owner
    assert b"copied_from" not in encode(owner)
    copy = msgspec.structs.replace(owner, copied_from=CopiedFrom(bytes(16), bytes(32)))
    assert decode(encode(copy), SnapshotOwner) == copy


RESYNC_RUNS = 12  # after so many runs the cuts fall where they fell before, in any listing that was tried


def cut_listing(nodes: Sequence[Node], *, block: int = 7) -> list[list[Node]]:
    """The runs of a listing that is handed in a few nodes at a time."""
    cutter = RunCutter()
    runs = [run for begin in range(0, len(nodes), block) for run in cutter.add(nodes[begin : begin + block])]
    return [*runs, cutter.finish()] if nodes else runs


@given(st.lists(nodes(), max_size=6, unique_by=lambda node: node.name))
def test_listing(found: list[Node]) -> None:
    listing = sorted(found, key=lambda node: node.name)
    last = b""
    read: list[Node] = []
    for run in cut_listing(listing):
        read += decode_nodes(encode_nodes(run), after=last)
        last = read[-1].name
    assert read == listing


@settings(max_examples=30)
@given(
    st.lists(
        st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")), unique=True
    )
)
def test_names_that_come_or_go_move_few_cuts_of_a_listing(found: list[bytes]) -> None:
    def runs(listed: list[bytes]) -> set[bytes]:
        return {encode_nodes(run) for run in cut_listing([Node(name, Kind.FIFO, 0, 0, 0, 0, 0, 0, 0, 0) for name in sorted(listed)])}

    before = [b"entry %d" % n for n in range(600)]
    changed = runs([*before, *found]) ^ runs(before)
    assert len(changed) <= 2 * RESYNC_RUNS * len(set(found) - set(before))


BIG_CONTENT = pack_content([(bytes([n]) * 24, 1) for n in range(60)]) * 100
BIG = [
    (BIG_CONTENT, None),
    (b"", Extra(xattrs=tuple((b"user.%d" % n, bytes(60_000)) for n in range(3)))),
    (b"", Extra(holes=tuple((n << 40, 1 << 36) for n in range(1, 10_000)))),
    (b"", Extra(target=bytes(100_000))),
]


@pytest.mark.parametrize(("content", "extra"), BIG, ids=["content", "attributes", "holes", "target"])
def test_a_run_stays_below_its_limit(content: bytes, extra: Extra | None) -> None:
    names = [name for name in (b"n%06d" % n for n in range(200)) if crc32(name) & 3]  # no other cut
    listing = [Node(name, Kind.FILE, 0, 0, 0, 0, 0, 0, 0, 6_000, content, extra) for name in names]
    chunks = [encode_nodes(run) for run in cut_listing(listing)]
    one = len(encode_nodes(listing[:1]))
    assert LISTING_CHUNK_LIMIT_BYTES - 2 * one < max(map(len, chunks)) <= LISTING_CHUNK_LIMIT_BYTES + 64


@given(st.lists(st.tuples(st.binary(min_size=24, max_size=24), st.integers(0, 2**32 - 1)), max_size=5))
def test_content_records(pairs: list[tuple[bytes, int]]) -> None:
    content = pack_content(pairs)
    assert len(content) == CONTENT_RECORD_BYTES * len(pairs)
    assert list(content_records(content)) == pairs


@given(ids16, st.integers(0, 9_999_999_999), ids32)
def test_numbered_keys(host: bytes, number: int, object_id: bytes) -> None:
    expected = NumberedKey(HostId(host), number, object_id)
    assert parse_numbered_key(segment_key(HostId(host), number, SegmentId(object_id))) == expected
    assert parse_numbered_key(snapshot_key(HostId(host), number, SnapshotId(object_id))) == expected
    assert parse_numbered_key(host_key(HostId(host), 1)) is None


def test_no_key_is_made_that_readers_would_pass_over() -> None:
    assert parse_numbered_key(snapshot_key(HostId(bytes(16)), LAST_NUMBER, SnapshotId(bytes(32)))) is not None
    with pytest.raises(IntegrityError, match="enrolled anew"):
        snapshot_key(HostId(bytes(16)), LAST_NUMBER + 1, SnapshotId(bytes(32)))
