"""The comparison that other tests rely on does see each kind of difference."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from seedcorn.testing.trees import describe, differences


def _rewrite(path: Path, make: Callable[[], object]) -> None:
    path.unlink()
    make()


CHANGES: dict[str, Callable[[Path], object]] = {
    "file: mode": lambda path: (path / "file").chmod(0o600),
    "file: uid": lambda path: os.chown(path / "file", 5, -1),
    "file: gid": lambda path: os.chown(path / "file", -1, 5),
    "file: mtime_ns": lambda path: os.utime(path / "file", ns=(1, 1)),
    "file: size": lambda path: os.truncate(path / "file", 3),
    "file: digest": lambda path: (path / "file").write_text("CONTENT"),
    "file: xattrs": lambda path: os.setxattr(path / "file", b"user.x", b""),
    "file: link_group": lambda path: _rewrite(path / "hard", lambda: (path / "hard").write_text("content")),
    "link: target": lambda path: _rewrite(path / "link", lambda: (path / "link").symlink_to("elsewhere")),
    "device: rdev": lambda path: _rewrite(path / "device", lambda: os.mknod(path / "device", 0o20644, os.makedev(1, 5))),
    "device: kind": lambda path: _rewrite(path / "device", lambda: os.mknod(path / "device", 0o60644, os.makedev(1, 3))),
    "sparse: holes": lambda path: (path / "sparse").write_bytes(bytes(1 << 17)),
    "new: only after": lambda path: (path / "new").touch(),
    "link: only before": lambda path: (path / "link").unlink(),
    "directory/below: digest": lambda path: (path / "directory/below").write_text("y"),
    ".: mode": lambda path: path.chmod(0o711),
}


@pytest.mark.parametrize("expected", CHANGES)
def test_a_difference_is_seen(scratch: Path, expected: str) -> None:
    (scratch / "file").write_text("content")
    (scratch / "hard").hardlink_to(scratch / "file")
    (scratch / "link").symlink_to("file")
    (scratch / "directory").mkdir()
    (scratch / "directory/below").write_text("x")
    (scratch / "sparse").touch()
    os.truncate(scratch / "sparse", 1 << 17)
    os.mknod(scratch / "device", 0o20644, os.makedev(1, 3))
    before = describe(scratch)
    assert differences(before, describe(scratch)) == []
    CHANGES[expected](scratch)
    assert any(line.startswith(expected) for line in differences(before, describe(scratch)))
