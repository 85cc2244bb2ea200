"""Where a passphrase comes from. Owns the order of the sources and what is said when none of them has one.

A passphrase is never an argument of a command: every user of the machine can list those. Must never print or ask by itself: whoever calls brings a
``prompt``, or none if nobody is there to answer.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from seedcorn.errors import CredentialError, UsageError
from seedcorn.jobs.environment import Environment

__all__ = ["PassphraseSources", "Prompt", "Warn", "new_passphrase", "read_passphrase", "read_passphrase_file", "read_words"]

Prompt = Callable[[str], str]
Warn = Callable[[str], None]

CREDENTIAL_NAME = "seedcorn-passphrase"
KEYRING_SERVICE = "seedcorn"
COMMAND_TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class PassphraseSources:
    """What was given on the command line, and ``place``, the repository's address, by which a keyring knows the passphrase."""

    environment: Environment
    place: str
    file: str | None = None
    command: str | None = None

    @property
    def _variables(self) -> Mapping[str, str]:
        return self.environment.variables

    def unattended(self, warn: Warn) -> str | None:
        """The passphrase of the first source that there is; None if somebody has to be asked.

        Raises:
            CredentialError: a source was named and has none.
        """
        if path := self.file or self._variables.get("SEEDCORN_PASSPHRASE_FILE"):
            return read_passphrase_file(self.environment.cwd / path, warn)
        if found := self._credential(warn):
            return found
        if command := self.command or self._variables.get("SEEDCORN_PASSPHRASE_COMMAND"):
            return _run(command)
        if found := self._variables.get("SEEDCORN_PASSPHRASE"):
            name = f"{self.environment.prefix}PASSPHRASE"
            warn(f"the passphrase is in {name}, where other processes of this user can see it: {name}_FILE is safer")
            return found
        return _from_keyring(self.place)

    def __str__(self) -> str:
        """All that there could be, for who has given none."""
        variable, option = f"{self.environment.prefix}PASSPHRASE", self.environment.option
        return (
            f"{option('passphrase-file')} or {variable}_FILE, the systemd credential {CREDENTIAL_NAME}, {option('passphrase-command')} or "
            f"{variable}_COMMAND, the keyring (if the package `keyring` is installed), or a terminal to ask on"
        )

    def _credential(self, warn: Warn) -> str | None:
        folder = self._variables.get("CREDENTIALS_DIRECTORY")
        path = Path(folder, CREDENTIAL_NAME) if folder else None
        return read_passphrase_file(path, warn) if path and path.exists() else None


def read_passphrase(sources: PassphraseSources, prompt: Prompt | None, warn: Warn) -> str:
    """The passphrase that opens the repository.

    Raises:
        CredentialError: a source has none, or there is no source and nobody to ask.
    """
    found = sources.unattended(warn)
    if found is None:
        if prompt is None:
            raise CredentialError(f"no passphrase for {sources.place}; it can come from {sources}")
        found = prompt(f"Passphrase of {sources.place}: ")
    return found


def new_passphrase(file: Path | None, sources: PassphraseSources | None, prompt: Prompt | None, warn: Warn) -> str:
    """A passphrase to be set: from ``file``, else from ``sources`` (if those are for it), else asked for twice.

    Raises:
        UsageError: ``file`` does not exist, the passphrase is empty, or it was typed differently the second time.
        CredentialError: there is no source and nobody to ask.
    """
    if file is not None:
        if not file.exists():
            raise UsageError(f"{file} does not exist: write the passphrase into it first, as in `(umask 077; openssl rand -base64 24 > {file})`")
        return read_passphrase_file(file, warn)
    found = sources.unattended(warn) if sources else None
    if found is not None:
        return found
    if prompt is None:
        raise CredentialError(f"no passphrase to set; {f'it can come from {sources}' if sources else 'give --new-passphrase-file FILE'}")
    typed = prompt("New passphrase: ")
    if not typed:
        raise UsageError("a passphrase can not be empty")
    if prompt("The same again: ") != typed:
        raise UsageError("these are two different passphrases; nothing was done")
    return typed


def read_passphrase_file(path: Path, warn: Warn) -> str:
    """The first and only line of a file.

    Raises:
        CredentialError: it can not be read, is empty, or is not text.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(1 << 16)
    except OSError as error:
        raise CredentialError(f"the passphrase file {path} can not be read: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO) and not _is_credential(path):
        warn(f"the passphrase file {path} is open to other users: `chmod 600 {path}`")
    return _text(data, f"the passphrase file {path}")


def read_words(path: Path) -> str:
    """The recovery words in a file, as they stand there.

    Raises:
        CredentialError: it can not be read.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(f"{path} can not be read: {error}") from error


def _is_credential(path: Path) -> bool:
    return path.name == CREDENTIAL_NAME  # systemd grants the service's user access by an ACL, which shows as a group's permission


def _run(command: str) -> str:
    try:
        arguments = shlex.split(command)
        finished = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_TIMEOUT_SECONDS, check=False)
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CredentialError(f"the passphrase command `{command}` can not be run: {reason}") from error
    if finished.returncode:
        raise CredentialError(f"the passphrase command `{command}` failed with exit status {finished.returncode}")
    return _text(finished.stdout, f"the passphrase command `{command}`")


def _text(data: bytes, source: str) -> str:
    """Without the newline that editors and commands add."""
    try:
        text = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise CredentialError(f"what {source} holds is not UTF-8 text") from error
    if not text:
        raise CredentialError(f"{source} gave an empty passphrase")
    return text


def _from_keyring(place: str) -> str | None:
    """What ``keyring set seedcorn PLACE`` has stored."""
    if importlib.util.find_spec("keyring") is None:
        return None
    keyring = importlib.import_module("keyring")
    try:
        found: str | None = keyring.get_password(KEYRING_SERVICE, place)
    except importlib.import_module("keyring.errors").KeyringError:  # no keyring is running here: that is no reason to fail
        return None
    return found
