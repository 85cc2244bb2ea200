"""The programs that are compared: how each is called, what it keeps, what it can not do.

A new peer is a class with the methods of ``Program`` and its name in ``_PEERS``. All encrypt; settings are a program's defaults, or better for it.
All that a program writes lies below the ``home`` that it is given.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from benchmarks.measure import Cost, measured

__all__ = ["OURS", "PROGRAMS", "Borg", "Duplicity", "Program", "Restic", "Seedcorn", "new_program", "plain_environment"]

OURS = "seedcorn"
_PASSPHRASE = "benchmark passphrase"  # noqa: S105  # guards copies of system files


class Program(Protocol):
    """One backup program with one repository."""

    name: ClassVar[str]
    settings: ClassVar[str]  # what was chosen, for the report
    compare_options: ClassVar[tuple[str, ...]]  # what rsync is to compare after a restore: all that the program claims to keep
    restores_every_round: ClassVar[bool]  # or only in the first, where no target depends on it and it takes long
    deduplicates_hosts: ClassVar[bool]  # several machines share one repository
    repository: Path

    def version(self) -> str:
        """What the program calls itself."""

    def init(self) -> Cost | None:
        """Make the repository; None for a program that has no such step."""

    def back_up(self, tree: Path, host: str = "") -> Cost:
        """Store the state of ``tree``; by its absolute path. ``host`` is one of several machines, or this one."""

    def restore(self, tree: Path, target: Path) -> Cost:
        """Get the newest state of ``tree`` back: its content into ``target``, a directory that is not there yet."""


def plain_environment(home: Path) -> dict[str, str]:
    """What a program sees: nothing of the user's own settings, every cache and temporary file below ``home``."""
    scratch = home / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(scratch), "LANG": "C.UTF-8"}


def _first_line(command: list[str | Path], environment: Mapping[str, str]) -> str:
    return subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()


def _passphrase_file(home: Path) -> Path:
    path = home / "passphrase"
    if not path.exists():
        path.touch(0o600)
        path.write_text(_PASSPHRASE + "\n")
    return path


@dataclass
class Seedcorn:
    """This checkout, by its command line. ``address`` and ``more_environment`` put the repository on another store than a directory."""

    home: Path
    address: str = ""
    more_environment: Mapping[str, str] = field(default_factory=dict)
    trust_hosts: bool = False  # off by default: a host then relies on nothing that another has stored, and repositories of several hosts are larger

    name: ClassVar = OURS
    settings: ClassVar = "defaults"
    compare_options: ClassVar[tuple[str, ...]] = ("-aHAX", "--modify-window=-1")
    restores_every_round: ClassVar = True
    deduplicates_hosts: ClassVar = True

    def __post_init__(self) -> None:
        self.repository = self.home / "repository"
        self.place = self.address or str(self.repository)
        self.environment = plain_environment(self.home) | {"SEEDCORN_REPOSITORY": self.place} | dict(self.more_environment)
        self.environment |= {"SEEDCORN_CONFIG_DIR": str(self.home / "config"), "SEEDCORN_STATE_DIR": str(self.home / "state")}

    def version(self) -> str:
        return _first_line([sys.executable, "-m", "seedcorn", "--version"], self.environment)

    def init(self) -> Cost:
        trust = ["--trust-hosts"] if self.trust_hosts else []
        return self._run("init", "--recovery-file", self.home / "words", *trust, *self.unlock())

    def back_up(self, tree: Path, host: str = "") -> Cost:
        return self._run("backup", "-q", "--json", tree, more=self._as_host(host) if host else {})

    def restore(self, tree: Path, target: Path) -> Cost:
        return self._run("restore", "-q", *self.unlock(), f"latest:{tree}", "--target", target)

    def stats(self) -> tuple[Cost, dict[str, Any]]:
        """What ``stats --json`` costs and says."""
        cost = self._run("stats", "--json", *self.unlock())
        return cost, self.summary(cost)

    def unlock(self) -> list[str | Path]:
        """Options that only the owner gives."""
        return ["--passphrase-file", _passphrase_file(self.home)]

    def summary(self, cost: Cost) -> dict[str, Any]:
        """The last line of a ``--json`` run."""
        fields: dict[str, Any] = json.loads(cost.output.strip().rsplit("\n", 1)[-1])
        return fields

    def _as_host(self, host: str) -> dict[str, str]:
        """A machine with a host file and a state of its own."""
        folder = self.home / "hosts" / host
        if not folder.exists():
            folder.mkdir(parents=True)
            self._run("host", "add", *self.unlock(), host, "--out", folder / "host.json")
        return {"SEEDCORN_HOST_FILE": str(folder / "host.json"), "SEEDCORN_STATE_DIR": str(folder / "state")}

    def _run(self, *arguments: str | Path, more: Mapping[str, str] | None = None) -> Cost:
        return measured([sys.executable, "-m", "seedcorn", *arguments], self.environment | dict(more or {}))


