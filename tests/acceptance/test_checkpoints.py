"""Between the first pack and the snapshot: whatever goes wrong there, no snapshot ever refers to something that can not be found."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.acceptance.workshop import Workshop, open_workshop

from seedcorn.errors import SeedcornError, StoreUnavailableError
from seedcorn.format.pack import PackEntry
from seedcorn.repo.content import packer
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.store.api import Buffer
from seedcorn.store.local import LocalStore
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe


class _FailingStore(MemoryStore):
    """Refuses puts below ``refused``."""

    refused: tuple[str, ...] = ()

    def put(self, key: str, data: Buffer) -> None:
        if key.startswith(self.refused):
            raise StoreUnavailableError("refused by the test", key=key)
        super().put(key, data)


class _DyingStore(MemoryStore):
    """Refuses all puts after some."""

    puts_left: int | None = None

    def put(self, key: str, data: Buffer) -> None:
        if self.puts_left is not None:
            if self.puts_left <= 0:
                raise StoreUnavailableError("refused by the test", key=key)
            self.puts_left -= 1
        super().put(key, data)


def _fill(workshop: Workshop) -> None:
    make_tree(workshop.source, {f"d{number}/f{number}": random.Random(number).randbytes(3_000) for number in range(30)})


@pytest.mark.parametrize("refused", [("packs/",), ("index/",), ("snapshots/",), ("packs/", "index/", "snapshots/")])
def test_after_a_run_that_failed_in_the_same_process(folder: Path, refused: tuple[str, ...]) -> None:
    store = _FailingStore()
    with open_workshop(folder, store, settled=True) as workshop:
        _fill(workshop)
        for _ in range(2):
            store.refused = refused
            with pytest.raises(SeedcornError):
                workshop.backup()
            store.refused = ()
            assert workshop.backup().result.exit_code == 0
            workshop.assert_restores("latest", describe(workshop.source))
            make_tree(workshop.source, {"d3/f3": b"edited", "d4/new": b"new"})


_FAILING_RUN = """
import os, sys
from pathlib import Path
from seedcorn.errors import StoreUnavailableError
from seedcorn.events import VoidMonitor
from seedcorn.ops import access
from seedcorn.ops.backup.backup import BackupOptions, backup
from seedcorn.store.local import LocalStore
from tests.acceptance.workshop import SettledClock

class Refusing(LocalStore):
    def put(self, key, data):
        raise StoreUnavailableError("refused by the test", key=key)

repository, host_file, state, source = map(Path, sys.argv[1:])
host = access.HostFile.parse(host_file.read_bytes(), source="host")
opened = access.open_host(Refusing(repository), host)
try:
    backup(opened, access.open_state(state, opened.repository), [os.fsencode(source)], BackupOptions("x"), SettledClock(), VoidMonitor())
except StoreUnavailableError:
    print("failed")
"""


def test_beside_another_process_that_failed(folder: Path) -> None:
    """Both have the local state open; the one that goes on must not believe listings whose content the other never stored."""
    with open_workshop(folder, LocalStore(folder / "repository"), settled=True) as workshop:  # its state is open from here on
        _fill(workshop)
        (folder / "host").write_bytes(workshop.machine.host_file.serialize())
        shared = workshop.machine.state.folder.parent
        arguments = [folder / "repository", folder / "host", shared, workshop.source]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))}
        other = subprocess.run([sys.executable, "-c", _FAILING_RUN, *arguments], env=environment, capture_output=True, check=True, timeout=60)
        assert other.stdout == b"failed\n"
        assert workshop.backup().result.exit_code == 0
        workshop.assert_restores("latest", describe(workshop.source))


def test_packs_that_arrive_while_a_checkpoint_is_written(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow entries widen the window in which a finished pack can be taken for the checkpoint before."""
    real, generator = PackEntry, random.Random(5)

    def slow_entry(*fields: object) -> object:
        time.sleep(generator.uniform(0.0, 0.15))
        return real(*fields)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(packer, "PackEntry", slow_entry)
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 2 << 20)
    for number in range(12):
        (workshop.source / str(number)).write_bytes(random.Random(number).randbytes(5 << 20))
    run = workshop.backup(writer=WriterOptions(checkpoint_packs=1))
    assert run.packs > 20
    in_store = sum(key.startswith("packs/") for key in workshop.objects)
    assert len(list(workshop.repository.browser(fresh=True).state.packs())) == in_store == run.packs
    workshop.assert_restores("latest", describe(workshop.source))


def test_what_a_checkpoint_lists_is_not_uploaded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 2 << 20)
    store = _DyingStore()
    with open_workshop(folder, store, settled=True) as workshop:
        for number in range(12):
            (workshop.source / str(number)).write_bytes(random.Random(number).randbytes(3 << 20))
        store.puts_left = 14
        with pytest.raises(SeedcornError):
            workshop.backup(writer=WriterOptions(checkpoint_packs=2))
        store.puts_left = None
        indexed_bytes = sum(sealed for _, _, sealed, _ in workshop.repository.browser(fresh=True).state.frames())
        assert indexed_bytes > 4 << 20
        run = workshop.backup(writer=WriterOptions(checkpoint_packs=2))
        assert run.requests.put_bytes < (36 << 20) - indexed_bytes + 500_000
        workshop.assert_restores(run.id, describe(workshop.source))
