"""Where things are on this machine: the only reader of the environment and of the places where configuration and state are kept.

Owns the names of all variables and the precedence: what the command line gives, then the variable, then the default. Must never know a secret of
seedcorn's own (``jobs.passphrase`` reads those); the stores' credentials pass through unread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from seedcorn.errors import UsageError
from seedcorn.ids import RepositoryId
from seedcorn.store.address import parse_address
from seedcorn.store.options import StoreOptions

__all__ = ["Environment", "bucket_of", "place_of"]

_URL = re.compile(r"[a-z][a-z0-9+.-]*:")
_SSH = re.compile(r"[^/:]+@[^/:]+:")
_PREFIX, _FROM = "SEEDCORN_", "SEEDCORN_FROM_"
_OWN = tuple(f"{_PREFIX}{name}" for name in ("REPOSITORY", "PASSPHRASE", "PASSPHRASE_FILE", "PASSPHRASE_COMMAND"))
_PROVIDERS = ("AWS_", "GOOGLE_", "AZURE_")


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables of a process and what follows from them. ``cwd`` is what relative paths are relative to, ``prefix`` how the names of
    those begin that are about the repository itself, as they were set."""

    variables: Mapping[str, str]
    cwd: Path
    prefix: str = _PREFIX

    @classmethod
    def of_process(cls) -> Environment:
        """This process's, as it is now."""
        return cls(dict(os.environ), Path.cwd())

    def of_source(self) -> Environment:
        """For the repository that another one is copied from: ``SEEDCORN_FROM_X`` is its ``SEEDCORN_X``, or, of a provider's variable, its ``X``."""
        variables = {name: value for name, value in self.variables.items() if name not in _OWN}
        for name, value in self.variables.items():
            if name.startswith(_FROM):
                meant = name.removeprefix(_FROM)
                variables[meant if meant.startswith(_PROVIDERS) else f"{_PREFIX}{meant}"] = value
        return replace(self, variables=variables, prefix=_FROM)

    def option(self, name: str) -> str:
        """How the command line spells an option that only one of two repositories takes."""
        return f"--from-{name}" if self.prefix == _FROM else f"--{name}"

    @property
    def config_dir(self) -> Path:
        """``SEEDCORN_CONFIG_DIR``, else ``seedcorn`` in the user's configuration directory."""
        return self._directory("SEEDCORN_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")

    @property
    def state_dir(self) -> Path:
        """``SEEDCORN_STATE_DIR``, else ``seedcorn`` in the user's state directory."""
        return self._directory("SEEDCORN_STATE_DIR", "XDG_STATE_HOME", ".local/state")

    def _directory(self, variable: str, xdg_variable: str, under_home: str) -> Path:
        if given := self.variables.get(variable):
            return self.cwd / given
        xdg = Path(self.variables.get(xdg_variable, ""))
        return (xdg if xdg.is_absolute() else self._home / under_home) / "seedcorn"  # a relative one is invalid, says the XDG specification

    @property
    def _home(self) -> Path:
        return Path(self.variables.get("HOME") or os.path.expanduser("~"))

    @property
    def host_name(self) -> str:
        """What snapshots call this machine if nothing else is said."""
        return os.uname().nodename

    @property
    def credentials(self) -> dict[str, str]:
        """The variables that the stores' providers define."""
        return {name: value for name, value in self.variables.items() if name.startswith(_PROVIDERS)}

    def repository(self, given: str | None) -> str:
        """The address of the repository: ``given``, else ``SEEDCORN_REPOSITORY``.

        Raises:
            UsageError: neither is set.
        """
        address = given or self.variables.get("SEEDCORN_REPOSITORY")
        if not address:
            raise UsageError(
                "which repository? Give -r PLACE or set SEEDCORN_REPOSITORY; a place is a directory, s3://bucket/prefix, gs://… or az://…"
            )
        return place_of(address, self.cwd)

    def host_file(self, given: str | None, repository: RepositoryId) -> Path:
        """Where this machine's host file for a repository is, or is to be."""
        return self.given_host_file(given) or self.config_dir / "hosts" / f"{repository.hex()}.json"

    def given_host_file(self, given: str | None) -> Path | None:
        """``given``, else ``SEEDCORN_HOST_FILE``; None if the usual place is meant."""
        chosen = given or self.variables.get("SEEDCORN_HOST_FILE")
        return self.cwd / chosen if chosen else None

    def maintain_file(self, given: str | None) -> Path | None:
        """``given``, else ``SEEDCORN_MAINTAIN_FILE``; None if the owner's passphrase is to be used."""
        chosen = given or self.variables.get("SEEDCORN_MAINTAIN_FILE")
        return self.cwd / chosen if chosen else None

    def store_options(self, *, connections: int | None = None, ca_certificate: str | None = None) -> StoreOptions:
        """How to talk to the store, by flags and ``SEEDCORN_CONNECTIONS``, ``SEEDCORN_CA_CERTIFICATE``, ``SEEDCORN_UNSIGNED_PAYLOAD``.

        Raises:
            UsageError: a value makes no sense or the certificate can not be read.
        """
        options = StoreOptions(unsigned_payload=self._flag("SEEDCORN_UNSIGNED_PAYLOAD"))
        chosen = connections if connections is not None else self._number("SEEDCORN_CONNECTIONS")
        if chosen is not None:
            if not 1 <= chosen <= 256:
                raise UsageError(f"{chosen} connections: give a number from 1 to 256")
            options = replace(options, connections=chosen)
        if path := ca_certificate or self.variables.get("SEEDCORN_CA_CERTIFICATE"):
            try:
                options = replace(options, ca_certificate=(self.cwd / path).read_bytes())
            except OSError as error:
                raise UsageError(f"the CA certificate {path} can not be read: {error.strerror}") from error
        return options

    def _number(self, variable: str) -> int | None:
        text = self.variables.get(variable)
        if not text:
            return None
        if not text.isdecimal():
            raise UsageError(f"{variable} is {text!r}, which is not a number")
        return int(text)

    def _flag(self, variable: str) -> bool:
        return self.variables.get(variable, "").lower() in ("1", "true", "yes", "on")


def place_of(address: str, cwd: Path) -> str:
    """An address as the stores take it: URLs as they are, directories by their absolute path.

    Raises:
        UsageError: it is meant for ssh, and would be taken for the name of a directory.
    """
    if _URL.match(address):
        return address
    if _SSH.match(address):
        raise UsageError(f"{address!r} is a place on another machine, and seedcorn does not go there by ssh; if it is a directory here: ./{address}")
    return os.path.normpath(cwd / os.path.expanduser(address))


def bucket_of(address: str) -> tuple[str, str]:
    """(bucket, prefix) of a repository on S3.

    Raises:
        UsageError: it is somewhere else.
    """
    parsed = parse_address(address)
    if parsed.kind != "s3":
        raise UsageError(f"{address} is not on S3: only there does a policy say what a host's credential may do")
    return parsed.bucket, parsed.prefix
