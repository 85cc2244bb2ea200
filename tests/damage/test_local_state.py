"""What a machine remembers, after a flipped bit, on a full disk and after a Ctrl-C: noticed or harmless, and never in the next snapshot."""

from __future__ import annotations

import itertools
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.acceptance.workshop import SettledClock

from seedcorn.errors import IntegrityError, SeedcornError
from seedcorn.format.tree import Node
from seedcorn.ops import access
from seedcorn.ops.backup.backup import BackupOptions
from seedcorn.repo.content import packer
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree, read_tree

FLIPS = 300
INTERRUPTIONS = 20


class Remembering:
    """A repository with one backup, and what its machine remembers of it, to be damaged again and again."""

    def __init__(self, repository: SmallRepository, tree: Path, folder: Path) -> None:
        self.repository = repository
        self.tree = make_tree(tree, {f"d{n}/f": b"content %d" % n for n in range(4)})
        repository.backup(tree)
        browser = repository.browser(fresh=True)
        self.listing = self.node(b"d2").content
        self.file = self.node(b"d2/f").content
        self.content = read_tree(browser)
        machine = repository.first
        machine.state.close()
        self._state, self._saved = machine.state.folder, folder
        shutil.copytree(self._state, folder)
        (self._database,) = folder.rglob("data.mdb")
        self.whole = self._database.read_bytes()
        assert isinstance(repository.store, MemoryStore)
        self._store, self._objects = repository.store, dict(repository.store.objects)

    def node(self, name: bytes) -> Node:
        browser = self.repository.browser()
        return browser.entry(browser.find("latest"), os.fsencode(self.tree) + b"/" + name).node

    def positions(self, part: bytes) -> list[int]:
        """Where the database has these bytes."""
        return [at for at in range(len(self.whole)) if self.whole.startswith(part, at)]

    def back_up_after_a_flip(self, at: int, bit: int = 0) -> None:
        """The next backup, or after an error the one after it, has everything."""
        self._store.objects = dict(self._objects)
        shutil.rmtree(self._state)
        shutil.copytree(self._saved, self._state)
        (self._state / self._database.relative_to(self._saved)).write_bytes(
            self.whole[:at] + bytes([self.whole[at] ^ 1 << bit]) + self.whole[at + 1 :]
        )
        problems = []
        try:
            self.back_up()
        except SeedcornError as error:
            problems.append(error)
            self.back_up()
        assert not any(isinstance(problem, IntegrityError) for problem in problems), "nothing is wrong with the repository"
        assert read_tree(self.repository.browser(fresh=True)) == self.content

    def back_up(self) -> None:
        machine = self.repository.first
        machine.state = access.open_state(self._state.parent, self.repository.made.repository)
        with closing(machine.state):
            assert machine.backup(self.tree).exit_code == 0


@pytest.fixture
def remembering(tmp_path: Path) -> Iterator[Remembering]:
    with SmallRepository(MemoryStore(), tmp_path / "machines", clock=SettledClock()) as repository:
        yield Remembering(repository, tmp_path / "tree", tmp_path / "saved")


PARTS: dict[str, Callable[[Remembering], bytes]] = {
    "the listing of a directory": lambda it: it.listing,
    "the content of a file": lambda it: it.file,
    "an object of the repository": lambda it: it.repository.store.get(next(iter(it.repository.store.list("hosts/"))).key),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_flipped_bit_in_what_is_remembered_of(part: str, remembering: Remembering) -> None:
    bytes_of_it = PARTS[part](remembering)
    positions = remembering.positions(bytes_of_it) or remembering.positions(bytes_of_it[100:200])
    assert positions
    for at in positions:
        remembering.back_up_after_a_flip(at + 5)


@pytest.mark.slow
def test_a_flipped_bit_anywhere(remembering: Remembering) -> None:
    chosen = random.Random(1)
    used = [at for at, byte in enumerate(remembering.whole) if byte]
    for _ in range(FLIPS):
        remembering.back_up_after_a_flip(chosen.choice(used), chosen.randrange(8))


# -- a full disk, and a Ctrl-C ---------------------------------------------------------------------------------------------------------------


@contextmanager
def files_no_longer_than(length: int) -> Iterator[None]:
    """Whoever makes a file longer hears of it from the kernel, as on a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_the_disk_of_the_state_is_full_at_any_point(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {f"d{n}/f{m}": os.urandom(500) for n in range(30) for m in range(3)})
    refused = 0
    for pages in itertools.count(14, 2):
        with SmallRepository(MemoryStore(), tmp_path / str(pages)) as repository:
            try:
                with files_no_longer_than(4096 * pages):
                    repository.backup(tree)
                break
            except SeedcornError as error:
                refused += str(repository.first.state.folder) in str(error) and "is its disk full" in str(error)
            assert repository.backup(tree).exit_code == 0
            content = read_tree(repository.browser(fresh=True))
            assert all(content[os.fsencode(path)] == path.read_bytes() for path in tree.rglob("f*"))
    assert refused == (pages - 14) // 2 > 3


@pytest.fixture
def interrupting() -> Iterator[None]:
    """The signal of the timer of this process's own seconds is a Ctrl-C."""
    usual = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, usual)


@pytest.mark.slow
@pytest.mark.usefixtures("interrupting")
def test_interrupted_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 1 << 20)
    tree = make_tree(tmp_path / "tree", {f"d{n}/f": random.Random(n).randbytes(300_000) for n in range(12)})
    options = BackupOptions("alpha", writer=WriterOptions(PackerOptions(workers=2), checkpoint_packs=1))
    interrupted = 0
    with SmallRepository(MemoryStore(), tmp_path / "machines", clock=SettledClock()) as repository:
        begun = os.times().user
        repository.backup(tree, options=options)
        usual_seconds = os.times().user - begun
        for number in range(INTERRUPTIONS):
            for path in tree.rglob("f"):
                path.write_bytes(os.urandom(300_000))
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, usual_seconds * (number + 1) / INTERRUPTIONS)
                repository.backup(tree, options=options)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            assert repository.backup(tree, options=options).exit_code == 0
            content = read_tree(repository.browser(fresh=True))
            assert all(content[os.fsencode(path)] == path.read_bytes() for path in tree.rglob("f"))
    assert interrupted > INTERRUPTIONS // 4
