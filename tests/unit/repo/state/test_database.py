"""The database: what is read is what was written, whatever has happened to its file; and what its errors mean."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedcorn.errors import SeedcornError
from seedcorn.repo.state import database as database_module
from seedcorn.repo.state.database import DamagedStateError, Database
from seedcorn.repo.state.table import Table, Transaction

IDENTITY = b"one repository"
VALUE = b"the value of a row in which one bit will be another"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    opened = Database(folder, IDENTITY)
    yield opened
    opened.close()


def put(database: Database, table: Table, key: bytes, *values: bytes) -> None:
    with database.writing() as txn:
        for value in values:
            table.put(txn, key, value)


def get(database: Database, table: Table, key: bytes = b"key") -> bytes | None:
    with database.reading() as txn:
        return table.get(txn, key)


def damage(folder: Path, at: bytes, change: Callable[[bytes], bytes] = lambda found: bytes([found[0] ^ 1]) + found[1:]) -> None:
    """Change the bytes ``at``, wherever they stand in the file. They are seen at once: it is mapped."""
    path = folder / "index" / "data.mdb"
    whole = path.read_bytes()
    assert at in whole
    with path.open("r+b") as file:
        begin = whole.find(at)
        while begin >= 0:
            file.seek(begin)
            file.write(change(at))
            begin = whole.find(at, begin + 1)


# -- rows ------------------------------------------------------------------------------------------------------------------------------------


def test_rows_come_back(database: Database) -> None:
    table = database.table(b"table")
    put(database, table, b"key", VALUE)
    put(database, table, b"key2", b"")
    with database.reading() as txn:
        assert (table.get(txn, b"key"), table.get(txn, b"key2"), table.get(txn, b"other")) == (VALUE, b"", None)
        assert list(table.items(txn)) == [(b"key", VALUE), (b"key2", b"")]
        assert (list(table.items_from(txn, b"key1")), list(table.keys_from(txn, b"key1"))) == ([(b"key2", b"")], [b"key2"])
        assert (table.last_key(txn), table.count(txn), table.require(txn, b"key")) == (b"key2", 2, VALUE)
    with database.writing() as txn:
        assert (table.pop(txn, b"key"), table.pop(txn, b"key")) == (VALUE, None)
        table.delete(txn, b"key2")
        table.delete(txn, b"key2")
        assert (table.last_key(txn), table.count(txn)) == (None, 0)
        table.put(txn, b"key", b"first")
        table.put(txn, b"key", b"second", overwrite=False)
        assert table.get(txn, b"key") == b"first"
        table.clear(txn)
        assert list(table.items(txn)) == []


def test_a_key_with_several_values(database: Database) -> None:
    table = database.table(b"table", several=True)
    put(database, table, b"key", b"one", b"two", b"two")
    with database.writing() as txn:
        assert sorted(table.all(txn, b"key")) == [b"one", b"two"]
        assert (table.all(txn, b"other"), table.count(txn)) == ([], 2)
        table.delete_one(txn, b"key", b"one")
        assert table.all(txn, b"key") == [b"two"]


def test_nothing_is_kept_of_a_change_that_fails_or_is_to_be_discarded(database: Database) -> None:
    table = database.table(b"table")
    with pytest.raises(KeyboardInterrupt):
        change(database, lambda txn: (table.put(txn, b"key", VALUE), interrupt()))
    assert get(database, table) is None
    database.discard_writes = True
    put(database, table, b"key", VALUE)
    assert get(database, table) is None


def test_a_view_stays_as_it_was(database: Database) -> None:
    table = database.table(b"table")
    put(database, table, b"key", b"before")
    view = database.view()
    put(database, table, b"key", b"after")
    assert (view.get(table, b"key"), view.require(table, b"key"), view.get(table, b"other")) == (b"before", b"before", None)
    view.close()


# -- damage ----------------------------------------------------------------------------------------------------------------------------------

READS: dict[str, Callable[[Database, Table], object]] = {
    "get": get,
    "all": lambda database, table: read(database, lambda txn: table.all(txn, b"key")),
    "items": lambda database, table: read(database, lambda txn: list(table.items(txn))),
    "items_from": lambda database, table: read(database, lambda txn: list(table.items_from(txn, b"k"))),
    "pop": lambda database, table: change(database, lambda txn: table.pop(txn, b"key")),
    "view": lambda database, table: database.view().get(table, b"key"),
    "a row that has to be there": lambda database, table: read(database, lambda txn: table.require(txn, b"no such key")),
    "a row that has to be there, in a view": lambda database, table: database.view().require(table, b"no such key"),
}


def interrupt() -> None:
    raise KeyboardInterrupt


def read(database: Database, work: Callable[[Transaction], object]) -> None:
    with database.reading() as txn:
        work(txn)


def change(database: Database, work: Callable[[Transaction], object]) -> None:
    with database.writing() as txn:
        work(txn)


@pytest.mark.parametrize("how", READS)
def test_a_damaged_row_is_never_read_and_the_next_one_begins_anew(database: Database, folder: Path, how: str) -> None:
    table = database.table(b"table")
    put(database, table, b"key", VALUE)
    damage(folder, VALUE)
    with pytest.raises(DamagedStateError, match=r"was damaged and has been emptied .* run the command again"):
        READS[how](database, table)
    again = Database(folder, IDENTITY)
    assert get(again, again.table(b"table")) is None
    put(again, again.table(b"table"), b"key", VALUE)
    assert get(again, again.table(b"table")) == VALUE
    again.close()


def test_a_value_under_another_key_or_in_another_table_is_damage(database: Database, folder: Path) -> None:
    table, other = database.table(b"table"), database.table(b"other")
    put(database, table, b"key one", VALUE)
    damage(folder, b"key one", lambda found: b"key two")
    with pytest.raises(DamagedStateError):
        get(database, table, b"key two")
    change(database, lambda txn: txn.put(b"key", VALUE + table._check(b"key", VALUE), db=other._handle))
    with pytest.raises(DamagedStateError):
        get(database, other)


def test_a_damaged_row_of_a_cache_is_none(database: Database, folder: Path) -> None:
    table = database.table(b"table", is_cache=True)
    put(database, table, b"key", VALUE)
    damage(folder, VALUE)
    assert get(database, table) is None
    put(database, table, b"key", VALUE)
    assert get(database, table) == VALUE


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 5, 10, 50, -1])
def test_a_file_that_was_cut_short_is_no_bus_error(folder: Path, pages: int) -> None:
    made = Database(folder, IDENTITY)
    table = made.table(b"table")
    for number in range(100):
        put(made, table, b"%d" % number, VALUE * 40)
    made.close()
    path = folder / "index" / "data.mdb"
    os.truncate(path, (path.stat().st_size if pages < 0 else 0) + 4096 * pages)
    read_all = f"""if True:
        from pathlib import Path
        from seedcorn.repo.state.database import *
        for attempt in range(2):
            try:
                database = Database(Path({str(folder)!r}), {IDENTITY!r})
                table = database.table(b"table")
                with database.reading() as txn:
                    assert len(list(table.items(txn))) in (0, 100)
                break
            except DamagedStateError:
                assert attempt == 0"""
    assert subprocess.run([sys.executable, "-c", read_all], check=False).returncode == 0


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"\0" * 8192, b"short"])
def test_a_file_that_is_something_else_is_begun_anew(folder: Path, content: bytes) -> None:
    Database(folder, IDENTITY).close()
    (folder / "index" / "data.mdb").write_bytes(content)
    with pytest.raises(DamagedStateError):
        Database(folder, IDENTITY)
    Database(folder, IDENTITY).close()


def test_another_identity_begins_anew(folder: Path) -> None:
    first = Database(folder, IDENTITY)
    put(first, first.table(b"table"), b"key", VALUE)
    first.close()
    same = Database(folder, IDENTITY)
    assert get(same, same.table(b"table")) == VALUE
    same.close()
    other = Database(folder, b"another repository")
    assert get(other, other.table(b"table")) is None
    other.close()


# -- no room ---------------------------------------------------------------------------------------------------------------------------------


def test_a_database_that_has_reached_its_limit_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_MAP_BYTES", 1 << 20)
    database = Database(folder, IDENTITY)
    table = database.table(b"table")
    put(database, table, b"key", VALUE)
    with pytest.raises(SeedcornError, match=r"has reached its limit .*: delete it and run the command again"):
        put(database, table, b"large", bytes(1 << 21))
    assert (get(database, table, b"large"), get(database, table)) == (None, VALUE)
    put(database, table, b"small", VALUE)
    database.close()


def test_a_disk_that_is_full_is_named_and_leaves_what_was_there(folder: Path) -> None:
    fill = f"""if True:
        import resource
        from pathlib import Path
        from seedcorn.errors import SeedcornError
        from seedcorn.repo.state.database import *
        database = Database(Path({str(folder)!r}), {IDENTITY!r})
        table = database.table(b"table")
        with database.writing() as txn:
            table.put(txn, b"key", {VALUE!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, 1 << 17))
        try:
            with database.writing() as txn:
                table.put(txn, b"large", bytes(1 << 18))
        except SeedcornError as error:
            assert "can not be written" in str(error) and "is its disk full" in str(error), error
        else:
            raise AssertionError
        with database.reading() as txn:
            assert (table.get(txn, b"large"), table.get(txn, b"key")) == (None, {VALUE!r})"""
    assert subprocess.run([sys.executable, "-c", fill], check=False).returncode == 0
    again = Database(folder, IDENTITY)
    assert get(again, again.table(b"table")) == VALUE
    again.close()


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SeedcornError, match=r"can not be used: .*; give another place with SEEDCORN_STATE_DIR"):
        Database(tmp_path / "file" / "state", IDENTITY)
