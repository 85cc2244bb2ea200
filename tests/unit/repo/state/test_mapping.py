"""Pages of a mapped file stop counting as memory, and are there again when they are wanted."""

from __future__ import annotations

import mmap
from pathlib import Path

from seedcorn.repo.state.mapping import FileMapping

_SIZE = 8 << 20


def _resident_bytes(path: Path) -> int:
    """How much of the file is mapped into this process."""
    resident, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.split(":", 1)[0].isalnum():
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            resident += int(line.split()[1]) * 1024
    return resident


def test_what_was_touched_is_released_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "with a space"
    path.write_bytes(b"0123456789abcdef" * (_SIZE // 16))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapping = FileMapping(path)
        content = bytes(mapped)
        mapped[5] = ord("x")  # a change that only the mapping has seen so far
        assert _resident_bytes(path) == _SIZE
        mapping.release()
        assert _resident_bytes(path) < _SIZE // 8
        assert bytes(mapped) == content[:5] + b"x" + content[6:]
    assert path.read_bytes()[5] == ord("x")


def test_a_file_that_is_not_mapped_is_no_trouble(tmp_path: Path) -> None:
    FileMapping(tmp_path / "absent").release()
