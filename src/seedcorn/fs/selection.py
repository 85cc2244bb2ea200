"""Which paths a person wants: exclude patterns for a backup, include patterns for a restore. Pure, but for the two functions that read a file.

Owns the pattern language. Must never know how a tree is walked: it judges one entry at a time, and its caller does not enter what is excluded.

A pattern is compared with

- the entry's name, if it has no ``/``: ``*.tmp``;
- the whole absolute path, if it starts with ``/``: ``/var/cache``;
- the end of the path, otherwise: ``node_modules/.cache``.

``*`` is any run of characters, ``?`` one character, ``[a-z]`` one of a set and ``[!a-z]`` one outside it; none of them matches ``/``. ``**`` as a
whole component is any number of components (at least one at the end of a pattern). ``\\`` takes the meaning from the next character. A ``/`` at
the end restricts a pattern to directories, and a ``!`` before it takes back what earlier ones said: the last pattern that matches an entry rules.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seedcorn.errors import UsageError

__all__ = ["Inclusion", "Selection", "is_cache_directory", "read_exclude_file"]

CACHE_TAG_NAME = b"CACHEDIR.TAG"
CACHE_TAG_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"  # of the Cache Directory Tagging Specification

_ENCODING = sys.getfilesystemencoding()
_Regex = re.Pattern[str]


@dataclass(frozen=True)
class _Pattern:
    components: tuple[str, ...]  # regular expressions; "**" stands for itself
    anchored: bool
    directories_only: bool
    negated: bool

    @property
    def of_name(self) -> bool:
        return not self.anchored and len(self.components) == 1

    def regex(self) -> str:
        """For the name, or for the whole path."""
        if self.of_name:
            return "[^/]*" if self.components[0] == "**" else self.components[0]
        parts = [] if self.anchored else ["(?:/[^/]*)*"]
        last = len(self.components) - 1
        for at, component in enumerate(self.components):
            if component != "**":
                parts.append("/" + component)
            else:
                parts.append("(?:/[^/]*)+" if at == last else "(?:/[^/]*)*")
        return "".join(parts)

    def prefix_regex(self) -> str:
        """For the paths of directories that a match of this anchored pattern may lie in."""
        regex = "(?:/.*)?" if self.components[-1] == "**" else ""
        for component in reversed(self.components[:-1]):
            regex = "(?:/.*)?" if component == "**" else f"(?:/{component}{regex})?"
        return regex


class _Run:
    """Consecutive patterns of one polarity: their order does not matter, so they are four regular expressions together."""

    def __init__(self, patterns: Sequence[_Pattern]) -> None:
        self.negated = patterns[0].negated
        for_files = [pattern for pattern in patterns if not pattern.directories_only]
        self._file_name, self._file_path = _combined(for_files)
        self._directory_name, self._directory_path = _combined(patterns)

    def matches(self, path: str, name: str, is_dir: bool) -> bool:
        of_name, of_path = (self._directory_name, self._directory_path) if is_dir else (self._file_name, self._file_path)
        return (of_name is not None and of_name.fullmatch(name) is not None) or (of_path is not None and of_path.fullmatch(path) is not None)


class Selection:
    """Excludes of a backup. Immutable once made; may be used from several threads."""

    def __init__(self, excludes: Sequence[str]) -> None:
        """Compile ``excludes``; later ones overrule earlier ones.

        Raises:
            UsageError: a pattern is malformed.
        """
        runs: list[list[_Pattern]] = []
        for pattern in map(_parse, excludes):
            if not runs or runs[-1][0].negated != pattern.negated:
                runs.append([])
            runs[-1].append(pattern)
        self._runs = [_Run(run) for run in reversed(runs)]

    def excluded(self, path: bytes, name: bytes, is_dir: bool) -> bool:
        """Whether the entry at the absolute ``path``, whose last component is ``name``, is left out, and with it all that is below it."""
        if not self._runs:
            return False
        path_text = path.decode(_ENCODING, "surrogateescape")
        name_text = name.decode(_ENCODING, "surrogateescape")
        for run in self._runs:
            if run.matches(path_text, name_text, is_dir):
                return not run.negated
        return False


class Inclusion:
    """Includes of a restore: an entry is wanted if it, or a directory that it is in, matches a pattern. Without patterns everything is."""

    def __init__(self, includes: Sequence[str]) -> None:
        """Compile ``includes``.

        Raises:
            UsageError: a pattern is malformed, or begins with ``!``.
        """
        patterns = [_parse(text) for text in includes]
        for text, pattern in zip(includes, patterns, strict=True):
            if pattern.negated:
                raise UsageError(f"include pattern {text!r}: only an exclude pattern can begin with '!'")
        self._run = _Run(patterns) if patterns else None
        floating = any(not pattern.anchored for pattern in patterns)
        self._prefixes = None if floating or not patterns else _compiled(pattern.prefix_regex() for pattern in patterns)

    def included(self, path: bytes, name: bytes, is_dir: bool) -> bool:
        """Whether the entry itself matches. Below a directory that does, everything is included and there is nothing more to ask."""
        if self._run is None:
            return True
        return self._run.matches(path.decode(_ENCODING, "surrogateescape"), name.decode(_ENCODING, "surrogateescape"), is_dir)

    def leads_to(self, path: bytes) -> bool:
        """Whether something below the directory at the absolute ``path`` may match, so that it has to be looked into."""
        if self._prefixes is None:
            return True
        return self._prefixes.fullmatch(path.rstrip(b"/").decode(_ENCODING, "surrogateescape")) is not None


def read_exclude_file(path: str | bytes) -> list[str]:
    """The patterns of a file, one on each line; white space around them, empty lines and lines that begin with ``#`` do not count.

    Raises:
        UsageError: the file can not be read.
    """
    try:
        with open(path, "rb") as file:
            lines = [os.fsdecode(line.strip()) for line in file.read().splitlines()]
    except OSError as error:
        raise UsageError(f"exclude file {os.fsdecode(path)}: {error.strerror}") from error
    return [line for line in lines if line and not line.startswith("#")]


def is_cache_directory(dir_fd: int) -> bool:
    """Whether an open directory is marked as a cache: it holds a regular file CACHEDIR.TAG that begins with the agreed signature."""
    try:
        fd = os.open(CACHE_TAG_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return False
    try:
        return os.read(fd, len(CACHE_TAG_SIGNATURE)) == CACHE_TAG_SIGNATURE
    except OSError:  # a directory, or a FIFO that somebody holds open
        return False
    finally:
        os.close(fd)


def _combined(patterns: Sequence[_Pattern]) -> tuple[_Regex | None, _Regex | None]:
    return (
        _compiled(pattern.regex() for pattern in patterns if pattern.of_name),
        _compiled(pattern.regex() for pattern in patterns if not pattern.of_name),
    )


def _compiled(regexes: Iterable[str]) -> _Regex | None:
    alternatives = "|".join(f"(?:{regex})" for regex in regexes)
    return re.compile(alternatives, re.DOTALL) if alternatives else None


def _parse(text: str) -> _Pattern:
    negated = text.startswith("!")
    body = text[1:] if negated else text
    components = [component for component in body.split("/") if component]
    if not components:
        raise UsageError(f"pattern {text!r} names nothing")
    if "." in components or ".." in components:
        raise UsageError(f"pattern {text!r}: '.' and '..' are in no path that is backed up; write the path without them")
    return _Pattern(
        components=tuple("**" if component == "**" else _component_regex(component, text) for component in components),
        anchored=body.startswith("/"),
        directories_only=body.endswith("/"),
        negated=negated,
    )


def _component_regex(component: str, text: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(component):
        char = component[at]
        at += 1
        if char == "*":
            if not parts or parts[-1] != "[^/]*":
                parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[":
            regex, at = _set_regex(component, at, text)
            parts.append(regex)
        elif char == "\\":
            if at == len(component):
                raise UsageError(f"pattern {text!r} has nothing after a backslash")
            parts.append(re.escape(component[at]))
            at += 1
        else:
            parts.append(re.escape(char))
    return "".join(parts)


def _set_regex(component: str, at: int, text: str) -> tuple[str, int]:
    """The regular expression of the set that begins before ``at``, and where it ends."""
    outside = component[at : at + 1] in ("!", "^")
    at += outside
    begin = at
    members = []
    while at == begin or component[at : at + 1] != "]":
        first, at = _set_member(component, at, text)
        last = first
        if component[at : at + 1] == "-" and component[at + 1 : at + 2] not in ("]", ""):
            last, at = _set_member(component, at + 1, text)
        if last < first:
            raise UsageError(f"pattern {text!r} has a range that ends before it begins: {first}-{last}")
        members.append(f"{re.escape(first)}-{re.escape(last)}")
    return f"(?!/)[{'^' if outside else ''}{''.join(members)}]", at + 1


def _set_member(component: str, at: int, text: str) -> tuple[str, int]:
    if component[at : at + 1] == "\\":
        at += 1
    if at >= len(component):
        raise UsageError(f"pattern {text!r} has a '[' without a ']'")
    return component[at], at + 1
