"""seedcorn as a library: the promises of the package's head."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import seedcorn
from seedcorn.errors import CredentialError, RepositoryNotFoundError, UsageError
from seedcorn.store.local import LocalStore


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEDCORN_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("SEEDCORN_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("SEEDCORN_HOST_FILE", raising=False)
    return tmp_path


def test_there_and_back(home: Path) -> None:
    (home / "source").mkdir()
    (home / "source" / "file").write_text("one")
    made = seedcorn.init(home / "repository", passphrase="something", host_name="here")
    assert made.host_file.parent == home / "config" / "hosts"
    assert not any(word in repr(made).split() for word in made.words)
    with seedcorn.open(home / "repository") as host:
        assert host.backup([home / "source"], tags=["first"]).exit_code == 0
        (home / "source" / "file").write_text("two!")
        assert host.backup([home / "source"], dry_run=True).snapshot is None
        assert host.backup([home / "source"], level=1, verify_seal=False).statistics.changed_files == 1
        with pytest.raises(UsageError, match="level 20"):
            host.backup([home / "source"], level=20)
        data = iter([b"streamed", b""])

        def read_into(view: memoryview) -> int:
            piece = next(data)
            view[: len(piece)] = piece
            return len(piece)

        assert host.backup_stream(read_into, "dump").statistics.source_file_size == 8
    with pytest.raises(CredentialError):
        seedcorn.open_owner(home / "repository", passphrase="something else")
    with seedcorn.open_owner(home / "repository", words=" ".join(made.words)) as owner:
        first, second, dump = owner.snapshots()
        assert first.owner.tags == ("first",)
        assert owner.browse(dump, "/dump").node.size == 8
        assert owner.restore(first, home / "out-1", path=str(home / "source")).files == 1
        assert owner.restore(f"latest~1:{home}/source", home / "out-2").files == 1
    assert [(home / out / "file").read_text() for out in ("out-1", "out-2")] == ["one", "two!"]
    assert second.public.previous == first.id


def test_what_does_not_open_leaves_no_store_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seedcorn.init(home / "repository", passphrase="something", host_name="here")
    closed: list[LocalStore] = []
    monkeypatch.setattr(LocalStore, "close", lambda store: closed.append(store))
    attempts: list[Callable[[], object]] = [
        lambda: seedcorn.open(home / "repository", host_file=home / "none"),
        lambda: seedcorn.open_maintainer(home / "repository", maintain_file=home / "none"),
        lambda: seedcorn.open_owner(home / "repository", passphrase="something else"),
    ]
    for number, attempt in enumerate(attempts, 1):
        with pytest.raises(CredentialError):
            attempt()
        assert len(closed) == number


def test_copies(home: Path) -> None:
    (home / "source").mkdir()
    (home / "source" / "file").write_text("one")
    for place in ("repository", "offsite"):
        seedcorn.init(home / place, passphrase="something", host_name="here")
    with seedcorn.open(home / "repository") as host:
        host.backup([home / "source"])
    with seedcorn.open_owner(home / "repository", passphrase="something") as owner, seedcorn.open(home / "offsite") as host:
        plan = owner.plan_copy(host, ["latest"])
        assert [planned.snapshot for planned in plan.wanted] == owner.snapshots()
        assert owner.copy_to(host, plan, level=3).exit_code == 0
        assert owner.copy_to(host).copies == ()
        with pytest.raises(UsageError, match="level 0"):
            owner.copy_to(host, level=0)
    with seedcorn.open_owner(home / "offsite", passphrase="something") as owner:
        assert owner.restore(f"latest:{home}/source", home / "out").files == 1
    assert (home / "out" / "file").read_text() == "one"


def test_what_is_refused(home: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        seedcorn.open(home / "repository")
    with pytest.raises(UsageError, match="either"):
        seedcorn.open_owner(home / "repository")
    with pytest.raises(UsageError, match="either"):
        seedcorn.open_owner(home / "repository", passphrase="p", words="w")
    with pytest.raises(UsageError):
        seedcorn.init(home / "repository", passphrase="")


def test_asking_for_the_version_loads_nothing() -> None:
    code = "import seedcorn, sys; print({name for name in sys.modules if name.startswith('seedcorn.')} - {'seedcorn.version'})"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"


def test_every_public_name_is_there() -> None:
    for name in seedcorn.__all__:
        assert getattr(seedcorn, name)
        assert name in dir(seedcorn)
    with pytest.raises(AttributeError):
        seedcorn.no_such_name  # noqa: B018
