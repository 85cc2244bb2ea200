"""What the writer stores, the reader gives back, for sizes around every limit."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from seedcorn import compression
from seedcorn.chunking import TIERS
from seedcorn.errors import IntegrityError, SeedcornError, StoreUnavailableError
from seedcorn.format.pack import FRAME_RAW_LIMIT_BYTES
from seedcorn.format.tree import CONTENT_RECORD_BYTES, Extra, Kind, Node, content_records
from seedcorn.repo.content import packer
from seedcorn.repo.content import writer as writer_module
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.writer import INLINE_RECORDS_LIMIT, ListingWriter, ReadInto, StoredContent, Writer, WriterOptions
from seedcorn.repo.roots.needed import IndexedFrames
from seedcorn.testing.repositories import SmallRepository, read_file

KIB, MIB = 1024, 1024 * 1024
EDGES = sorted({0, 1, 2} | {size + delta for size in (8 * KIB, 16 * KIB, 32 * KIB, 128 * KIB, MIB, 2 * MIB, 4 * MIB) for delta in (-1, 0, 1)})


def reading(data: bytes, *, at_most: int = 1 << 30) -> ReadInto:
    """Gives ``data``, at most so many bytes a time."""
    at = 0

    def read_into(view: memoryview) -> int:
        nonlocal at
        piece = data[at : at + min(len(view), at_most)]
        view[: len(piece)] = piece
        at += len(piece)
        return len(piece)

    return read_into


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed * 7919 + size).randbytes(size)


def text(size: int, seed: int = 1) -> bytes:
    chosen = random.Random(seed * 104_729 + size)
    words = [chosen.randbytes(4).hex().encode() for _ in range(200)]
    return b" ".join(chosen.choices(words, k=size // 8 + 1))[:size]


def node_of(stored: StoredContent) -> Node:
    extra = Extra(depth=stored.depth) if stored.depth else None
    return Node(b"file", Kind.FILE, 0o644, 0, 0, 0, 0, 0, 0, stored.size, stored.content, extra)


class Written:
    """One session of the first machine, and the contents that it stored."""

    def __init__(self, repository: SmallRepository, options: WriterOptions | None = None) -> None:
        self.repository = repository
        self.writer: Writer = repository.first.writer(options)
        self.contents: list[tuple[bytes, StoredContent]] = []
        self.frames: set[int] = set()

    def store(self, data: bytes, size: int | None = -1, *, at_most: int = 1 << 30) -> StoredContent:
        stored = self.writer.store_content(reading(data, at_most=at_most), len(data) if size == -1 else size)
        self.frames.update(stored.frames)
        self.contents.append((data, stored))
        return stored

    def read_back(self) -> None:
        """Finish, and compare everything with what a new client reads."""
        self.writer.finish()
        self.writer.close()
        browser = self.repository.browser(fresh=True)
        for data, stored in self.contents:
            assert stored.size == len(data)
            assert read_file(browser, node_of(stored)) == data
        assert self.frames <= {ordinal for ordinal, _, _, _ in self.repository.first.state.frames()}
        assert len(IndexedFrames.of(browser.state)) == len(list(self.repository.first.state.frames()))


@pytest.mark.parametrize("make", [noise, text])
@pytest.mark.parametrize("known_size", [True, False], ids=["file", "stream"])
def test_sizes_around_all_limits(make: Callable[[int], bytes], known_size: bool, repository: SmallRepository) -> None:
    written = Written(repository)
    for size in EDGES:
        written.store(make(size), -1 if known_size else None)
    written.read_back()


@pytest.mark.parametrize("at_most", [1, 511, 65_536], ids=str)
def test_short_reads_change_nothing(at_most: int, repository: SmallRepository) -> None:
    written = Written(repository)
    sizes = (100, 9 * KIB, 70 * KIB) if at_most == 1 else (9 * KIB, 200 * KIB, 3 * MIB)
    for size in sizes:
        for known in (-1, None):
            assert written.store(text(size), known).content == written.store(text(size), known, at_most=at_most).content
    written.read_back()


def test_a_file_that_shrinks_while_it_is_read(repository: SmallRepository) -> None:
    written = Written(repository)
    for size in (0, 1, 8 * KIB, 9 * KIB, 200 * KIB, 5 * MIB):
        for claimed in (size + 1, 2 * size + 5, 8 * KIB, 100 * MIB):
            if claimed > size:
                assert written.store(text(size), claimed).size == size
    written.read_back()


def test_no_more_is_read_than_the_size_says(repository: SmallRepository) -> None:
    written = Written(repository)
    for size in (0, 1, 8 * KIB, 8 * KIB + 1, 300 * KIB, 2 * MIB + 3):
        stored = written.writer.store_content(reading(noise(size + 5_000)), size)
        written.contents.append((noise(size + 5_000)[:size], stored))
    written.read_back()


def test_what_is_known_is_not_stored_again(repository: SmallRepository) -> None:
    first = Written(repository)
    datas = [text(n * 3_000 + 5, seed=n) for n in range(1, 40)] + [noise(3 * MIB)]
    news = [first.store(data).new_bytes for data in datas]
    again = [first.store(data).new_bytes for data in datas]
    assert news == list(map(len, datas))
    assert not any(again)
    first.read_back()
    second = Written(repository)  # the next session knows it by the index
    assert not any(second.store(data).new_bytes for data in datas)
    second.read_back()
    assert second.frames == first.frames
    assert sum(key.startswith("index/") for key in repository.store.objects) == 1  # type: ignore[attr-defined]  # a MemoryStore


def test_repeats_inside_one_file_are_stored_once(repository: SmallRepository) -> None:
    written = Written(repository)
    block = noise(600 * KIB)
    stored = written.store(block * 6)
    assert stored.new_bytes < 3 * len(block)
    zeros = written.store(bytes(40 * MIB))
    assert zeros.new_bytes <= 2 * max(tier.max_bytes for tier in TIERS)
    written.read_back()


@pytest.mark.parametrize("alternate", [noise, text])
def test_interleaved_kinds_of_content(alternate: Callable[[int], bytes], repository: SmallRepository) -> None:
    """Compressible and incompressible files have each their open frame; gaps left by duplicates are closed."""
    written = Written(repository)
    for n in range(60):
        written.store(text(n * 2_500, seed=n % 9))
        written.store(noise(n * 7_000, seed=n % 7))
        written.store(alternate(300 * KIB)[n * 100 :])
    written.read_back()


def frames_of(repository: SmallRepository) -> list[tuple[int, int, int]]:
    """(kind, sealed bytes, raw bytes) of every frame."""
    state = repository.first.state
    places = state.frame_places([ordinal for ordinal, _, _, _ in state.frames()])
    return [(place.kind, place.sealed_bytes, place.raw_bytes) for place in places.values()]


def test_frames_keep_their_limits(repository: SmallRepository) -> None:
    written = Written(repository)
    for n in range(9_000):
        written.store(b"%d" % n)
    for n in range(5):
        written.store(noise(3 * MIB, seed=n))
    written.store(text(9 * MIB), None)
    written.read_back()
    assert max(raw for _, _, raw in frames_of(repository)) <= FRAME_RAW_LIMIT_BYTES
    counts: dict[int, int] = {}
    for n in range(9_000):
        for copy in repository.first.state.copies(written.writer._repository.key.secrets.chunk_id(b"%d" % n)):
            counts[copy.ordinal] = counts.get(copy.ordinal, 0) + 1
    assert max(counts.values()) <= writer_module.FRAME_CHUNK_LIMIT


def test_incompressible_content_is_stored_and_text_is_compressed(repository: SmallRepository) -> None:
    written = Written(repository)
    written.store(noise(3 * MIB))
    written.store(text(3 * MIB))
    written.read_back()
    frames = frames_of(repository)
    overhead = 40 + compression.CODEC_BYTES
    assert sum(sealed - overhead == raw for _, sealed, raw in frames) >= 2
    assert any(sealed < 0.7 * raw for _, sealed, raw in frames)


def test_tiers(repository: SmallRepository) -> None:
    """The larger the file, the larger its chunks; streams are cut in the middle way; what does not compress is cut coarsely."""
    written = Written(repository)
    finest = chunk_bytes(written, text(400 * KIB), -1)
    middle = chunk_bytes(written, text(6 * MIB), None)
    assert 4 * KIB < finest < 20 * KIB
    assert 30 * KIB < middle < 180 * KIB
    assert 30 * KIB < chunk_bytes(written, noise(5 * MIB), -1) < 180 * KIB
    written.read_back()


def chunk_bytes(written: Written, data: bytes, size: int | None) -> float:
    """Average size of the chunks that a content is cut into."""
    before = len(written.writer._pending)
    assert written.store(data, size).new_bytes == len(data)
    return len(data) / (len(written.writer._pending) - before)


# -- folding -----------------------------------------------------------------------------------------------------------------------------------


def records(count: int, *, first_bytes: Callable[[int], int]) -> bytes:
    return b"".join(bytes([first_bytes(n)]) + n.to_bytes(23, "little") + (1).to_bytes(4, "little") for n in range(count))


FIRST_BYTES: dict[str, Callable[[int], int]] = {"never zero": lambda n: 1 + n % 255, "always zero": lambda _: 0, "sometimes": lambda n: n % 256}


@pytest.mark.parametrize(
    "count", [0, 1, INLINE_RECORDS_LIMIT - 1, INLINE_RECORDS_LIMIT, INLINE_RECORDS_LIMIT + 1, 255, 256, 257, 4095, 4096, 4097, 70_000]
)
@pytest.mark.parametrize("name", FIRST_BYTES)
def test_folding_many_records(count: int, name: str, repository: SmallRepository) -> None:
    if name == "always zero" and count > 5_000:
        count = 5_000
    written = Written(repository)
    whole = records(count, first_bytes=FIRST_BYTES[name])
    content, depth = written.writer.fold(whole, written.frames)
    written.writer.finish()
    written.writer.close()
    assert (depth == 0) == (count <= INLINE_RECORDS_LIMIT)
    assert len(content) <= INLINE_RECORDS_LIMIT * CONTENT_RECORD_BYTES
    node = Node(b"f", Kind.FILE, 0, 0, 0, 0, 0, 0, 0, count, content, Extra(depth=depth))
    assert repository.browser(fresh=True).reader.records(node) == whole


def test_a_large_file_is_folded_and_comes_back(repository: SmallRepository) -> None:
    written = Written(repository)
    stored = written.store(text(12 * MIB))
    assert stored.depth >= 1
    assert len(list(content_records(stored.content))) <= INLINE_RECORDS_LIMIT
    written.read_back()


def test_a_large_directory_comes_back_run_by_run(repository: SmallRepository) -> None:
    written = Written(repository)
    nodes = [Node(b"entry %06d" % n, Kind.FIFO, 0o600, 0, 0, n, n, 1, n, 0) for n in range(20_000)]
    listing = ListingWriter(written.writer, written.frames)
    chunks = [chunk for begin in range(0, len(nodes), 999) for _, chunk in listing.add(nodes[begin : begin + 999])]
    chunks += [chunk for _, chunk in listing.finish()]
    assert written.writer.store_listing(nodes, written.frames) == (listing.content, listing.depth), "however it is handed in"
    written.writer.finish()
    written.writer.close()
    assert len(chunks) > 100
    node = Node(b"d", Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 0, 0, len(nodes), listing.content, Extra(depth=listing.depth))
    assert list(repository.browser(fresh=True).reader.list_directory(node)) == nodes


# -- packs and segments ------------------------------------------------------------------------------------------------------------------------


def test_many_small_packs_and_checkpoints(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 3 * MIB)
    written = Written(repository, WriterOptions(PackerOptions(workers=3, connections=2), checkpoint_packs=2))
    for n in range(25):
        written.store(noise(MIB, seed=n))
    written.read_back()
    keys = list(repository.store.objects)  # type: ignore[attr-defined]  # a MemoryStore
    assert sum(key.startswith("packs/") for key in keys) >= 8
    assert 2 <= sum(key.startswith("index/") for key in keys) <= 6
    assert keys.index(next(key for key in keys if key.startswith("index/"))) > 0


def test_without_workers_the_caller_does_everything(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()
    put = repository.store.put

    def noted(key: str, data: bytes) -> None:
        threads.add(threading.get_ident())
        put(key, data)

    monkeypatch.setattr(repository.store, "put", noted)
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 3 * MIB)
    written = Written(repository, WriterOptions(PackerOptions(workers=0), checkpoint_packs=2))
    before = threading.active_count()
    for n in range(12):
        written.store(noise(MIB, seed=n))
    assert sum(key.startswith("packs/") for key in repository.store.objects) >= 2  # type: ignore[attr-defined]  # a MemoryStore
    written.writer.put("snapshots/one", b"as it is")
    written.read_back()
    assert threads == {threading.get_ident()}
    assert threading.active_count() == before


def test_without_workers_a_put_that_fails_is_raised_at_once(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(key: str, data: bytes) -> None:
        raise StoreUnavailableError("no answer", key=key)

    monkeypatch.setattr(repository.store, "put", refuse)
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 2 * MIB)
    written = Written(repository, WriterOptions(PackerOptions(workers=0)))
    written.store(noise(MIB, seed=1))
    with pytest.raises(StoreUnavailableError):
        written.store(noise(3 * MIB, seed=2))
    written.writer.close()


def test_a_killed_session_leaves_what_its_segments_list(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 2 * MIB)
    killed = Written(repository, WriterOptions(PackerOptions(), checkpoint_packs=1))
    datas = [noise(MIB, seed=n) for n in range(14)]
    for data in datas:
        killed.store(data)
    killed.writer.close()
    repository.first.forget_state()
    browser = repository.browser(fresh=True)
    known = len(list(browser.state.frames()))
    assert 0 < known < 14
    assert browser.problems == ()


def test_a_store_that_fails_stops_the_writer(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(repository)
    written.store(noise(2 * MIB))

    def refuse(key: str, data: object) -> None:
        raise StoreUnavailableError("no answer", key=key)

    monkeypatch.setattr(repository.store, "put", refuse)
    with pytest.raises(StoreUnavailableError):
        written.writer.finish()
    written.writer.close()


def test_a_seal_that_does_not_open_to_what_was_sealed_is_noticed(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "decompress", lambda plain, raw_bytes: bytes(raw_bytes))
    written = Written(repository)
    written.store(text(20 * KIB))
    with pytest.raises(IntegrityError, match="memory, processor or zstd"):
        written.writer.finish()
    written.writer.close()


def test_packs_of_a_checkpoint_that_failed_are_listed_by_the_next(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 2 * MIB)
    put = repository.store.put

    def refuse(key: str, data: bytes) -> None:
        if key.startswith("index/"):
            raise StoreUnavailableError("no answer", key=key)
        put(key, data)

    written = Written(repository, WriterOptions(PackerOptions(workers=0)))
    written.store(noise(5 * MIB))
    with monkeypatch.context() as patch:
        patch.setattr(repository.store, "put", refuse)
        with pytest.raises(StoreUnavailableError):
            written.writer.checkpoint()
    written.read_back()


def test_nothing_is_finished_while_a_chunk_is_missing(repository: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(repository)
    written.store(noise(MIB))
    monkeypatch.setattr(packer.Packer, "take_finished", lambda packs: [])
    with pytest.raises(SeedcornError, match="have not come to the repository"):
        written.writer.finish()
    written.writer.close()
