"""A machine of its own for the real program: a home, a repository beside it, an environment without anything of ours.

Owns how tests run ``python -m seedcorn``. Every run is checked for what must never be shown: a traceback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import seedcorn
from seedcorn.events import SystemClock
from seedcorn.jobs.environment import Environment
from seedcorn.jobs.host_files import save_host_file
from seedcorn.ops import access
from seedcorn.testing.repositories import PASSPHRASE, cheap_kdf

__all__ = ["PASSPHRASE", "Finished", "Machine"]

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Finished:
    """What a run has left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of_type(self, message_type: str) -> list[dict[str, Any]]:
        """The JSON lines of one type."""
        return [line for line in self.lines if line["message_type"] == message_type]


@dataclass(frozen=True)
class Machine:
    """A folder with ``home``, ``repository``, ``source`` and the passphrase in ``secret``."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def secret(self) -> Path:
        return self.folder / "secret"

    @property
    def host_files(self) -> list[Path]:
        return sorted(self.home.glob(".config/seedcorn/hosts/*"))

    @property
    def environment(self) -> dict[str, str]:
        """Everything the program sees."""
        package = str(Path(seedcorn.__file__).parents[1])  # the code under test, wherever it is run from
        return {"PATH": os.environ["PATH"], "PYTHONPATH": package, "HOME": str(self.home), "LC_ALL": "C.UTF-8"} | self.variables

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "seedcorn", *map(str, arguments)]

    def run(self, *arguments: str | Path, typed: str | None = None, **variables: str) -> Finished:
        """Run the program in ``folder`` with extra variables, and ``typed`` on standard input."""
        finished = subprocess.run(
            self.command(*arguments),
            env=self.environment | variables,
            cwd=self.folder,
            input=typed,
            stdin=subprocess.DEVNULL if typed is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
        assert "Traceback" not in finished.stdout + finished.stderr, finished.stderr
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    def owner(self, *arguments: str | Path, **variables: str) -> Finished:
        """Run it on this machine's repository, with the passphrase."""
        return self.run(*arguments, "-r", self.repository, "--passphrase-file", self.secret, **variables)

    def back_up(self, *arguments: str | Path, **variables: str) -> Finished:
        """Run ``backup`` on this machine's repository."""
        return self.run("backup", "-r", self.repository, *arguments, **variables)

    def found(self) -> None:
        """Make the folders, and a repository whose passphrase costs next to nothing to try."""
        for folder in (self.home, self.source):
            folder.mkdir(parents=True)
        self.secret.touch(mode=0o600)
        self.secret.write_text(PASSPHRASE + "\n")
        environment = Environment(self.environment, self.folder)
        store = access.open_at(str(self.repository), {}, access.StoreOptions())
        made = access.initialize(store, PASSPHRASE, "here", SystemClock(), kdf=cheap_kdf())
        save_host_file(environment.host_file(None, made.repository), made.host_file)

    def copy(self, folder: Path) -> Machine:
        """The same, elsewhere."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return replace(self, folder=folder)
