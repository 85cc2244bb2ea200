"""ops/restore/links.py: which names are one file."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.fs.directories import DirectoryHandle, DirectoryRecord
from seedcorn.fs.files import LinkSource
from seedcorn.ops.restore.links import HardLinks, linked_file

NODE = Node(b"one", Kind.FILE, 0o644, 0, 0, 5, 6, 7, 8, 3, b"r" * 28, Extra(link_count=2))


def test_a_file_with_one_name() -> None:
    assert linked_file(msgspec.structs.replace(NODE, extra=None)) is None
    assert linked_file(msgspec.structs.replace(NODE, extra=Extra(depth=1))) is None


@pytest.mark.parametrize("same", [{"name": b"two"}, {"mode": 0o600}, {"ctime_ns": 9}, {"extra": Extra(link_count=3)}])
def test_other_names_of_one_file(same: dict[str, Any]) -> None:
    assert linked_file(msgspec.structs.replace(NODE, **same)) == linked_file(NODE)


OTHERS: list[dict[str, Any]] = [
    {"device_id": 9},
    {"inode": 9},
    {"size": 9},
    {"content": b"s" * 28},
    {"extra": Extra(link_count=2, depth=1)},
    {"extra": Extra(link_count=2, holes=((0, 1),))},
]


@pytest.mark.parametrize("other", OTHERS)
def test_another_file(other: dict[str, Any]) -> None:
    assert linked_file(msgspec.structs.replace(NODE, **other)) not in (None, linked_file(NODE))


def test_the_first_name_is_written_and_the_others_are_links_to_it() -> None:
    links, file = HardLinks(), linked_file(NODE)
    assert file is not None
    assert [links.is_first(file) for _ in range(3)] == [True, False, False]
    assert links.source(file) is None
    source = LinkSource(DirectoryHandle(None, DirectoryRecord(1, b"", 1, 1, True, False, True), (0, 0)), b"one", 1, 2)
    links.written(file, source)
    assert links.source(file) is source
