"""Making a repository together with the files on this machine that belong to it: the host file and, if wanted, the recovery words.

Invariant: no file of an earlier repository is touched, and there is no repository whose files could not be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedcorn.events import Clock
from seedcorn.ids import RepositoryId
from seedcorn.jobs.environment import Environment
from seedcorn.jobs.private_files import refuse_existing_file, reserve_private, write_reserved
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
    """Make the repository, and write the words and the host file before it exists: without them nobody could use it.

    Raises:
        UsageError: there is a repository already, one of the files exists, or the passphrase is empty.
        SeedcornError: one of the files can not be written.
        StoreError: the store can not be reached or written.
    """
    chosen = environment.given_host_file(options.host_file)
    for path in filter(None, (chosen, options.recovery_file)):
        refuse_existing_file(path)
    written: list[Path] = []

    def keep(made: access.InitResult) -> None:
        files = {chosen or environment.host_file(None, made.repository): made.host_file.serialize()}
        if options.recovery_file:
            files[options.recovery_file] = _words_text(made.words)
        for path, data in files.items():
            descriptor = reserve_private(path)
            written.append(path)
            write_reserved(descriptor, path, data)

    try:
        made = access.initialize(store, passphrase, options.host_name, clock, label=options.label, trust_hosts=options.trust_hosts, keep=keep)
    except BaseException:
        for path in written:
            path.unlink()
        raise
    return NewRepository(made.repository, made.words, written[0])


def _words_text(words: Sequence[str]) -> bytes:
    lines = (words[at : at + WORDS_A_LINE] for at in range(0, len(words), WORDS_A_LINE))
    return "".join(" ".join(line) + "\n" for line in lines).encode()
