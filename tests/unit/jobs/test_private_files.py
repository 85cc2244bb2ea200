"""jobs/private_files.py: what holds a secret is never open to others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from seedcorn.errors import CredentialError, SeedcornError, UsageError
from seedcorn.jobs.private_files import create_private, read_private, replace_private, reserve_private, write_reserved


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("no_umask")
def test_created_with_all_directories_that_lead_to_it(tmp_path: Path) -> None:
    create_private(tmp_path / "a" / "b" / "file", b"secret")
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a" / "b" / "file") == 0o600
    assert read_private(tmp_path / "a" / "b" / "file") == b"secret"


def test_nothing_is_overwritten_unless_it_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_private(path, b"old")
    with pytest.raises(UsageError, match="exists already"):
        create_private(path, b"new")
    assert path.read_bytes() == b"old"
    replace_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_reserved_file_is_empty_until_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    descriptor = reserve_private(path)
    assert path.read_bytes() == b""
    write_reserved(descriptor, path, b"words")
    assert path.read_bytes() == b"words"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError):
        create_private(tmp_path / "link", b"secret")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o601])
def test_what_others_can_read_or_write_is_refused(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_private(path, b"secret")
    path.chmod(bits)
    with pytest.raises(CredentialError, match="chmod 600"):
        read_private(path)


def test_what_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_private(path, b"secret")
    os.chown(path, 65534, -1)
    with pytest.raises(CredentialError, match="another user"):
        read_private(path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(CredentialError):
            read_private(path)
    with pytest.raises(FileNotFoundError):
        read_private(tmp_path / "missing")


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (create_private, replace_private):
        with pytest.raises(SeedcornError, match="can not be written"):
            write(tmp_path / "file" / "below", b"")
