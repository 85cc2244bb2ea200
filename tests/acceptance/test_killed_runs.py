"""A backup is killed, with SIGKILL, at ten moments spread over the run. Nothing is lost, nothing lies, and the next run goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from seedcorn.crypto.primitives import object_hash
from seedcorn.ops import access
from seedcorn.repo.writer import WriterOptions
from seedcorn.store.api import check_key
from seedcorn.store.local import LocalStore
from seedcorn.testing.repositories import SmallRepository, make_tree
from seedcorn.testing.trees import describe
from tests.acceptance.workshop import Tree, Workshop, scratch

_CHILD = Path(__file__).with_name("backup_child.py")
_MIB = 1 << 20
_RANDOM_FILES, _TEXT_FILES, _SMALL_FILES = 26, 10, 1_500
_SMALL_THINGS_BYTES = 2 * _MIB  # segments, listings and snapshots, of which a killed run may have put some for nothing


@dataclass(frozen=True)
class _Ground:
    """What all the kills share: a tree, a repository with two snapshots of an earlier and smaller one, and what a whole run takes."""

    folder: Path
    early: tuple[Tree, Tree]
    tree: Tree
    whole_seconds: float
    whole_bytes: int


@pytest.fixture(scope="module")
def ground() -> Iterator[_Ground]:
    with scratch() as folder:
        source = folder / "source"
        make_tree(source, {f"early/{number}": random.Random(number).randbytes(40_000) for number in range(50)})
        with _opened(folder) as workshop:
            (folder / "host").write_bytes(workshop.machine.host_file.serialize())
            (folder / "words").write_text(workshop.repository.words)
            early = describe(source)
            workshop.backup()
            (source / "early" / "7").write_bytes(b"edited")
            edited = describe(source)
            workshop.backup()
        _fill(source)
        rehearsal = folder / "rehearsal"
        _copy_repository(folder, rehearsal)
        before = _stored_bytes(rehearsal)
        begun = time.monotonic()
        child = _start(rehearsal, source)
        assert child.communicate(timeout=120)[0] == b"done\n"
        seconds = time.monotonic() - begun
        yield _Ground(folder, (early, edited), describe(source), seconds, _stored_bytes(rehearsal) - before)


def _fill(source: Path) -> None:
    """About 160 MiB in files of several sizes: incompressible ones, text, and many small ones."""
    generator = random.Random(2008)
    for number in range(_RANDOM_FILES):
        (source / f"random {number}").write_bytes(generator.randbytes(generator.randrange(1, 10 * _MIB)))
    words = [b"%x" % generator.getrandbits(40) for _ in range(5_000)]
    for number in range(_TEXT_FILES):
        (source / f"text {number}").write_bytes(b" ".join(generator.choices(words, k=300_000)))
    (source / "small").mkdir()
    for number in range(_SMALL_FILES):
        (source / "small" / str(number)).write_bytes(generator.randbytes(generator.randrange(3_000)))


def _opened(folder: Path) -> _Opened:
    return _Opened(folder)


class _Opened:
    """A workshop on the repository in ``folder``: a new one, or the one that is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Workshop:
        self._repository = SmallRepository(LocalStore(self._folder / "repository"), self._folder / "states")
        return Workshop(self._folder, self._repository)

    def __exit__(self, *_: object) -> None:
        self._repository.__exit__()


def _copy_repository(ground: Path, to: Path) -> None:
    shutil.copytree(ground / "repository", to / "repository")
    shutil.copytree(ground / "states" / "state-1", to / "state")
    shutil.copy(ground / "host", to / "host")
    (to / "host").chmod(0o600)


def _start(folder: Path, source: Path) -> subprocess.Popen[bytes]:
    """The child, once it has begun to scan."""
    child = subprocess.Popen(
        [sys.executable, _CHILD, folder / "repository", folder / "host", folder / "state", source],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


def _stored_bytes(folder: Path) -> int:
    return sum(info.size_bytes for info in LocalStore(folder / "repository").list(""))


@pytest.mark.parametrize("moment", range(10))
def test_killed_at_a_moment_of(moment: int, ground: _Ground, folder: Path) -> None:
    _copy_repository(ground.folder, folder)
    source = ground.folder / "source"
    child = _start(folder, source)
    wait = ground.whole_seconds * (moment + random.Random(moment).random()) / 10
    killed = _kill_after(child, wait)

    store = LocalStore(folder / "repository")
    present = {check_key(info.key): info.size_bytes for info in store.list("")}
    for key in present:
        if key.startswith("packs/"):  # what is visible is whole
            assert object_hash(store.get(key)).hex() == key.rpartition("/")[2]

    words = (ground.folder / "words").read_text()
    reader = _Reader(store, words, folder)
    for reference, tree in zip(("latest~1", "latest") if killed else ("latest~2", "latest~1"), ground.early, strict=True):
        reader.assert_restores(reference, source, tree)

    indexed = reader.indexed_pack_bytes(present)
    earlier = sum(size for key, size in _packs(ground.folder).items())
    before = store.requests.put_bytes
    host = access.HostFile.parse((folder / "host").read_bytes(), source="host")
    result = _finish(store, host, folder / "state", source)
    assert result == 0
    put_bytes = store.requests.put_bytes - before
    if killed:
        assert put_bytes <= ground.whole_bytes - (indexed - earlier) + _SMALL_THINGS_BYTES
    else:
        assert put_bytes <= _SMALL_THINGS_BYTES
    reader.assert_restores("latest", source, ground.tree)
    assert _finish(store, host, folder / "state", source) == 0
    reader.assert_no_problems()


def _kill_after(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the kill was in time."""
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
    assert child.stdout is not None
    said = child.stdout.read()
    child.stdout.close()
    child.wait()
    assert child.returncode in (0, -signal.SIGKILL)
    return said != b"done\n"


def _packs(folder: Path) -> dict[str, int]:
    return {info.key: info.size_bytes for info in LocalStore(folder / "repository").list("packs/")}


def _finish(store: LocalStore, host: access.HostFile, state: Path, source: Path) -> int:
    from seedcorn.events import SystemClock, VoidMonitor
    from seedcorn.ops.backup import BackupOptions, backup

    opened = access.open_host(store, host)
    kept = access.open_state(state, opened.repository)
    try:
        options = BackupOptions(host.name, writer=WriterOptions(checkpoint_packs=2))
        return backup(opened, kept, [os.fsencode(source)], options, SystemClock(), VoidMonitor()).exit_code
    finally:
        kept.close()


class _Reader:
    """An owner who each time comes new to the repository."""

    def __init__(self, store: LocalStore, words: str, folder: Path) -> None:
        self._store = store
        self._words = words
        self._folder = folder
        self._visits = 0
