"""A flipped bit in what a machine remembers between its runs: noticed or harmless, and never in the next snapshot."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from seedcorn.errors import IntegrityError, SeedcornError
from seedcorn.events import SystemClock
from seedcorn.format.tree import Node
from seedcorn.ops import access
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository, make_tree, read_tree

FLIPS = 300


class SettledClock(SystemClock):
    """Runs ahead of the file system's, so that new files count as unchanged at once."""

    def now_ns(self) -> int:
        return super().now_ns() + 10 * 10**9


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
