"""Standard input as one file: every size around a limit, and what is given is what comes back."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.acceptance.program import Program
from tests.acceptance.workshop import Workshop

from seedcorn.errors import UsageError
from seedcorn.events import RecordingMonitor, SystemClock
from seedcorn.ops.backup.backup import BackupOptions, BackupResult, backup_stream

_KIB, _MIB = 1 << 10, 1 << 20
_SIZES = (0, 1, 64 * _KIB - 1, 64 * _KIB, 64 * _KIB + 1, 256 * _KIB, 256 * _KIB + 1, _MIB - 1, _MIB, _MIB + 1, 5 * _MIB, 9 * _MIB + 7)


def _stream(workshop: Workshop, read_into: Callable[[memoryview], int], name: bytes = b"stdin") -> BackupResult:
    machine = workshop.machine
    return backup_stream(machine.repository, machine.state, read_into, name, BackupOptions("alpha"), SystemClock(), RecordingMonitor())


def _in_drops(content: bytes, seed: int) -> Callable[[memoryview], int]:
    """As a pipe gives it: never as much as was asked for."""
    source, generator = io.BytesIO(content), random.Random(seed)
    return lambda view: source.readinto(view[: generator.choice((1, 100, 4096, 65_536, 1 << 20))])


def _assert_comes_back(workshop: Workshop, result: BackupResult, content: bytes, name: str = "stdin") -> None:
    assert result.snapshot is not None
    restored = workshop.restore(result.snapshot.hex(), path=f"/{name}")
    assert restored.errors == []
    assert (restored.target / name).read_bytes() == content
    assert result.statistics.source_file_size == len(content)


@pytest.mark.parametrize("kind", ["noise", "zeros", "text"])
@pytest.mark.parametrize("size", _SIZES)
def test_every_size(workshop: Workshop, size: int, kind: str) -> None:
    makers: dict[str, Callable[[int], bytes]] = {
        "noise": random.Random(size).randbytes,
        "zeros": bytes,
        "text": lambda size: (b"INSERT INTO harvest VALUES (1893);\n" * (size // 35 + 1))[:size],
    }
    content = makers[kind](size)
    _assert_comes_back(workshop, _stream(workshop, _in_drops(content, size)), content)
    again = _stream(workshop, io.BytesIO(content).readinto)
    assert again.statistics.raw_delta_size == 0, "cuts do not depend on how the stream came"
    _assert_comes_back(workshop, again, content)


def test_a_dump_that_grows_in_the_middle(workshop: Workshop) -> None:
    content = b"".join(b"row %d\n" % number for number in range(400_000))
    _stream(workshop, io.BytesIO(content).readinto)
    later = content[:1_000_000] + b"new rows\n" * 100 + content[1_000_000:]
    result = _stream(workshop, io.BytesIO(later).readinto)
    assert result.statistics.raw_delta_size < 3 * 256 * _KIB
    _assert_comes_back(workshop, result, later)


def test_a_source_that_fails_makes_no_snapshot(workshop: Workshop) -> None:
    def read_into(view: memoryview) -> int:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        _stream(workshop, read_into)
    assert not any(key.startswith("snapshots/") for key in workshop.objects)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0"])
def test_names_that_are_none(workshop: Workshop, name: bytes) -> None:
    with pytest.raises(UsageError):
        _stream(workshop, io.BytesIO(b"x").readinto, name)


def test_from_a_pipe(folder: Path) -> None:
    program = Program(folder / "machine", folder / "repository")
    assert program.run("init", secret=True).code == 0
    content = os.urandom(300_000)
    summary = program.run("backup", "--stdin", "--stdin-filename", "dump.sql", "--json", given=content).summary
    restored = program.run("restore", f"{summary['snapshot_id']}:/dump.sql", "--target", folder / "target", secret=True)
    assert restored.code == 0, restored
    assert (folder / "target" / "dump.sql").read_bytes() == content
