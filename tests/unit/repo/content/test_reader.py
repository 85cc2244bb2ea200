"""Second copies, and what is refused."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import msgspec
import pytest

from seedcorn.errors import IntegrityError, StoreUnavailableError
from seedcorn.format.names import pack_key
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import CONTENT_RECORD_BYTES, Extra, Kind, Node, content_records, pack_content
from seedcorn.ids import ChunkId
from seedcorn.ops.browse import Browser
from seedcorn.repo.state.state import FramePlace
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree, read_file, read_tree


@pytest.fixture
def twice(repository: SmallRepository, tmp_path: Path) -> tuple[SmallRepository, Path]:
    """The same file stored by two hosts that do not rely on each other."""
    tree = make_tree(tmp_path / "tree", {"file": os.urandom(50_000)})
    repository.backup(tree)
    repository.machine("beta").backup(tree)
    return repository, tree / "file"


def data_packs(browser: Browser) -> list[str]:
    places = browser.state.frame_places([ordinal for ordinal, _, _, _ in browser.state.frames()])
    return sorted({pack_key(place.host, place.pack) for place in places.values() if place.kind == PackKind.DATA})


@pytest.mark.parametrize(
    "harm", [lambda data: None, lambda data: data[:100], lambda data: bytes(len(data)), lambda data: b""], ids=["gone", "cut", "zeros", "empty"]
)
@pytest.mark.parametrize("which", [0, 1])
def test_the_other_copy_is_used(harm: object, which: int, twice: tuple[SmallRepository, Path], store: MemoryStore) -> None:
    repository, file = twice
    browser = repository.browser(fresh=True)
    packs = data_packs(browser)
    assert len(packs) == 2
    harmed = harm(store.objects[packs[which]])  # type: ignore[operator]
    if harmed is None:
        del store.objects[packs[which]]
    else:
        store.objects[packs[which]] = harmed
    for snapshot in browser.snapshots:
        node = browser.entry(snapshot, os.fsencode(file)).node
        assert read_file(repository.browser(fresh=True), node) == file.read_bytes()


def test_with_no_good_copy_the_error_names_a_pack(twice: tuple[SmallRepository, Path], store: MemoryStore) -> None:
    repository, file = twice
    browser = repository.browser(fresh=True)
    for key in data_packs(browser):
        store.objects[key] = bytes(len(store.objects[key]))
    with pytest.raises(IntegrityError) as caught:
        read_file(browser, browser.entry(browser.find("latest"), os.fsencode(file)).node)
    assert caught.value.object_name in data_packs(browser)


def test_a_store_that_does_not_answer_is_not_damage(twice: tuple[SmallRepository, Path], store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, file = twice
    browser = repository.browser(fresh=True)
    node = browser.entry(browser.find("latest"), os.fsencode(file)).node

    def silent(key: str, start: int, length: int) -> bytes:
        raise StoreUnavailableError("no answer", key=key)

    monkeypatch.setattr(store, "get_range", silent)
    with pytest.raises(StoreUnavailableError):
        read_file(browser, node)


def test_a_chunk_of_another_length_or_kind_is_refused(twice: tuple[SmallRepository, Path]) -> None:
    repository, file = twice
    browser = repository.browser()
    node = browser.entry(browser.find("latest"), os.fsencode(file)).node
    chunk_id, length = next(iter(content_records(browser.reader.records(node))))
    assert len(browser.reader.chunk(PackKind.DATA, chunk_id, length)) == length
    for kind, wanted, size in (
        (PackKind.DATA, chunk_id, length + 1),
        (PackKind.DATA, chunk_id, length - 1),
        (PackKind.LISTING, chunk_id, length),
        (PackKind.DATA, ChunkId(b"?" * 24), length),
    ):
        with pytest.raises(IntegrityError):
            browser.reader.chunk(kind, wanted, size)


def test_frames_are_fetched_once(twice: tuple[SmallRepository, Path], store: MemoryStore) -> None:
    repository, _ = twice
    browser = repository.browser(fresh=True)
    before = store.requests.get
    read_tree(browser)
    frames = store.requests.get - before
    read_tree(browser)
    assert store.requests.get - before == frames <= len(list(browser.state.frames()))


def test_frames_of_one_name_in_two_packs_are_both_read(repository: SmallRepository) -> None:
    """A machine that is set back to where it was in the middle of a session goes on in it a second time."""
    first, again = repository.first.writer(), repository.first.writer()
    again.session_number, again._row = first.session_number, first._row
    for attribute in ("_session", "_row", "_sealer"):
        setattr(again._packer, attribute, getattr(first._packer, attribute))
    stored = {}
    for writer in (first, again):
        content = os.urandom(3000)
        (record,) = content_records(writer.store_content(BytesIO(content).readinto, len(content)).content)
        stored[record] = content
        writer.finish()
        writer.close()
    reader = repository.browser(fresh=True).reader
    for _ in range(2):
        for (chunk_id, length), content in stored.items():
            assert reader.chunk(PackKind.DATA, chunk_id, length) == content


def test_a_neighbour_that_can_not_be_fetched_keeps_nobody_from_a_listing(
    twice: tuple[SmallRepository, Path], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, file = twice
    browser = repository.browser(fresh=True)
    known = browser.state.frame_places_between

    def with_one_beyond_the_end(first: int, end: int) -> dict[int, FramePlace]:
        places = known(first, end)
        listing = next((found for found in places.values() if found.kind == PackKind.LISTING), None)
        beyond = len(store.objects[pack_key(listing.host, listing.pack)]) if listing else 0
        return places | ({7_000: msgspec.structs.replace(listing, offset=beyond)} if listing else {})

    monkeypatch.setattr(browser.state, "frame_places_between", with_one_beyond_the_end)
    assert read_tree(browser)[os.fsencode(file)] == file.read_bytes()


def test_a_content_that_would_unfold_beyond_all_memory_is_not_followed(repository: SmallRepository) -> None:
    """Lists of one chunk over and over cost a host nothing that lies: they compress to a few bytes."""
    fetched: list[int] = []

    def fetch(_: ChunkId, length: int) -> bytes:
        fetched.append(length)
        return pack_content([(b"c" * 24, length)]) * (length // CONTENT_RECORD_BYTES)

    length = (4 << 20) // CONTENT_RECORD_BYTES * CONTENT_RECORD_BYTES
    node = Node(b"f", Kind.FILE, 0o644, 0, 0, 0, 0, 0, 0, 1 << 60, pack_content([(b"c" * 24, length)] * 4), Extra(depth=8))
    with pytest.raises(IntegrityError, match="longer than any"):
        repository.browser().reader.records(node, fetch)
    assert len(fetched) == 4


@pytest.mark.parametrize(("size", "is_followed"), [(3 << 40, True), (1 << 30, False)])
def test_how_long_a_list_of_chunks_may_be_goes_by_the_size(size: int, is_followed: bool, repository: SmallRepository) -> None:
    """What is read as a stream, or begins with what does not compress, is cut into chunks of 64 KiB however long it is."""

    def fetch(chunk_id: ChunkId, length: int) -> bytes:
        raise IntegrityError("has been asked for")

    chunks = (3 << 40) // (64 << 10)
    node = Node(b"f", Kind.FILE, 0o644, 0, 0, 0, 0, 0, 0, size, pack_content([(b"c" * 24, 7 * chunks)] * 4), Extra(depth=1))
    with pytest.raises(IntegrityError, match="asked for" if is_followed else "longer than any"):
        repository.browser().reader.records(node, fetch)
