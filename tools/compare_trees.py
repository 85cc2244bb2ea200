"""Compares a restored directory with its source, by something that shares no code with seedcorn.

rsync does it where it is installed (what it would still have to copy is a difference). Otherwise, and where rsync meets something it can not read,
this module reads both trees itself. Knows nothing of repositories. Paths are bytes relative to the two roots; the roots themselves are ``b"."``.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

_READ_BYTES = 1 << 20
_ITEM_WIDTH = 11  # of rsync's %i, for example ">fcst......" or "*deleting  "
_ESCAPED = re.compile(rb"\\#([0-7]{3})")  # how rsync writes bytes that would upset a terminal


@dataclass(frozen=True)
class Difference:
    """One path that is not the same on both sides."""

    path: bytes
    what: str


def comparer_name() -> str:
    """What ``compare_trees`` compares with, for people."""
    return "rsync" if shutil.which("rsync") else "a second reader (rsync is not installed)"


def compare_trees(source: bytes, restored: bytes) -> list[Difference]:
    """Everything that differs: content, kind, mode, owner, times to the nanosecond, links, devices, extended attributes and ACLs."""
    found = compare_with_rsync(source, restored) if shutil.which("rsync") else None
    return list(compare_by_reading(source, restored)) if found is None else found


def compare_with_rsync(source: bytes, restored: bytes) -> list[Difference] | None:
    """What rsync would copy or delete to make the two equal; None if it could not look at all of it."""
    options = ["-aHAX", "--checksum", "--numeric-ids", "--modify-window=-1", "--delete", "--dry-run", "--out-format=%i %n"]
    command: list[str | bytes] = ["rsync", *options, "--", source + b"/", restored + b"/"]
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode:
        return None
    found = []
    for line in result.stdout.splitlines():
        what, name = line[:_ITEM_WIDTH].strip().decode(), line[_ITEM_WIDTH + 1 :]
        path = _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), name)
        found.append(Difference(path.rstrip(b"/"), "only in the restored tree" if what == "*deleting" else what))
    return found


def compare_by_reading(source: bytes, restored: bytes) -> Iterator[Difference]:
    """The same without rsync."""
    ours, theirs = _tree(source), _tree(restored)
    for path in sorted(ours.keys() | theirs.keys()):
        if path not in theirs:
            yield Difference(path, "missing from the restored tree")
        elif path not in ours:
            yield Difference(path, "only in the restored tree")
        else:
            try:
                differing = list(_differing(os.path.join(source, path), os.path.join(restored, path)))
            except OSError as error:
                differing = [f"can not be read: {error.strerror}"]
            if differing:
                yield Difference(path, ", ".join(differing))
    for path, (one, other) in _link_groups(ours, theirs).items():
        if one != other:
            yield Difference(path, "hard link")


def _tree(root: bytes) -> dict[bytes, os.stat_result]:
    found = {b".": os.lstat(root)}
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            names = os.listdir(os.path.join(root, folder))
        except OSError:  # _differing says so: it lists directories too
            continue
        for name in names:
            path = os.path.join(folder, name)
            try:
                found[path] = os.lstat(os.path.join(root, path))
            except FileNotFoundError:  # removed meanwhile
                continue
            if stat.S_ISDIR(found[path].st_mode):
                pending.append(path)
    return found


def _differing(source: bytes, restored: bytes) -> Iterator[str]:
    ours, theirs = os.lstat(source), os.lstat(restored)
    if stat.S_IFMT(ours.st_mode) != stat.S_IFMT(theirs.st_mode):
        yield "kind"
        return
    is_link = stat.S_ISLNK(ours.st_mode)
    if not is_link and stat.S_IMODE(ours.st_mode) != stat.S_IMODE(theirs.st_mode):
        yield "mode"
    if os.geteuid() == 0 and (ours.st_uid, ours.st_gid) != (theirs.st_uid, theirs.st_gid):
        yield "owner"
    if ours.st_mtime_ns != theirs.st_mtime_ns:
        yield "time"
    if ours.st_rdev != theirs.st_rdev:
        yield "device"
    if is_link and os.readlink(source) != os.readlink(restored):
        yield "link target"
    if stat.S_ISDIR(ours.st_mode):
        for folder in (source, restored):
            os.listdir(folder)  # raises where the entries could not be compared
    if stat.S_ISREG(ours.st_mode) and not _same_content(source, restored):
        yield "content"
    if _xattrs(source) != _xattrs(restored):
        yield "extended attributes"


def _same_content(source: bytes, restored: bytes) -> bool:
    with open(source, "rb") as ours, open(restored, "rb") as theirs:
        while True:
            piece = ours.read(_READ_BYTES)
            if piece != theirs.read(_READ_BYTES):
                return False
            if not piece:
                return True


def _xattrs(path: bytes) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:  # a file system without them
        return {}
    mine = names if os.geteuid() == 0 else [name for name in names if name.startswith("user.")]  # the others only root can set
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in mine}


def _link_groups(ours: dict[bytes, os.stat_result], theirs: dict[bytes, os.stat_result]) -> dict[bytes, tuple[bytes, bytes]]:
    """For each file in both trees, the first of the paths it is linked with on either side."""
    first_of_ours: dict[tuple[int, int], bytes] = {}
    first_of_theirs: dict[tuple[int, int], bytes] = {}
    groups = {}
    for path in sorted(ours.keys() & theirs.keys()):
        if stat.S_ISREG(ours[path].st_mode) and stat.S_ISREG(theirs[path].st_mode):
            one = first_of_ours.setdefault((ours[path].st_dev, ours[path].st_ino), path)
            other = first_of_theirs.setdefault((theirs[path].st_dev, theirs[path].st_ino), path)
            groups[path] = (one, other)
    return groups
