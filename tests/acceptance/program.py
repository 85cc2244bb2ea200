"""The program as its users run it: a process with an environment of its own."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich
from tests.acceptance.workshop import NOBODY, as_nobody, is_root

import seedcorn
from seedcorn.cli.app import main

__all__ = ["Finished", "Program"]

_PACKAGE_PARENT = Path(seedcorn.__file__).parent.parent


@dataclass(frozen=True)
class Finished:
    """How one run ended."""

    code: int
    output: str
    errors: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The lines of ``--json``."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        assert self.code in (0, 3), self.errors + self.output
        last = self.messages[-1]
        assert last["message_type"] == "summary", last
        return last


class Program:
    """Runs ``seedcorn`` for one repository. Configuration, state and home are folders below ``folder``; nothing else is in the environment.

    ``as_user``: as an ordinary user, to whom the folders then belong.
    """

    def __init__(self, folder: Path, repository: Path, *, as_user: bool = False) -> None:
        self.config, self.state, self.home = folder / "config", folder / "state", folder / "home"
        self.repository = repository
        self.passphrase_file = folder / "passphrase"
        self._user = NOBODY if as_user and is_root() else None
        for directory in (folder, self.config, self.state, self.home, repository):
            directory.mkdir(parents=True, exist_ok=True)
            self.give(directory)
        self.passphrase_file.write_text("a passphrase for the tests\n")
        self.passphrase_file.chmod(0o600)
        self.give(self.passphrase_file)

    def give(self, path: Path) -> None:
        """Make a file belong to the user who runs the program."""
        if self._user is not None:
            os.chown(path, self._user, self._user)

    def run(self, *arguments: str | os.PathLike[str], secret: bool = False, given: bytes = b"") -> Finished:
        """Run one command, with ``--passphrase-file`` if it may have the ``secret``, and ``given`` on its standard input."""
        passphrase: Sequence[str | os.PathLike[str]] = ("--passphrase-file", self.passphrase_file) if secret else ()
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(_PACKAGE_PARENT),
            "SEEDCORN_REPOSITORY": str(self.repository),
            "SEEDCORN_CONFIG_DIR": str(self.config),
            "SEEDCORN_STATE_DIR": str(self.state),
        }
        command = [*arguments, *passphrase]
        if self._user is None:
            return _run_process(command, environment, self.home, given)
        _import_everything()
        return as_nobody(lambda: _run_here([os.fspath(word) for word in command], environment, self.home))


def _run_process(command: Sequence[str | os.PathLike[str]], environment: dict[str, str], cwd: Path, given: bytes) -> Finished:
    finished = subprocess.run(
        [sys.executable, "-m", "seedcorn", *command], env=environment, cwd=cwd, input=given, capture_output=True, timeout=240, start_new_session=True
    )
    return Finished(finished.returncode, finished.stdout.decode(), finished.stderr.decode())


def _import_everything() -> None:
    """An ordinary user may not even read the interpreter's modules, if that is installed in root's home."""
    for package in (seedcorn, rich):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                with suppress(ImportError, AssertionError):  # what is for other systems, or optional
                    importlib.import_module(module.name)


def _run_here(command: list[str], environment: dict[str, str], cwd: Path) -> Finished:
    """In this process, which has become an ordinary user: the interpreter may lie where such a user can not start it."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, open(os.devnull, "rb") as nothing:
        for number, stream in enumerate((nothing, output, errors)):
            os.dup2(stream.fileno(), number)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        code = main(command)
        for stream in (output, errors):
            stream.seek(0)
        return Finished(code, output.read().decode(), errors.read().decode())
