"""The trees that golden repositories hold, and the JSON form in which they say what restoring must give."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from seedcorn.testing.tree_state import Entry, describe

__all__ = ["change_tree", "from_json", "make_day", "make_tree", "make_work", "thin_work", "to_json"]

_TIME_NS = 1_700_000_000_123_456_789


def _noise(name: str, length: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(length)


def _text(lines: int) -> bytes:
    return b"".join(b"%06d the quick brown fox jumps over %d lazy dogs\n" % (number, number * 7919 % 1013) for number in range(lines))


def make_tree(folder: Path) -> None:
    """Every kind of node that an ordinary user can make, and every way in which content is stored."""
    folder.mkdir()
    (folder / "empty").write_bytes(b"")
    (folder / "small.txt").write_bytes(b"one chunk\n")
    (folder / "text.log").write_bytes(_text(9000))  # more records than a node holds itself
    (folder / "noise.bin").write_bytes(_noise("noise", 140_000))  # does not compress, and so lies in a frame of its own
    os.symlink(b"small.txt", folder / "link")
    os.symlink(b"/nowhere/\xff", folder / "dangling")
    os.mkfifo(folder / "fifo", 0o640)
    os.link(folder / "small.txt", folder / "second-name")
    os.setxattr(folder / "small.txt", "user.colour", b"\x00green\xff")
    with open(folder / "sparse", "wb") as file:
        file.truncate(1 << 20)
        file.seek(400 << 10)
        file.write(b"island")
    below = folder / os.fsdecode(b"caf\xc3\xa9 \xff\n")
    below.mkdir(mode=0o750)
    (below / "same.txt").write_bytes(b"one chunk\n")
    many = folder / "many"
    many.mkdir()
    for number in range(120):  # several listing chunks
        (many / f"entry-{number:03d}").write_bytes(b"%d\n" % number)
    (folder / "hollow").mkdir(mode=0o700)
    _set_times(folder)


def change_tree(folder: Path) -> None:
    """What happens before the second snapshot."""
    with open(folder / "text.log", "ab") as file:
        file.write(b"appended\n")
    (folder / "noise.bin").write_bytes(_noise("other noise", 140_000))
    (folder / "many" / "entry-007").unlink()
    (folder / "many" / "entry-120").write_bytes(b"new\n")
    (folder / "small.txt").chmod(0o4711)
    _set_times(folder)


def make_day(folder: Path, name: str) -> Path:
    """Very little that is in no other tree."""
    day = folder / "days" / name
    day.mkdir(parents=True, exist_ok=True)
    (day / "note").write_bytes(b"what there was to say of %b\n" % name.encode())
    _set_times(day)
    return day


def make_work(folder: Path, name: str) -> Path:
    """A few directories whose files do not compress."""
    work = folder / "jobs" / name
    for part in ("a", "b", "c", "d"):
        (work / part).mkdir(parents=True)
        (work / part / "noise").write_bytes(_noise(f"{name} {part}", 12_000))
    _set_times(work)
    return work


def thin_work(work: Path) -> None:
    """Half of it goes."""
    for part in ("c", "d"):
        shutil.rmtree(work / part)
    _set_times(work)


def _set_times(folder: Path) -> None:
    for parent, directories, files in os.walk(folder, topdown=False):
        for name in sorted(files + directories):
            seconds = sum(name.encode("utf-8", "surrogateescape"))
            os.utime(os.path.join(parent, name), ns=(_TIME_NS, _TIME_NS + seconds * 10**9), follow_symlinks=False)
    os.utime(folder, ns=(_TIME_NS, _TIME_NS))


def to_json(folder: Path) -> dict[str, Any]:
    """What ``describe`` finds, as JSON: bytes in hexadecimal, paths as keys."""
    return {path.hex(): _plain(dataclasses.asdict(entry)) for path, entry in sorted(describe(folder).items())}


def from_json(described: dict[str, Any]) -> dict[bytes, Entry]:
    """The other way round."""
    return {bytes.fromhex(path): _entry(fields) for path, fields in described.items()}


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    fields["xattrs"] = [[name.hex(), value.hex()] for name, value in fields["xattrs"]]
    for name in ("target", "link_group"):
        fields[name] = None if fields[name] is None else fields[name].hex()
    return fields


def _entry(fields: dict[str, Any]) -> Entry:
    changed = dict(fields)
    changed["xattrs"] = tuple((bytes.fromhex(name), bytes.fromhex(value)) for name, value in fields["xattrs"])
    changed["holes"] = tuple(tuple(hole) for hole in fields["holes"])
    for name in ("target", "link_group"):
        changed[name] = None if fields[name] is None else bytes.fromhex(fields[name])
    return Entry(**changed)
