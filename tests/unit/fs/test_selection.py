"""Exclude and include patterns, against a table of examples and against a slow matcher that is written in another way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedcorn.errors import UsageError
from seedcorn.fs.selection import Inclusion, Selection, is_cache_directory, read_exclude_file


def _excluded(patterns: list[str], path: str, *, is_dir: bool = False) -> bool:
    raw = os.fsencode(path)
    return Selection(patterns).excluded(raw, raw.rpartition(b"/")[2], is_dir)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*.tmp", ["/a.tmp", "/x/y/.tmp"], ["/a.tmpx", "/a.tmp/b", "/x/tmp"]),
        ("cache", ["/cache", "/x/cache"], ["/cache2", "/x/cache/y"]),
        ("/var/cache", ["/var/cache"], ["/x/var/cache", "/var", "/var/cache/x"]),
        ("/var/*", ["/var/log", "/var/."], ["/var", "/var/log/x"]),
        ("b/c", ["/b/c", "/a/b/c", "/a/x/b/c"], ["/ab/c", "/a/b/c/d", "/c"]),
        ("**/c", ["/c", "/a/c", "/a/b/c"], ["/a/cc"]),
        ("/a/**/z", ["/a/z", "/a/b/z", "/a/b/c/z"], ["/z", "/a/zz", "/b/a/z"]),
        ("/a/**", ["/a/b", "/a/b/c"], ["/a", "/ab"]),
        ("?", ["/a", "/é", "/\n", "/\udcff"], ["/", "/aa", "/ab/cd"]),
        ("a?c", ["/abc", "/aéc", "/a/x/a.c"], ["/ac", "/a/c"]),
        ("[a-c]x", ["/ax", "/cx"], ["/dx", "/x", "/-x"]),
        ("[!a-c]x", ["/dx", "/éx"], ["/ax", "/x"]),
        ("[^a]x", ["/bx"], ["/ax"]),
        ("[]a]x", ["/]x", "/ax"], ["/bx"]),
        ("[a-]x", ["/ax", "/-x"], ["/bx"]),
        ("[+-9]x", ["/,x"], ["/a/x", "/x"]),
        ("/q[!x]r", ["/qar"], ["/q/r"]),
        ("[\\]]x", ["/]x"], ["/\\x"]),
        (r"\*", ["/*"], ["/a"]),
        (r"\!x", ["/!x"], ["/x"]),
        ("a.b", ["/a.b"], ["/axb"]),
        ("(a|b)+$", ["/(a|b)+$"], ["/a"]),
        ("a**b", ["/ab", "/axxb"], ["/a/b"]),
        ("//var///log", ["/var/log"], ["/x/var/log"]),
        ("\udcff*", ["/\udcffabc"], ["/abc"]),
    ],
)
def test_what_a_pattern_matches(pattern: str, matching: list[str], others: list[str]) -> None:
    assert [path for path in matching if not _excluded([pattern], path)] == []
    assert [path for path in others if _excluded([pattern], path)] == []


def test_a_slash_at_the_end_is_for_directories() -> None:
    for pattern in ("build/", "/x/build/", "x/build/"):
        assert _excluded([pattern], "/x/build", is_dir=True)
        assert not _excluded([pattern], "/x/build")


def test_the_last_pattern_that_matches_rules() -> None:
    patterns = ["*.log", "!keep.log", "/var/keep.log"]
    assert _excluded(patterns, "/a/x.log")
    assert not _excluded(patterns, "/a/keep.log")
    assert _excluded(patterns, "/var/keep.log")
    assert not _excluded(["!a"], "/a")
    assert not _excluded([], "/a")


@pytest.mark.parametrize("pattern", ["", "!", "/", "!//", "[a", "a[", "[]", "[!]", "[z-a]", "a\\", "[\\", "a/[b/c]", "./a", "/a/../b", ".."])
def test_malformed_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern"):
        Selection([pattern])
    with pytest.raises(UsageError, match="pattern"):
        Inclusion([pattern])


def test_an_exclude_file_has_a_pattern_on_each_line(scratch: Path) -> None:
    (scratch / "patterns").write_bytes(b"# comment\n\n  *.tmp \r\n!keep.tmp\n\\#not a comment\n\xff*\n")
    assert read_exclude_file(str(scratch / "patterns")) == ["*.tmp", "!keep.tmp", "\\#not a comment", "\udcff*"]
    with pytest.raises(UsageError, match="absent: No such file"):
        read_exclude_file(os.fsencode(scratch / "absent"))


@pytest.mark.parametrize(
    ("content", "cache"),
    [
        (b"Signature: 8a477f597d28d172789f06886806bc55\n# more", True),
        (b"Signature: 8a477f597d28d172789f06886806bc55", True),
        (b"Signature: 8a477f597d28d172789f06886806bc5", False),
        (b" Signature: 8a477f597d28d172789f06886806bc55", False),
        (b"", False),
    ],
)
def test_a_cache_directory_is_known_by_its_signature(scratch: Path, content: bytes, cache: bool) -> None:
    (scratch / "CACHEDIR.TAG").write_bytes(content)
    fd = os.open(scratch, os.O_RDONLY)
    assert is_cache_directory(fd) is cache
    os.close(fd)


def test_what_only_looks_like_a_tag_marks_no_cache(scratch: Path) -> None:
    fd = os.open(scratch, os.O_RDONLY)
    tag = scratch / "CACHEDIR.TAG"
    assert not is_cache_directory(fd)
    tag.mkdir()
    assert not is_cache_directory(fd)
    tag.rmdir()
    os.mkfifo(tag)
    assert not is_cache_directory(fd)
    tag.unlink()
    (scratch / "real").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55")
    tag.symlink_to("real")
    assert not is_cache_directory(fd)
    os.close(fd)


# The reference: patterns over a small alphabet, matched by recursion over characters and components.

CHARS = "ab"
COMPONENTS = st.sampled_from(["a", "b", "ab", "*", "?", "a*", "*b", "**", "[ab]", "[!a]", "?b", "*a*b"])
PATTERNS = st.builds(
    lambda negated, anchored, components, directory: (
        ("!" if negated else "") + ("/" if anchored else "") + "/".join(components) + ("/" if directory else "")
    ),
    st.booleans(),
    st.booleans(),
    st.lists(COMPONENTS, min_size=1, max_size=4),
    st.booleans(),
)
PATHS = st.lists(st.text(CHARS, min_size=1, max_size=3), min_size=1, max_size=5)


def _component_matches(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return _component_matches(pattern[1:], name) or (bool(name) and _component_matches(pattern, name[1:]))
    if not name:
        return False
    if pattern[0] == "[":
        inside, rest = pattern[1:].split("]", 1)
        matches = (name[0] not in inside[1:]) if inside[0] == "!" else (name[0] in inside)
        return matches and _component_matches(rest, name[1:])
    return pattern[0] in ("?", name[0]) and _component_matches(pattern[1:], name[1:])


def _components_match(patterns: list[str], names: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        least = 1 if len(patterns) == 1 else 0
        return any(_components_match(patterns[1:], names[skipped:]) for skipped in range(least, len(names) + 1))
    return bool(names) and _component_matches(patterns[0], names[0]) and _components_match(patterns[1:], names[1:])


def _matches(pattern: str, names: list[str], is_dir: bool) -> bool:
    body = pattern.removeprefix("!")
    if body.endswith("/") and not is_dir:
        return False
    components = body.strip("/").split("/")
    if body.startswith("/"):
        return _components_match(components, names)
    return any(_components_match(components, names[skipped:]) for skipped in range(len(names)))


@settings(max_examples=400, deadline=None)
@given(patterns=st.lists(PATTERNS, max_size=5), names=PATHS, is_dir=st.booleans())
def test_excludes_agree_with_the_reference(patterns: list[str], names: list[str], is_dir: bool) -> None:
    expected = False
    for pattern in patterns:
        if _matches(pattern, names, is_dir):
            expected = not pattern.startswith("!")
    assert _excluded(patterns, "/" + "/".join(names), is_dir=is_dir) is expected


@settings(max_examples=400, deadline=None)
@given(patterns=st.lists(PATTERNS.map(lambda pattern: pattern.removeprefix("!")), max_size=4), names=PATHS)
def test_includes_agree_with_the_reference_and_every_match_is_led_to(patterns: list[str], names: list[str]) -> None:
    inclusion = Inclusion(patterns)
    expected = not patterns or any(_matches(pattern, names, False) for pattern in patterns)
    assert inclusion.included(os.fsencode("/" + "/".join(names)), os.fsencode(names[-1]), False) is expected
    if expected:
        for depth in range(len(names)):
            assert inclusion.leads_to(os.fsencode("/" + "/".join(names[:depth])))


def test_includes_do_not_lead_where_nothing_can_match() -> None:
    inclusion = Inclusion(["/home/*/mail", "/srv/**/x", "/etc/"])
    assert [path for path in (b"/", b"/home", b"/home/eve", b"/srv", b"/srv/a\n/b") if not inclusion.leads_to(path)] == []
    assert [path for path in (b"/usr", b"/home/eve/mail", b"/home/eve/x", b"/homes", b"/etc") if inclusion.leads_to(path)] == []
    assert Inclusion(["x"]).leads_to(b"/anywhere")
    with pytest.raises(UsageError, match="only an exclude pattern"):
        Inclusion(["!x"])
