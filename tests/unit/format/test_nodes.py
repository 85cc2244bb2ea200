"""Nodes that no honest host writes are refused, each with its reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from seedcorn.errors import IntegrityError
from seedcorn.format.tree import Extra, Kind, Node, decode_nodes, encode_nodes, pack_content

FILE = Node(b"name", Kind.FILE, 0o644, 0, 0, 0, 0, 0, 0, 10, pack_content([(b"c" * 24, 10)]))


def changed(**changes: Any) -> Node:
    return msgspec.structs.replace(FILE, **changes)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (changed(name=b""), "sorted"),
        (changed(name=b"."), "file name"),
        (changed(name=b".."), "file name"),
        (changed(name=b"a/b"), "file name"),
        (changed(name=b"/"), "file name"),
        (changed(name=b"a\0b"), "file name"),
        (changed(name=b"n" * 1021), "file name"),
        (changed(kind=0), "kind"),
        (changed(kind=7), "kind"),
        (changed(kind=-1), "kind"),
        (changed(mode=0o10000), "mode"),
        (changed(mode=-1), "mode"),
        (changed(uid=-1), "owner"),
        (changed(gid=-1), "owner"),
        (changed(size=-1), "size"),
        (changed(size=11), "add up"),
        (changed(content=b"c" * 27), "whole number"),
        (changed(extra=Extra(holes=((0, 0),))), "holes"),
        (changed(extra=Extra(holes=((5, 5), (4, 1))), size=16), "holes"),
        (changed(extra=Extra(holes=((0, 5), (4, 1))), size=16), "holes"),
        (changed(extra=Extra(holes=((-1, 1),)), size=11), "holes"),
        (changed(extra=Extra(holes=((11, 1),)), size=11), "add up"),
        (changed(extra=Extra(holes=((0, 1 << 62), (1 << 62, 1 << 62))), size=11), "add up"),
        (changed(kind=Kind.SYMLINK, size=0), "content"),
        (changed(kind=Kind.SYMLINK, size=0, content=b""), "target"),
        (changed(kind=Kind.SYMLINK, size=0, content=b"", extra=Extra(target=b"")), "target"),
        (changed(kind=Kind.FIFO), "content"),
    ],
    ids=range(27),
)
def test_it_is_refused(node: Node, reason: str) -> None:
    with pytest.raises(IntegrityError, match=reason):
        decode_nodes(encode_nodes([node]))


def test_the_good_one_is_not() -> None:
    assert decode_nodes(encode_nodes([FILE])) == [FILE]


@pytest.mark.parametrize("names", [(b"a", b"a"), (b"b", b"a"), (b"a", b"c", b"b")])
def test_order_and_repeats(names: tuple[bytes, ...]) -> None:
    with pytest.raises(IntegrityError, match="sorted"):
        decode_nodes(encode_nodes([changed(name=name) for name in names]))


def test_order_across_the_runs_of_one_directory() -> None:
    chunk = encode_nodes([changed(name=b"b")])
    assert decode_nodes(chunk, after=b"a")
    for last in (b"b", b"c"):
        with pytest.raises(IntegrityError, match="sorted"):
            decode_nodes(chunk, after=last)
