"""tools/first_backup.py as `make backup` runs it: the real program, a new repository, a new user."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from first_backup import place_of

SCRIPT = Path(__file__).parents[2] / "tools" / "first_backup.py"


def first_backup(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "TMPDIR": str(home), **environment}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "some 'data'"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_bytes(b"content" * 1000)
    (source / "twin").hardlink_to(source / "file")
    (source / "sub" / "link").symlink_to("../file")
    os.setxattr(source / "sub", "user.origin", b"here")
    return source


def test_first_and_second_run(home: Path, source: Path) -> None:
    first = first_backup(home, "--", str(source))
    assert first.returncode == 0, first.stdout + first.stderr
    assert "identical to the source, bit for bit" in first.stdout
    assert "TotalDestinationSizeChange" in first.stdout
    secrets = [path for path in (home / ".config/seedcorn").glob("*/*") if path.parent.name in ("passphrase", "recovery-words")]
    assert len(secrets) == 2
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert str(path) in first.stdout
    words = next(path for path in secrets if path.parent.name == "recovery-words").read_text().split()
    assert len(words) == 24
    assert " ".join(words[:6]) in first.stdout
    assert (home / ".local/share/seedcorn/repository/seedcorn.json").is_file()

    (source / "sub" / "new").write_bytes(b"new")
    second = first_backup(home, "--", str(source))
    assert second.returncode == 0, second.stdout + second.stderr
    assert "identical to the source, bit for bit" in second.stdout
    assert " ".join(words[:6]) not in second.stdout  # shown once
    assert not list(home.glob("seedcorn-proof-*"))


def test_two_repositories_keep_their_secrets_apart(home: Path, source: Path, tmp_path: Path) -> None:
    for name in ("disk one", "disk two"):
        run = first_backup(home, "--repository", str(tmp_path / name), "--", str(source))
        assert run.returncode == 0, run.stdout + run.stderr
    assert len(list((home / ".config/seedcorn/passphrase").iterdir())) == 2


def test_without_the_passphrase_it_backs_up_and_says_that_nothing_was_proved(home: Path, source: Path) -> None:
    assert first_backup(home, "--", str(source)).returncode == 0
    (passphrase,) = (home / ".config/seedcorn/passphrase").iterdir()
    passphrase.unlink()
    again = first_backup(home, "--", str(source))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Not proved" in again.stdout


def test_a_damaged_repository_is_not_called_proved(home: Path, source: Path) -> None:
    assert first_backup(home, "--", str(source)).returncode == 0
    for pack in (home / ".local/share/seedcorn/repository/packs").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            pack.write_bytes(bytes(pack.stat().st_size))
    again = first_backup(home, "--", str(source))
    assert again.returncode not in (0, 3)
    assert "bit for bit" not in again.stdout


@pytest.mark.parametrize(("directory", "message"), [("", "make backup DIR=/etc"), ("/no/such/place", "There is no /no/such/place")])
def test_a_directory_that_is_none(directory: str, message: str, home: Path) -> None:
    run = first_backup(home, "--", directory)
    assert run.returncode == 2
    assert message in run.stderr
    assert not list(home.iterdir())


def test_places_follow_the_environment() -> None:
    place = place_of("", {"HOME": "/h"})
    assert place.repository == "/h/.local/share/seedcorn/repository"
    assert re.fullmatch(r"/h/\.config/seedcorn/passphrase/[\w-]+", str(place.passphrase_file))
    place = place_of("", {"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c"})
    assert place.repository == "/d/seedcorn/repository"
    assert str(place.recovery_file).startswith("/c/seedcorn/")
    place = place_of("s3://b/p", {"HOME": "/h", "SEEDCORN_CONFIG_DIR": "/s", "SEEDCORN_PASSPHRASE_FILE": "/p"})
    assert (place.repository, place.is_local, str(place.passphrase_file)) == ("s3://b/p", False, "/p")
    assert str(place.recovery_file).startswith("/s/recovery-words/")


def test_repositories_that_read_alike_have_different_files() -> None:
    names = {place_of(repository, {"HOME": "/h"}).passphrase_file for repository in ("/a/b", "/a-b", "s3://a/b", "s3://a-b")}
    assert len(names) == 4
