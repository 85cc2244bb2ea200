"""What a backup does for each entry: look at it, and read it if it is new."""

from __future__ import annotations

import io
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.micro.conftest import Measure
from seedcorn.events import VoidMonitor
from seedcorn.format.tree import content_records
from seedcorn.ids import CHUNK_ID_BYTES
from seedcorn.ops.backup.scan import ScanOptions, TreeScanner
from seedcorn.repo.content.writer import Writer
from seedcorn.testing.repositories import SmallRepository, make_tree

SMALL_BYTES = 3000


@pytest.fixture
def writer(repository: SmallRepository) -> Iterator[Writer]:
    opened = repository.first.writer()
    yield opened
    opened.close()


@pytest.fixture
def tree(tmp_path: Path, scale: int, rng: random.Random) -> Path:
    """``2 * scale`` files in directories of 20, backed up nowhere yet."""
    return make_tree(tmp_path / "tree", {f"d{number // 20}/f{number % 20}": rng.randbytes(200) for number in range(2 * scale)})


def store(writer: Writer, contents: list[bytes]) -> None:
    for content in contents:
        writer.store_content(io.BytesIO(content).readinto, len(content))


def test_look_at_an_unchanged_entry(measure: Measure, repository: SmallRepository, tree: Path, scale: int) -> None:
    """Walk and compare: every directory is taken over whole."""
    repository.backup(tree)
    machine = repository.first
    writer = machine.writer()
    descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)

    def scan() -> None:
        scanner = TreeScanner(writer, machine.state, ScanOptions(), machine.clock.now_ns(), VoidMonitor(), lambda frames: None)
        assert scanner.scan(descriptor, b"", bytes(tree))
        assert not scanner.tally.read_bytes

    measure(2 * scale, "file", scan)
    os.close(descriptor)
    writer.close()


def test_run_over_an_unchanged_tree(measure: Measure, repository: SmallRepository, tree: Path, scale: int) -> None:
    """The same with all that a run adds, up to its snapshot."""
    repository.backup(tree)
    measure(2 * scale, "file", repository.backup, tree)


def test_read_a_tree_of_small_files(measure: Measure, repository: SmallRepository, tree: Path, scale: int) -> None:
    """The first backup of small files, the seal and the put among it."""
    numbers = itertools.count()

    def fresh() -> tuple[Path]:
        content = b"%d" % next(numbers)
        for number in range(2 * scale):
            (tree / f"d{number // 20}/f{number % 20}").write_bytes(content + b"-%d" % number * 20)
        return (tree,)

    measure(2 * scale, "file", repository.backup, setup=fresh)


def test_add_a_small_file(measure: Measure, writer: Writer, scale: int, rng: random.Random) -> None:
    measure(scale, "file", store, setup=lambda: (writer, [rng.randbytes(SMALL_BYTES) for _ in range(scale)]))


def test_add_a_small_file_that_is_known(measure: Measure, writer: Writer, scale: int, rng: random.Random) -> None:
    contents = [rng.randbytes(SMALL_BYTES) for _ in range(scale)]
    store(writer, contents)
    measure(scale, "file", store, writer, contents)


def test_add_a_big_file(measure: Measure, writer: Writer, scale: int, rng: random.Random) -> None:
    """Cut, hash and copy; the seal is done by other threads."""
    mebibytes = max(1, 32 * scale // 1000)

    def fresh() -> tuple[Writer, list[bytes]]:
        line = rng.randbytes(40).hex().encode()
        return writer, [b"".join(line + b"%d" % number for number in range((mebibytes << 20) // 86))]

    measure(mebibytes, "MiB", store, setup=fresh)


def test_find_a_chunk_that_is_known(measure: Measure, repository: SmallRepository, tree: Path) -> None:
    repository.backup(tree)
    browser = repository.browser()
    entries = browser.walk(browser.entry(browser.find("latest"), bytes(tree)), VoidMonitor())
    known = [chunk for entry in entries for chunk, _ in content_records(entry.node.content)]
    state = repository.first.state
    assert all(state.find(chunk) is not None for chunk in known)
    measure(len(known), "chunk", lambda: [state.find(chunk) for chunk in known])


def test_find_a_chunk_that_is_not(measure: Measure, repository: SmallRepository, tree: Path, scale: int, rng: random.Random) -> None:
    repository.backup(tree)
    state = repository.first.state
    unknown = [rng.randbytes(CHUNK_ID_BYTES) for _ in range(scale)]
    measure(scale, "chunk", lambda: [state.find(chunk) for chunk in unknown])
