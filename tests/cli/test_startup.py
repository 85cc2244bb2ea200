"""What a command loads before it does anything: an import that creeps in costs every run of every cron job, and no clock would show it here."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from seedcorn.testing.machine import Machine

CLOUD = {"obstore", "seedcorn.store.cloud", "seedcorn.store.providers"}
TERMINAL = {"rich", "getpass"}
RECOVERY = {"mnemonic", "keyring"}
LIBRARIES = {"backports.zstd", "blake3", "cryptography", "lmdb", "msgspec", "pyfastcdc", "pyroaring"} | CLOUD | TERMINAL | RECOVERY
ROOMS = {f"seedcorn.{room}" for room in ("crypto", "format", "fs", "jobs", "ops", "repo", "store")}


def loaded(machine: Machine, *arguments: str, code: int = 0) -> set[str]:
    """The modules that a run imports."""
    interpreter, *rest = machine.command(*arguments)
    finished = subprocess.run(
        [interpreter, "-X", "importtime", *rest],
        env=machine.environment,
        cwd=machine.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert finished.returncode == code, finished.stderr.decode()
    return set(re.findall(r"^import time:.*\| +(\S+)$", finished.stderr.decode(), re.MULTILINE))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["version"], 0), (["--version"], 0), (["--help"], 0), (["backup", "--help"], 0), (["key", "add", "-h"], 0), (["bakup"], 2)],
)
def test_an_answer_loads_neither_libraries_nor_rooms(arguments: list[str], code: int, empty_machine: Machine) -> None:
    modules = loaded(empty_machine, *arguments, code=code)
    assert "seedcorn.cli.app" in modules
    assert not modules & (LIBRARIES | ROOMS)


def test_a_backup_to_a_directory_loads_what_backs_up(machine: Machine) -> None:
    modules = loaded(machine, "backup", "-r", "repository", "source")
    assert {"lmdb", "cryptography", "seedcorn.store.local"} <= modules
    assert not modules & (CLOUD | TERMINAL | RECOVERY | {"seedcorn.ops.browse", "seedcorn.ops.restore.restore", "seedcorn.repo.content.reader"})


def test_reading_from_a_directory_loads_no_cloud(machine: Machine) -> None:
    modules = loaded(machine, "ls", "-r", "repository", "--passphrase-file", "secret")
    assert "seedcorn.ops.browse" in modules
    assert not modules & (CLOUD | TERMINAL | RECOVERY | {"seedcorn.ops.backup.backup", "seedcorn.ops.backup.scan"})


def test_the_package_loads_nothing_until_it_is_used(machine: Machine) -> None:
    code = """
import sys
import seedcorn
print(sorted(name for name in sys.modules if name.startswith("seedcorn")))
assert seedcorn.open.__module__ == "seedcorn.jobs.library"
assert set(seedcorn.__all__) <= set(dir(seedcorn))
"""
    finished = subprocess.run([sys.executable, "-c", code], env=machine.environment, capture_output=True, text=True, check=True)
    assert finished.stdout == "['seedcorn', 'seedcorn.version']\n"
