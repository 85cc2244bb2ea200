"""ops/backup/unchanged.py: what counts as unchanged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from seedcorn.format.tree import Extra, Kind, Node
from seedcorn.fs.metadata import node_from_stat
from seedcorn.ops.backup.unchanged import Children, fingerprint_of, is_same_directory, may_take_over, racy_from_ns

NODE = Node(b"n", Kind.DIRECTORY, 0o755, 0, 0, 5, 6, 7, 8, 3, b"r" * 28)


def test_what_is_younger_than_two_seconds_at_the_scan_is_not_believed() -> None:
    assert racy_from_ns(10 * 10**9) == 8 * 10**9


@pytest.mark.parametrize(
    ("extra", "other_device", "taken_over"),
    [
        (Extra(target=b"t"), True, True),
        (Extra(target=b"t", link_count=2), False, False),
        (Extra(target=b"t", changed=True), False, False),
    ],
)
def test_entries_with_extras(tmp_path: Path, extra: Extra, other_device: bool, taken_over: bool) -> None:
    (tmp_path / "file").touch()
    st = os.stat(tmp_path / "file")
    node = node_from_stat(b"file", st, Kind.FILE, b"", extra)
    if other_device:
        node = msgspec.structs.replace(node, device_id=st.st_dev + 1)
    assert may_take_over(node, st) is taken_over


def test_a_device_number_tells_hard_links_apart(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.link(tmp_path / "file", tmp_path / "other")
    st = os.stat(tmp_path / "file")
    node = node_from_stat(b"file", st, Kind.FILE, b"", Extra(link_count=2))
    assert may_take_over(node, st)
    assert not may_take_over(msgspec.structs.replace(node, device_id=st.st_dev + 1), st)


def test_a_directory_keeps_its_node_over_a_boot() -> None:
    assert is_same_directory(NODE, msgspec.structs.replace(NODE, device_id=99))
    for other in ({"mtime_ns": 9}, {"inode": 9}, {"content": b"s" * 28}, {"extra": Extra(xattrs=((b"user.x", b"1"),))}):
        assert not is_same_directory(NODE, msgspec.structs.replace(NODE, **other))


def stat(**fields: Any) -> os.stat_result:
    numbers = {"mode": 0o100644, "inode": 1, "device": 2, "links": 1, "uid": 3, "gid": 4, "size": 5} | fields
    times = {"st_mtime_ns": numbers.pop("mtime", 7), "st_ctime_ns": numbers.pop("ctime", 8)}
    return os.stat_result([*numbers.values(), 0, 0, 0], times)


@pytest.mark.parametrize("field", ["mode", "inode", "device", "links", "uid", "gid", "size", "mtime", "ctime"])
@pytest.mark.parametrize("beyond", [0, 1 << 70])
def test_a_fingerprint_shows_every_field(field: str, beyond: int) -> None:
    before = fingerprint_of([(b"a", stat(ctime=8 + beyond))])
    assert before == fingerprint_of([(b"a", stat(ctime=8 + beyond))])
    assert before != fingerprint_of([(b"a", stat(**({"ctime": 8 + beyond} | {field: 77 + (beyond if field == "ctime" else 0)})))])
    assert before != fingerprint_of([(b"b", stat(ctime=8 + beyond))])


def test_the_listings_of_subdirectories() -> None:
    file = msgspec.structs.replace(NODE, name=b"f", kind=Kind.FILE)
    deep = msgspec.structs.replace(NODE, name=b"o", extra=Extra(depth=2))
    children = Children.of([file, NODE, deep])
    assert Children.of([file]).fingerprint() == b""
    told = Children()
    told.add(b"n", NODE.content, 0, NODE.size)
    told.add(b"o", deep.content, 2, deep.size)
    assert told.fingerprint() == children.fingerprint() != Children.of([NODE]).fingerprint()
    assert told.node(msgspec.structs.replace(deep, content=b"old", size=1)) == deep
