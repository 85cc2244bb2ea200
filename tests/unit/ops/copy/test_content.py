"""Reading a snapshot's content in order: every byte verified, and how many requests that takes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seedcorn.errors import IntegrityError
from seedcorn.format.tree import Node
from seedcorn.ops.browse import Browser
from seedcorn.ops.copy.content import ContentSource, ContentStream
from seedcorn.repo.roots.needed import FrameSet, IndexedFrames
from seedcorn.testing.damage import flip_byte, keys_by_kind
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree

_MIB = 1 << 20
LARGE = random.Random(5).randbytes(12 * _MIB)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[MemoryStore, Browser, Node, FrameSet]]:
    memory = MemoryStore()
    with SmallRepository(memory, tmp_path / "states") as repository:
        top = make_tree(tmp_path / "source", {"large": LARGE})
        repository.backup(top)
        browser = repository.browser()
        snapshot = browser.find("latest")
        node = browser.entry(snapshot, bytes(top / "large")).node
        yield memory, browser, node, IndexedFrames.of(browser.state).needed_by(snapshot).frames


def read(browser: Browser, node: Node, needed: FrameSet, piece_bytes: int = 300_000) -> bytes:
    with ThreadPoolExecutor(2) as pool:
        stream = ContentStream(ContentSource(browser.reader, needed, pool), browser.reader.records(node))
        found = bytearray()
        view = memoryview(bytearray(piece_bytes))
        while count := stream.readinto(view):
            found += view[:count]
        return bytes(found)


def test_in_order_several_frames_are_fetched_together(store: tuple[MemoryStore, Browser, Node, FrameSet]) -> None:
    memory, browser, node, needed = store
    browser.reader.records(node)
    before = memory.requests.get
    assert read(browser, node, needed) == LARGE
    assert memory.requests.get - before <= 7


def test_frames_that_the_snapshot_does_not_name_are_read_one_by_one(store: tuple[MemoryStore, Browser, Node, FrameSet]) -> None:
    _, browser, node, _ = store
    assert read(browser, node, FrameSet()) == LARGE


def test_damage_is_never_handed_out(store: tuple[MemoryStore, Browser, Node, FrameSet]) -> None:
    memory, browser, node, needed = store
    key = keys_by_kind(memory)["data pack"][0]
    memory.objects[key] = flip_byte(memory.objects[key], 5 * _MIB)
    with pytest.raises(IntegrityError, match="packs/"):
        read(browser, node, needed)
    del memory.objects[key]
    with pytest.raises(IntegrityError, match="missing"):
        read(browser, node, needed)
