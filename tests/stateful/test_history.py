"""Any sequence of edits and backups: every snapshot that was ever made restores to the tree as it was then.

The model is the disk itself, described just before each backup. Among the backups are such that fail in the middle, that lose the local state, read
everything, leave something out, or store a part only; all of them share one cache of listings, which must never show through.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.acceptance.workshop import SettledClock, Tree, Workshop, open_workshop, scratch

from seedcorn.errors import SeedcornError, StoreUnavailableError
from seedcorn.events import SystemClock
from seedcorn.fs.walk import BLOCK_ENTRIES, list_directory
from seedcorn.ops.backup import recall
from seedcorn.store.api import Buffer
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.trees import describe, differences

_LONG = bool(os.environ.get("SEEDCORN_TESTS_LONG"))
_TICK_SECONDS = 0.012  # the kernel stamps inodes with the time of its last tick, at most 10 ms ago
_SKIPPED = b".skip"
_NAMES = (b"a", b"b", b"c", b"d.skip", b"\xff\n")

names = st.sampled_from(_NAMES)
picks = st.integers(0, 1_000)
contents = st.one_of(
    st.binary(max_size=30),
    st.tuples(st.sampled_from([b"\0", b"text of a line\n", b"0123456789abcdef"]), st.sampled_from([100, 9_000, 140_000, 400_000])).map(
        lambda pair: (pair[0] * pair[1])[: pair[1]]
    ),
    st.tuples(st.integers(0, 3), st.sampled_from([5_000, 140_000, 500_000])).map(
        lambda pair: b"".join(b"%d.%d " % (pair[0], n) for n in range(pair[1] // 8))
    ),
)


@dataclass(frozen=True)
class _Made:
    id: str
    path: Path
    tree: Tree


class _FailingStore(MemoryStore):
    """Refuses every put from the ``remaining``-th on; None: none."""

    remaining: int | None = None

    def put(self, key: str, data: Buffer) -> None:
        if self.remaining is not None:
            if not self.remaining:
                raise StoreUnavailableError("refused by the test", key=key)
            self.remaining -= 1
        super().put(key, data)


class History(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = self.stack.enter_context(scratch())
        self.store = _FailingStore()
        self.workshop: Workshop = self.stack.enter_context(open_workshop(folder, self.store, settled=True))
        self.source = self.workshop.source
        self.made: list[_Made] = []
        self.unchecked: list[_Made] = []

    def teardown(self) -> None:
        with self.stack:
            for made in self.made:
                self._assert_restores(made)

    def _assert_restores(self, made: _Made) -> None:
        restored = self.workshop.restore(made.id, path=made.path)
        assert restored.errors == []
        assert differences(made.tree, restored.tree()) == []
        shutil.rmtree(restored.target)

    @initialize(block_entries=st.sampled_from([1, 2, BLOCK_ENTRIES]))
    def read_directories_in_blocks(self, block_entries: int) -> None:
        """Also as if every directory were larger than what is held of one at a time."""
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(list_directory, "__kwdefaults__", {"block_entries": block_entries})
        patch.setattr(recall, "BLOCK_ENTRIES", block_entries)
        patch.setattr(recall, "_PART_BYTES", 100 * block_entries)

    # -- picking -----------------------------------------------------------------------------------------------------------------------------

    def _paths(self) -> list[bytes]:
        top = os.fsencode(self.source)
        return sorted(os.path.join(folder, name) for folder, folders, files in os.walk(top) for name in (*folders, *files))

    def _pick(self, pick: int, *, files: bool = False, directories: bool = False) -> bytes | None:
        """An entry: any, or of the kinds that are asked for; of directories the source is one."""
        paths = self._paths()
        if files or directories:
            paths = [path for path in paths if not os.path.islink(path) and (os.path.isfile(path) if files else os.path.isdir(path))]
        if directories:
            paths.append(os.fsencode(self.source))
        return paths[pick % len(paths)] if paths else None

    def _free(self, pick: int, name: bytes) -> bytes | None:
        directory = self._pick(pick, directories=True)
        assert directory is not None
        path = os.path.join(directory, name)
        return None if os.path.lexists(path) or path.count(b"/") > os.fsencode(self.source).count(b"/") + 4 else path

    # -- edits -------------------------------------------------------------------------------------------------------------------------------

    @rule(pick=picks, name=names, content=contents)
    def write(self, pick: int, name: bytes, content: bytes) -> None:
        path = self._free(pick, name) or self._pick(pick, files=True)
        if path is not None:
            Path(os.fsdecode(path)).write_bytes(content)

    @rule(pick=picks, content=contents)
    def append(self, pick: int, content: bytes) -> None:
        if path := self._pick(pick, files=True):
            with open(path, "ab") as file:
                file.write(content)

    @rule(pick=picks, size=st.sampled_from([0, 1, 8_192, 100_000, 1 << 20]))
    def truncate(self, pick: int, size: int) -> None:
        if path := self._pick(pick, files=True):
            os.truncate(path, size)

    @rule(pick=picks, where=st.integers(0, 500_000), keep_times=st.booleans())
    def edit_in_place(self, pick: int, where: int, keep_times: bool) -> None:
        """Neither the size nor, perhaps, the time of change shows it."""
        path = self._pick(pick, files=True)
        if path is None or not (size := os.path.getsize(path)):
            return
        st_before = os.stat(path)
        with open(path, "r+b") as file:
            file.seek(where % size)
            old = file.read(1)
            file.seek(where % size)
            file.write(bytes([old[0] ^ 0x55]))
        if keep_times:
            os.utime(path, ns=(st_before.st_atime_ns, st_before.st_mtime_ns))

    @rule(pick=picks, other=picks, name=names)
    def move(self, pick: int, other: int, name: bytes) -> None:
        """Files, links, and directories with all that is in them."""
        path, target = self._pick(pick), self._free(other, name)
        if path and target and not target.startswith(path + b"/"):
            os.rename(path, target)

    @rule(pick=picks, other=picks)
    def move_over(self, pick: int, other: int) -> None:
        path, target = self._pick(pick, files=True), self._pick(other, files=True)
        if path and target:
            os.rename(path, target)

    @rule(pick=picks, other=picks)
    def swap(self, pick: int, other: int) -> None:
        """Two names change places, whatever they name."""
        path, target = self._pick(pick), self._pick(other)
        if path and target and not path.startswith(target) and not target.startswith(path):
            aside = os.fsencode(self.workshop.folder / "aside")
            os.rename(path, aside)
            os.rename(target, path)
            os.rename(aside, target)

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        if path := self._pick(pick):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    @rule(pick=picks, kind=st.sampled_from(["file", "directory", "link", "pipe"]))
    def change_kind(self, pick: int, kind: str) -> None:
        path = self._pick(pick)
        if path is None:
            return
        self.delete(pick)
        if kind == "file":
            Path(os.fsdecode(path)).write_bytes(b"was something else")
        elif kind == "directory":
            os.mkdir(path)
        elif kind == "link":
            os.symlink(b"somewhere", path)
        else:
            os.mkfifo(path)

    @rule(pick=picks, name=names)
    def make_directory(self, pick: int, name: bytes) -> None:
        if path := self._free(pick, name):
            os.mkdir(path)

    @rule(pick=picks, name=names, pointed_at=st.sampled_from([b"a", b"../b", b"/etc/passwd", b"\xff"]))
    def make_link(self, pick: int, name: bytes, pointed_at: bytes) -> None:
        if path := self._free(pick, name):
            os.symlink(pointed_at, path)

    @rule(pick=picks, other=picks, name=names)
    def make_hard_link(self, pick: int, other: int, name: bytes) -> None:
        path, target = self._pick(pick, files=True), self._free(other, name)
        if path and target:
            os.link(path, target)

    @rule(pick=picks, name=names, blocks=st.lists(st.integers(0, 9), max_size=3))
    def make_sparse(self, pick: int, name: bytes, blocks: list[int]) -> None:
        if path := self._free(pick, name):
            with open(path, "wb") as file:
                for block in blocks:
                    file.seek(block << 16)
                    file.write(b"data" * 1_000)
                file.truncate(10 << 16)

    @rule(pick=picks, mode=st.sampled_from([0o600, 0o644, 0o755, 0o700, 0o4711]))
    def change_mode(self, pick: int, mode: int) -> None:
        path = self._pick(pick)
        if path and not os.path.islink(path):
            os.chmod(path, mode | 0o700 if os.path.isdir(path) else mode)

    @rule(pick=picks, time_ns=st.sampled_from([0, 1, 10**18, 10**18 + 1]))
    def change_time(self, pick: int, time_ns: int) -> None:
        if path := self._pick(pick):
            os.utime(path, ns=(0, time_ns), follow_symlinks=False)

    @rule(pick=picks, value=st.binary(max_size=20))
    def change_attribute(self, pick: int, value: bytes) -> None:
        path = self._pick(pick)
        if path and not os.path.islink(path):
            with suppress(OSError):  # pipes have none
                os.setxattr(path, b"user.harvest", value)

    @rule(pick=picks)
    def touch_unchanged(self, pick: int) -> None:
        """Only the time of the inode's change is another."""
        if path := self._pick(pick):
            st_before = os.lstat(path)
            os.utime(path, ns=(st_before.st_atime_ns, st_before.st_mtime_ns), follow_symlinks=False)

    # -- backups -----------------------------------------------------------------------------------------------------------------------------

    @rule(settled=st.booleans(), force=st.booleans())
    def back_up(self, settled: bool, force: bool) -> None:
        self._back_up(self.source, describe(self.source), settled=settled, force=force)

    @rule()
    def back_up_again(self) -> None:
        self._back_up(self.source, describe(self.source))

    @rule()
    def back_up_with_excludes(self) -> None:
        self._back_up(self.source, _without_skipped(describe(self.source)), excludes=(f"*{_SKIPPED.decode()}",))

    @rule(pick=picks)
    def back_up_a_part(self, pick: int) -> None:
        directory = self._pick(pick, directories=True)
        assert directory is not None
        path = Path(os.fsdecode(directory))
        self._back_up(path, describe(path))

    @rule()
    def back_up_without_state(self) -> None:
        self.workshop.machine.forget_state()
        self._back_up(self.source, describe(self.source))

    @rule(puts=st.integers(0, 4))
    def back_up_and_fail(self, puts: int) -> None:
        before = describe(self.source)
        self.store.remaining = puts
        try:
            self._back_up(self.source, before)
        except SeedcornError:
            time.sleep(_TICK_SECONDS)
        finally:
            self.store.remaining = None

    @rule()
    def reopen_state(self) -> None:
        """As the next process does."""
        machine = self.workshop.machine
        repository, folder = machine.host_file.key.repository, machine.state.folder
        machine.state.close()
        machine.state = type(machine.state)(folder, repository)

    def _back_up(self, path: Path, tree: Tree, *, settled: bool = True, force: bool = False, excludes: tuple[str, ...] = ()) -> None:
        self.workshop.machine.clock = SettledClock() if settled else SystemClock()
        time.sleep(_TICK_SECONDS)
        run = self.workshop.backup(path, force=force, excludes=excludes)
        time.sleep(_TICK_SECONDS)
        assert run.result.exit_code == 0, run.result
        made = _Made(run.id, path, tree)
        self.made.append(made)
        self.unchecked.append(made)

    @precondition(lambda self: len(self.unchecked) >= 3)
    @invariant()
    def the_newest_restore(self) -> None:
        for made in self.unchecked:
            self._assert_restores(made)
        self.unchecked.clear()


def _without_skipped(tree: Tree) -> Tree:
    """What is left of a tree without the names that the pattern matches, and hard links among what is left."""
    kept = {path: entry for path, entry in tree.items() if not any(name.endswith(_SKIPPED) for name in path.split(b"/"))}
    names: dict[bytes, list[bytes]] = {}
    for path, entry in kept.items():
        if entry.link_group is not None:
            names.setdefault(entry.link_group, []).append(path)
    groups = {path: min(group) if len(group) > 1 else None for group in names.values() for path in group}
    return {path: replace(entry, link_group=groups.get(path)) for path, entry in kept.items()}


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=300 if _LONG else 10,
    stateful_step_count=60 if _LONG else 30,
    phases=[phase for phase in Phase if _LONG or phase is not Phase.shrink],  # a step takes tens of milliseconds: who wants a short history waits
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestHistory.pytestmark = [pytest.mark.timeout(3_600 if _LONG else 300)]  # type: ignore[attr-defined]  # unittest does not know of it, pytest does
