"""What is left out: patterns, caches; and what comes of it in the next snapshot."""

from __future__ import annotations

import os
import time

import pytest
from tests.acceptance.workshop import Workshop

from seedcorn.errors import UsageError
from seedcorn.testing.repositories import make_tree, read_tree
from seedcorn.testing.trees import describe

_FILES = {
    "a.tmp": b"1",
    "keep.txt": b"2",
    "cache/CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55\n",
    "cache/junk": b"3",
    "cache/deep/junk": b"4",
    "node_modules/.cache/x": b"5",
    "node_modules/y": b"6",
    "not a cache/CACHEDIR.TAG": b"hello",
    "not a cache/kept": b"7",
}


def _found(workshop: Workshop) -> set[str]:
    files = read_tree(workshop.repository.browser(fresh=True))
    return {os.path.relpath(os.fsdecode(path), workshop.source) for path, content in files.items() if content is not None}


@pytest.mark.parametrize(
    ("excludes", "left_out"),
    [
        ((), set()),
        (("*.tmp",), {"a.tmp"}),
        (("cache/",), {"cache/CACHEDIR.TAG", "cache/junk", "cache/deep/junk"}),
        (("node_modules/.cache",), {"node_modules/.cache/x"}),
        (("*", "!keep.txt"), set(_FILES) - {"keep.txt"}),
        (("{source}/cache/**", "!{source}/cache/junk"), {"cache/CACHEDIR.TAG", "cache/deep/junk"}),
    ],
)
def test_patterns(workshop: Workshop, excludes: tuple[str, ...], left_out: set[str]) -> None:
    make_tree(workshop.source, _FILES)
    patterns = tuple(pattern.format(source=workshop.source) for pattern in excludes)
    run = workshop.backup(excludes=patterns)
    assert _found(workshop) == set(_FILES) - left_out
    assert workshop.repository.browser(fresh=True).find("latest").owner.excludes == patterns
    workshop.backup()
    assert _found(workshop) == set(_FILES), "left out once is not left out for ever"
    again = workshop.backup(excludes=patterns)
    assert _found(workshop) == set(_FILES) - left_out
    assert again.result.statistics.raw_delta_size == 0
    assert run.result.errors == again.result.errors == ()


def test_a_pattern_that_is_none(workshop: Workshop) -> None:
    with pytest.raises(UsageError):
        workshop.backup(excludes=("[a",))


def test_caches(workshop: Workshop) -> None:
    make_tree(workshop.source, _FILES)
    for _ in range(2):
        workshop.backup(exclude_caches=True)
        assert _found(workshop) == set(_FILES) - {"cache/junk", "cache/deep/junk"}
    workshop.backup()
    assert _found(workshop) == set(_FILES)


def test_excluded_and_included_again_with_edits_in_between(workshop: Workshop) -> None:
    make_tree(workshop.source, _FILES)
    workshop.backup()
    (workshop.source / "cache" / "junk").write_bytes(b"edited while it was left out")
    workshop.backup(excludes=("cache",))
    (workshop.source / "cache" / "junk").write_bytes(b"edited again, and longer")
    tree = describe(workshop.source)
    time.sleep(0.02)
    workshop.assert_restores(workshop.backup().id, tree)
