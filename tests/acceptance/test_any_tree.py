"""Any tree that an ordinary user can make is the same after backup and restore."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.acceptance.trees import Content, DirectorySpec, FileSpec, LinkSpec, PipeSpec, make
from tests.acceptance.workshop import open_workshop, scratch

from seedcorn.testing.trees import describe, differences

_LONG = bool(os.environ.get("SEEDCORN_TESTS_LONG"))
_KIB, _MIB = 1 << 10, 1 << 20

_names = (
    st.binary(min_size=1, max_size=40).map(lambda name: name.replace(b"/", b"|").replace(b"\0", b"0")).filter(lambda name: name not in (b".", b".."))
)
_long_names = st.integers(200, 255).map(lambda length: b"n" * length)
_times = st.one_of(st.integers(-(2**31) * 10**9, 2**33 * 10**9), st.integers(0, 2**31).map(lambda seconds: seconds * 10**9))
_limits = [limit + delta for limit in (2 * _KIB, 8 * _KIB, 32 * _KIB, 128 * _KIB) for delta in (-1, 0, 1)]
_sizes = st.one_of(st.integers(0, 200), st.sampled_from(_limits), st.sampled_from([_MIB - 1, _MIB, _MIB + 1, 2 * _MIB + 1, 4 * _MIB]))
_contents = st.builds(Content, st.sampled_from(["zeros", "text", "noise", "period"]), _sizes, st.integers(0, 5))
_attributes = st.dictionaries(
    st.text("abcdefghijklmnop.-_", min_size=1, max_size=20).map(lambda name: b"user." + name.encode()), st.binary(max_size=300), max_size=2
)
_holes = st.lists(st.integers(0, 60), max_size=4, unique=True)
_files = st.builds(FileSpec, _contents, st.integers(0, 0o777), _times, _attributes, _holes, st.integers(0, 3))
_links = st.builds(LinkSpec, st.binary(min_size=1, max_size=60).filter(lambda target: b"\0" not in target), _times)
_pipes = st.builds(PipeSpec, st.integers(0, 0o777), _times)


def _directories(children: st.SearchStrategy[object]) -> st.SearchStrategy[DirectorySpec]:
    entries = st.dictionaries(st.one_of(_names, _long_names), children, max_size=6)
    return st.builds(DirectorySpec, entries, st.sampled_from([0o700, 0o755, 0o1777, 0o2775]), _times, _attributes)


_trees = _directories(st.recursive(st.one_of(_files, _files, _links, _pipes), _directories, max_leaves=12))


@settings(max_examples=1_000 if _LONG else 60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=_trees)
def test_identity(tree: DirectorySpec) -> None:
    with scratch() as folder, open_workshop(folder, settled=True) as workshop:
        make(workshop.source, tree)
        before = describe(workshop.source)
        run = workshop.backup()
        assert run.result.exit_code == 0
        again = workshop.backup()
        assert again.packs == 0
        for reference in (run.id, again.id):
            workshop.assert_restores(reference, before)
        machine = workshop.machine
        machine.forget_state()
        assert workshop.backup().result.statistics.raw_delta_size == 0
        assert differences(before, describe(workshop.source)) == [], "a backup changes nothing in what it reads"


def test_what_the_strategy_found_before(folder: Path) -> None:
    """Trees worth trying every time."""
    file = FileSpec(Content("noise", 3 * _MIB, 1), 0o600, 0, {}, [], 0)
    trees: tuple[dict[bytes, object], ...] = (
        {},
        {b"\xff": DirectorySpec({}, 0o700, -1, {})},
        {b"a": file, b"b": file, b"c": DirectorySpec({b"a": file}, 0o755, 10**18 + 1, {})},
        {b"hole": FileSpec(Content("zeros", 0, 0), 0o644, 1, {}, [0, 5, 60], 2)},
    )
    for number, entries in enumerate(trees):
        place = folder / str(number)
        place.mkdir()
        with open_workshop(place, settled=True) as workshop:
            make(workshop.source, DirectorySpec(entries, 0o755, 0, {}))
            before = describe(workshop.source)
            workshop.assert_restores(workshop.backup().id, before)
