"""What goes wrong around a backup at night, and what the program makes of it."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest
from tests.acceptance.workshop import Workshop, open_workshop

from seedcorn.errors import EXIT_INTEGRITY, IntegrityError, SeedcornError, UsageError
from seedcorn.events import SystemClock
from seedcorn.format.header import HEADER_KEY
from seedcorn.ops import access
from seedcorn.repo.content import packer
from seedcorn.store.options import StoreOptions
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import PASSPHRASE, cheap_kdf, make_tree
from seedcorn.testing.servers import SeaweedFS
from seedcorn.testing.trees import describe

_FILES = {f"folder {number % 3}/file {number}": b"%d " % number * 3000 for number in range(30)} | {"long": bytes(range(256)) * 3000}


@pytest.mark.parametrize("kind", [b"\x01", b"\x02"], ids=["data pack", "listing pack"])
def test_force_stores_again_what_a_lost_pack_held(workshop: Workshop, kind: bytes) -> None:
    make_tree(workshop.source, _FILES)
    tree = describe(workshop.source)
    workshop.backup()
    lost = [key for key, data in workshop.objects.items() if key.startswith("packs/") and data[21:22] == kind]
    assert len(lost) == 1
    del workshop.objects[lost[0]]
    healed = workshop.backup(force=True)
    assert healed.packs > 0
    assert any("missing" in note for note in healed.monitor.notes)
    workshop.assert_restores(healed.id, tree)
    again = workshop.backup()
    assert again.packs == 0
    workshop.assert_restores(again.id, tree)


def test_what_force_has_found_lost_is_not_relied_on_later(workshop: Workshop) -> None:
    """The source had nothing of it at that moment, and has it again."""
    make_tree(workshop.source, {"kept": b"kept " * 3000})
    workshop.backup()
    kept = set(workshop.objects)
    make_tree(workshop.source, {"away": b"away " * 3000})
    away = workshop.source / "away"
    workshop.backup()
    for key in set(workshop.objects) - kept:
        if key.startswith("packs/"):
            del workshop.objects[key]
    away.rename(workshop.source.parent / "away")
    workshop.backup(force=True)
    (workshop.source.parent / "away").rename(away)
    workshop.assert_restores(workshop.backup().id, describe(workshop.source))


def test_force_without_a_loss_puts_no_pack(workshop: Workshop) -> None:
    make_tree(workshop.source, _FILES)
    workshop.backup()
    forced = workshop.backup(force=True)
    assert (forced.packs, forced.result.statistics.changed_files) == (0, 0)
    assert forced.result.statistics.read_bytes == sum(map(len, _FILES.values()))


def test_a_lost_header_is_not_an_invitation_to_init(workshop: Workshop) -> None:
    store = workshop.store
    assert isinstance(store, MemoryStore)
    del store.objects[HEADER_KEY]
    with pytest.raises(IntegrityError, match="do not run"):
        workshop.repository.owner()
    with pytest.raises(UsageError, match="put that back"):
        access.initialize(store, PASSPHRASE, "beta", SystemClock(), kdf=cheap_kdf())


def test_an_init_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Refusing(MemoryStore):
        def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
            if key == HEADER_KEY:
                raise SeedcornError("no room")
            super().put(key, data)

    store = Refusing()
    with pytest.raises(SeedcornError, match="no room"):
        access.initialize(store, PASSPHRASE, "alpha", SystemClock(), kdf=cheap_kdf())
    assert store.objects == {}


def test_an_empty_path_is_an_unset_variable(workshop: Workshop) -> None:
    with pytest.raises(UsageError, match="unset variable"):
        workshop.backup(workshop.source, b"")


def test_a_rehearsed_restore_refuses_what_a_real_one_does(workshop: Workshop) -> None:
    make_tree(workshop.source, {"a": b"1"})
    run = workshop.backup()
    target = make_tree(workshop.folder / "full", {"b": b"2"})
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="--overwrite"):
            workshop.restore(run.id, target=target, dry_run=dry_run)


def test_a_server_that_is_restarted_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while packs are on their way, and back some seconds later."""
    monkeypatch.setattr(packer, "PACK_TARGET_BYTES", 1 << 20)
    with SeaweedFS() as server:
        server.make_bucket("night")
        store = access.open_at(server.address("night", "restart"), server.credentials, StoreOptions())
        with open_workshop(folder, store=store) as workshop:
            make_tree(workshop.source, {f"noise {number}": random.Random(number).randbytes(2 << 20) for number in range(40)})
            tree = describe(workshop.source)

            def restart() -> None:
                while store.requests.put < 12:
                    time.sleep(0.01)
                server.stop()
                time.sleep(2)
                server.start()
                finished.wait(120)  # the server ends with the thread that started it

            finished = threading.Event()
            thread = threading.Thread(target=restart)
            thread.start()
            try:
                run = workshop.backup()
                assert run.result.exit_code == 0
                assert store.requests.put > 40, "the server was restarted in the middle"
                workshop.assert_restores(run.id, tree)
            finally:
                finished.set()
                thread.join()


def test_reading_with_the_words_alone(workshop: Workshop) -> None:
    """On a store that can not be written: no new key slot is needed."""
    make_tree(workshop.source, {"a": b"1"})
    workshop.backup()
    numbered = " ".join(f"{number}. {word}" for number, word in enumerate(workshop.repository.words.split(), start=1))
    owner = access.open_owner_with_words(workshop.store, numbered)
    assert owner.repository == workshop.repository.made.repository


def test_a_damaged_pack_is_still_damage(workshop: Workshop) -> None:
    """Force believes what is listed; only reading finds damage inside."""
    make_tree(workshop.source, {"a": b"1" * 5000})
    workshop.backup()
    (key,) = [key for key, data in workshop.objects.items() if key.startswith("packs/") and data[21:22] == b"\x01"]
    workshop.objects[key] = workshop.objects[key][:-50] + bytes(50)
    assert workshop.backup(force=True).packs == 0
    assert workshop.restore("latest").result.exit_code in (0, EXIT_INTEGRITY)
