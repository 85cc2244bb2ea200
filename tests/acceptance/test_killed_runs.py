"""A backup is killed, with SIGKILL, at ten moments spread over the run. Nothing is lost, nothing lies, and the next run goes on where it was."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.acceptance.backup_child import run_backup
from tests.acceptance.workshop import Tree, scratch

from seedcorn.crypto.primitives import object_hash
from seedcorn.events import VoidMonitor
from seedcorn.ops import access
from seedcorn.ops.browse import Browser, open_browser
from seedcorn.ops.restore.restore import RestoreOptions, restore
from seedcorn.store.api import check_key
from seedcorn.store.local import LocalStore
from seedcorn.testing.repositories import SmallRepository, make_tree
from seedcorn.testing.trees import describe, differences

_CHILD = Path(__file__).with_name("backup_child.py")
_MIB = 1 << 20
_SMALL_THINGS_BYTES = 2 * _MIB  # segments, listings and snapshots, of which a killed run may have put some for nothing


class _Site:
    """The files of one machine and its repository, in one folder that can be copied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository, self.host, self.state, self.words = (folder / name for name in ("repository", "host", "state", "words"))
        self._visits = 0

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.repository)

    def copy(self, folder: Path) -> _Site:
        shutil.copytree(self.folder, folder)
        return _Site(folder)

    def start(self, source: Path) -> subprocess.Popen[bytes]:
        """A backup in a child process, once it has begun to scan."""
        child = subprocess.Popen(
            [sys.executable, _CHILD, self.repository, self.host, self.state, source],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child

    def stored_bytes(self, prefix: str = "") -> int:
        return sum(info.size_bytes for info in self.store.list(prefix))

    @contextmanager
    def browser(self) -> Iterator[Browser]:
        """For an owner who has never seen the repository; who finds nothing wrong with it."""
        self._visits += 1
        owner = access.open_owner_with_words(self.store, self.words.read_text())
        state = access.open_state(self.folder / f"visit-{self._visits}", owner.repository)
        try:
            browser = open_browser(owner, state)
            assert browser.problems == ()
            yield browser
        finally:
            state.close()

    def assert_restores(self, browser: Browser, reference: str, source: Path, tree: Tree) -> None:
        target = self.folder / "restored"
        result = restore(browser, browser.find(reference), os.fsencode(source), RestoreOptions(target), VoidMonitor())
        assert result.errors == ()
        assert differences(tree, describe(target)) == []
        shutil.rmtree(target)


@dataclass(frozen=True)
class _Ground:
    """What all the kills begin with: a site with two snapshots of a small tree, and a larger tree that is to be backed up next."""

    site: _Site
    source: Path
    early: tuple[Tree, Tree]
    tree: Tree
    run_seconds: float  # what it takes
    run_bytes: int  # and what it puts


@pytest.fixture(scope="module")
def ground() -> Iterator[_Ground]:
    with scratch() as folder:
        source, site = folder / "source", _Site(folder / "site")
        make_tree(source, {f"early/{number}": random.Random(number).randbytes(40_000) for number in range(50)})
        site.folder.mkdir()
        with SmallRepository(site.store, folder / "states") as repository:
            site.host.write_bytes(repository.first.host_file.serialize())
            site.words.write_text(repository.words)
        early = []
        for content in (b"first", b"edited"):
            (source / "early" / "7").write_bytes(content)
            early.append(describe(source))
            run_backup(site.repository, site.host, site.state, source)
        _fill(source)
        rehearsal = site.copy(folder / "rehearsal")
        begun = time.monotonic()
        child = rehearsal.start(source)
        assert child.communicate(timeout=120)[0] == b"done\n"
        run_seconds = time.monotonic() - begun
        yield _Ground(site, source, (early[0], early[1]), describe(source), run_seconds, rehearsal.stored_bytes() - site.stored_bytes())


def _fill(source: Path) -> None:
    """About 80 MiB: files that do not compress, text, and many small ones. With packs of 4 MiB they stand for ten times as much."""
    generator = random.Random(2008)
    for number in range(13):
        (source / f"random {number}").write_bytes(generator.randbytes(generator.randrange(1, 10 * _MIB)))
    words = [b"%x" % generator.getrandbits(40) for _ in range(5_000)]
    for number in range(5):
        (source / f"text {number}").write_bytes(b" ".join(generator.choices(words, k=300_000)))
    (source / "small").mkdir()
    for number in range(1_500):
        (source / "small" / str(number)).write_bytes(generator.randbytes(generator.randrange(3_000)))


@pytest.mark.parametrize("tenth", range(10))
def test_killed_in_tenth(tenth: int, ground: _Ground, folder: Path) -> None:
    site = ground.site.copy(folder / "site")
    seconds = ground.run_seconds * (tenth + random.Random(tenth).random()) / 10
    _kill_after(site.start(ground.source), seconds)

    for info in site.store.list(""):
        check_key(info.key)  # no temporary file is visible
        if info.key.startswith("packs/"):  # and what is visible is whole
            assert object_hash(site.store.get(info.key)).hex() == info.key.rpartition("/")[2]
    with site.browser() as browser:
        committed = len(browser.snapshots) == 3
        assert committed or len(browser.snapshots) == 2
        for snapshot, tree in zip(browser.snapshots, ground.early, strict=False):
            site.assert_restores(browser, snapshot.id.hex(), ground.source, tree)
        indexed_bytes = sum(sealed for _, _, sealed, _ in browser.state.frames()) - ground.site.stored_bytes("packs/")

    before = site.stored_bytes()
    assert run_backup(site.repository, site.host, site.state, ground.source).exit_code == 0
    assert site.stored_bytes() - before <= (0 if committed else ground.run_bytes - indexed_bytes) + _SMALL_THINGS_BYTES
    assert run_backup(site.repository, site.host, site.state, ground.source).exit_code == 0
    with site.browser() as browser:
        site.assert_restores(browser, "latest", ground.source, ground.tree)


def _kill_after(child: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode in (0, -signal.SIGKILL)
