"""Making a repository together with the files on this machine that belong to it: the host file and, if wanted, the recovery words.

Invariant: no file of an earlier repository is touched, and whatever can be refused is refused before the repository exists.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from seedcorn.errors import UsageError
from seedcorn.events import Clock
from seedcorn.ids import RepositoryId
from seedcorn.jobs.environment import Environment
from seedcorn.jobs.host_files import save_host_file
from seedcorn.jobs.private_files import reserve_private, write_reserved
from seedcorn.ops import access
from seedcorn.repo.repository import refuse_existing

__all__ = ["FoundingOptions", "NewRepository", "found_repository", "refuse_existing"]

WORDS_A_LINE = 6


@dataclass(frozen=True, slots=True)
class FoundingOptions:
    """Paths are as given: None is the usual place (host file), or nowhere (recovery words)."""

    host_name: str
    host_file: str | None = None
    recovery_file: Path | None = None
    label: str = access.INITIAL_LABEL
    trust_hosts: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class NewRepository:
    """What has been made. The words exist nowhere else, unless they were written to a recovery file."""

    repository: RepositoryId
    words: tuple[str, ...]  # 24; they open the repository if the passphrase is lost
    host_file: Path  # lets this machine back up without the passphrase

    def __repr__(self) -> str:
        return f"NewRepository({self.repository.hex()}, host_file={str(self.host_file)!r})"


def found_repository(store: access.Store, passphrase: str, options: FoundingOptions, environment: Environment, clock: Clock) -> NewRepository:
    """Make the repository, then write the words and the host file.

    Raises:
        UsageError: there is a repository already, one of the files exists, or the passphrase is empty.
        StoreError: the store can not be reached or written.
    """
    chosen = environment.given_host_file(options.host_file)
    if chosen and chosen.exists():
        raise UsageError(f"{chosen} exists already, and what is in it may still be needed: choose another name, or move it away")
    words_file = reserve_private(options.recovery_file) if options.recovery_file else None
    try:
        made = access.initialize(store, passphrase, options.host_name, clock, label=options.label, trust_hosts=options.trust_hosts)
    except BaseException:
        if words_file is not None and options.recovery_file:
            os.close(words_file)
            options.recovery_file.unlink()
        raise
    if words_file is not None and options.recovery_file:
        lines = (made.words[at : at + WORDS_A_LINE] for at in range(0, len(made.words), WORDS_A_LINE))
        write_reserved(words_file, options.recovery_file, "".join(" ".join(line) + "\n" for line in lines).encode())
    path = chosen or environment.host_file(None, made.repository)
    save_host_file(path, made.host_file)
    return NewRepository(made.repository, made.words, path)