@dataclass
class Restic:
    """restic, a static binary."""

    home: Path
    peers: Path

    name: ClassVar = "restic"
    settings: ClassVar = "defaults: compression auto"
    compare_options: ClassVar[tuple[str, ...]] = ("-aHAX", "--modify-window=-1")
    restores_every_round: ClassVar = True
    deduplicates_hosts: ClassVar = True

    def __post_init__(self) -> None:
        self.repository = self.home / "repository"
        self._binary = self.peers / "restic" / "usr" / "bin" / "restic"
        self._environment = plain_environment(self.home) | {
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_PASSWORD_FILE": str(_passphrase_file(self.home)),
            "RESTIC_CACHE_DIR": str(self.home / "cache"),
        }

    def version(self) -> str:
        return _first_line([self._binary, "version"], self._environment)

    def init(self) -> Cost:
        return self._run("init")

    def back_up(self, tree: Path, host: str = "") -> Cost:
        return self._run("backup", "--quiet", *(["--host", host] if host else []), tree)

    def restore(self, tree: Path, target: Path) -> Cost:
        return self._run("restore", "--quiet", f"latest:{tree}", "--target", target)

    def _run(self, *arguments: str | Path) -> Cost:
        return measured([self._binary, *arguments], self._environment)


@dataclass
class Borg:
    """BorgBackup 1.4."""

    home: Path
    peers: Path
    archives: int = 0

    name: ClassVar = "borg"
    settings: ClassVar = "encryption repokey, compression zstd,3 (its default, lz4, stores more)"
    compare_options: ClassVar[tuple[str, ...]] = ("-aHAX", "--modify-window=-1")
    restores_every_round: ClassVar = False
    deduplicates_hosts: ClassVar = True

    def __post_init__(self) -> None:
        self.repository = self.home / "repository"
        self._binary = self.peers / "venv" / "bin" / "borg"
        self._environment = plain_environment(self.home) | {
            "BORG_REPO": str(self.repository),
            "BORG_PASSPHRASE": _PASSPHRASE,
            "BORG_BASE_DIR": str(self.home),
        }

    def version(self) -> str:
        return _first_line([self._binary, "--version"], self._environment)

    def init(self) -> Cost:
        return self._run("init", "--encryption", "repokey")

    def back_up(self, tree: Path, host: str = "") -> Cost:
        self.archives += 1
        return self._run("create", "--compression", "zstd,3", f"::{self.archives}", tree)

    def restore(self, tree: Path, target: Path) -> Cost:
        target.mkdir()  # borg restores into the current directory
        cut = ["--strip-components", str(len(tree.parts) - 1)]
        return self._run("extract", *cut, f"::{self.archives}", folder=target)

    def _run(self, *arguments: str | Path, folder: Path | None = None) -> Cost:
        return measured([self._binary, *arguments], self._environment, folder=folder)


@dataclass
class Duplicity:
    """duplicity 3: the scheme of full backups and rsync differences, by GnuPG."""

    home: Path
    peers: Path

    name: ClassVar = "duplicity"
    settings: ClassVar = "defaults: symmetric GnuPG"
    compare_options: ClassVar[tuple[str, ...]] = ("-rlptgoD", "--omit-link-times")  # keeps no hard links, no attributes, and no times of links
    restores_every_round: ClassVar = False
    deduplicates_hosts: ClassVar = False

    def __post_init__(self) -> None:
        self.repository = self.home / "repository"
        self._binary = self.peers / "venv" / "bin" / "duplicity"
        gnupg = self.home / "gnupg"
        gnupg.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._environment = plain_environment(self.home) | {"PASSPHRASE": _PASSPHRASE, "GNUPGHOME": str(gnupg)}

    def version(self) -> str:
        return _first_line([self._binary, "--version"], self._environment)

    def init(self) -> None:
        self.repository.mkdir()

    def back_up(self, tree: Path, host: str = "") -> Cost:
        return self._run("backup", tree, self._url)

    def restore(self, tree: Path, target: Path) -> Cost:
        return self._run("restore", self._url, target)

    @property
    def _url(self) -> str:
        return f"file://{self.repository}"

    def _run(self, *arguments: str | Path) -> Cost:
        try:
            return measured([self._binary, *arguments, "--archive-dir", self.home / "archives"], self._environment)
        finally:  # GnuPG leaves an agent behind
            subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=self._environment, check=False, capture_output=True)


_PEERS: dict[str, Callable[[Path, Path], Program]] = {"restic": Restic, "borg": Borg, "duplicity": Duplicity}
PROGRAMS = (OURS, *_PEERS)


def new_program(name: str, home: Path, peers: Path) -> Program:
    """The program called ``name`` with everything it writes below ``home``, which is made."""
    home.mkdir(parents=True)
    return Seedcorn(home) if name == OURS else _PEERS[name](home, peers)
