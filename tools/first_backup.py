"""What ``make backup DIR=...`` runs: back a directory up, restore it somewhere else, compare the two.

The first time it also makes the repository, without asking anything: a passphrase is generated and, like the recovery words, kept in a file that only
the user can read. It drives the installed ``seedcorn`` program and imports nothing of it, so that what it proves is what a user gets. Ends with the
backup's own exit status, or 1 if the restored copy is not the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import secrets
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from prove_restore import SEEDCORN, ProofError, prove_restore, run_seedcorn, say

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SOURCE_ERRORS = 3
EXIT_NO_REPOSITORY = 10
PASSPHRASE_BYTES = 24  # 192 random bits, written in 32 characters
_URL = re.compile(r"[a-z0-9]+:")  # s3://..., s3:https://..., gs://..., az://..., file://...


class BackupError(Exception):
    """The run can not go on. ``str()`` of it is for the user."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Place:
    """A repository and where its secrets are kept on this machine."""

    repository: str
    passphrase_file: Path
    recovery_file: Path

    @property
    def with_passphrase(self) -> list[str]:
        """The options that let the program read it."""
        return ["-r", self.repository, "--passphrase-file", str(self.passphrase_file)]

    @property
    def local_parents(self) -> list[str]:
        """The directory it is in, if it is in one."""
        return [os.path.dirname(self.repository)] if self.is_local else []

    @property
    def is_local(self) -> bool:
        """Whether it is a directory of this machine, as opposed to a URL."""
        return not _URL.match(self.repository)


def place_of(repository: str, environment: dict[str, str]) -> Place:
    """The repository to use (``repository``, else the configured one, else one in the user's data directory) with the files that belong to it.

    The files are named after the repository, so that the secrets of two of them never meet.
    """
    home = Path(environment.get("HOME") or Path.home())
    data = Path(environment.get("XDG_DATA_HOME") or home / ".local/share")
    repository = repository or environment.get("SEEDCORN_REPOSITORY") or str(data / "seedcorn/repository")
    if not _URL.match(repository):
        repository = os.path.abspath(os.path.expanduser(repository))
    config = environment.get("SEEDCORN_CONFIG_DIR")
    folder = Path(config) if config else Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "seedcorn"
    readable = re.sub(r"[^A-Za-z0-9]+", "-", repository).strip("-")[-40:].lstrip("-")
    name = f"{readable}-{hashlib.sha256(repository.encode(errors='surrogateescape')).hexdigest()[:8]}"
    given = environment.get("SEEDCORN_PASSPHRASE_FILE")
    return Place(repository, Path(given) if given else folder / "passphrase" / name, folder / "recovery-words" / name)


def back_up(place: Place, directory: str) -> int:
    """Run the backup, making the repository before it if there is none. 0, or 3 if some sources could not be read."""
    if place.is_local and not (Path(place.repository) / "seedcorn.json").exists():
        make_repository(place)
    status = run_seedcorn("backup", "-r", place.repository, "--", directory)
    if status == EXIT_NO_REPOSITORY:  # a URL: only the program can tell
        make_repository(place)
        status = run_seedcorn("backup", "-r", place.repository, "--", directory)
    if status not in (0, EXIT_SOURCE_ERRORS):
        raise BackupError("The backup failed; see above.", status)
    return status


def make_repository(place: Place) -> None:
    """Run ``seedcorn init`` with a generated passphrase, and show the recovery words, this once."""
    say(f"Making a repository at {place.repository}")
    made_passphrase = _write_passphrase(place.passphrase_file)
    place.recovery_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _keep_older(place.recovery_file)
    if status := run_seedcorn("init", *place.with_passphrase, "--recovery-file", str(place.recovery_file)):
        if made_passphrase and not place.recovery_file.exists():  # nothing came of it, so the passphrase opens nothing
            place.passphrase_file.unlink()
        raise BackupError("The repository could not be made; see above.", status)
    say("")
    say("Recovery words. With these and the repository everything can be restored, on any machine; so can anyone who finds them:")
    say("")
    words = place.recovery_file.read_text().split()
    for at in range(0, len(words), 6):
        say("    " + " ".join(words[at : at + 6]))
    say("")
    say(f"  They are kept in   {place.recovery_file}")
    say(f"  The passphrase in  {place.passphrase_file}")
    say("  Backing up needs neither. Write the words down, keep a copy of both files elsewhere, then take them off this machine:")
    say("  what stays here can add backups and can not read them.")
    say("")


def _write_passphrase(path: Path) -> bool:
    """A new random passphrase in a file that only its owner can read; False if there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(PASSPHRASE_BYTES) + "\n")
    return True


def _keep_older(path: Path) -> None:
    """Move a file of an earlier repository at the same place aside: someone may still have a copy of that repository."""
    if path.exists():
        number = next(number for number in range(1, sys.maxsize) if not path.with_name(f"{path.name}.{number}").exists())
        path.rename(path.with_name(f"{path.name}.{number}"))


def _next_steps(place: Place, directory: str) -> None:
    program = shlex.quote(str(SEEDCORN))
    reading = shlex.join(place.with_passphrase)
    say("")
    say("Next:")
    say(f"  again, for cron     {program} backup -r {shlex.quote(place.repository)} {shlex.quote(directory)}")
    say(f"  what is there       {program} snapshots {reading}")
    say(f"  get something back  {program} restore {reading} {shlex.quote(f'latest:{directory}')} --target NEW_DIRECTORY")
    if place.is_local:
        say("  a repository on the disk that it protects is lost with that disk: REPO=s3://BUCKET/PREFIX or another disk is better")


def run(directory: str, repository: str) -> int:
    """The whole of it; the exit status."""
    if not directory:
        raise BackupError("Say which directory to back up: make backup DIR=/etc", EXIT_USAGE)
    directory = os.path.realpath(os.path.expanduser(directory))  # a link to a directory would be stored as the link that it is
    if not os.path.isdir(directory):
        raise BackupError(f"{directory} is not a directory." if os.path.lexists(directory) else f"There is no {directory}.", EXIT_USAGE)
    place = place_of(repository, dict(os.environ))
    started_ns = time.time_ns()
    status = back_up(place, directory)
    say("")
    if status == EXIT_SOURCE_ERRORS:
        say("Some sources could not be read (see above). The snapshot holds everything else.")
    if not place.passphrase_file.exists():
        say(f"Not proved by a restore: the passphrase is not on this machine ({place.passphrase_file}). That is the safer way; restore elsewhere.")
    elif not prove_restore(place.with_passphrase, directory, started_ns=started_ns, spare=place.local_parents):
        status = EXIT_FAILED
    _next_steps(place, directory)
    return status


def main() -> int:
    """Read the command line, run, and put failures into words."""
    parser = argparse.ArgumentParser(description="Back DIRECTORY up, restore it elsewhere, compare the two.")
    parser.add_argument("directory", metavar="DIRECTORY")
    parser.add_argument("--repository", default="", help="a directory or URL; by default one in the user's data directory")
    arguments = parser.parse_args()
    try:
        return run(arguments.directory, arguments.repository)
    except (BackupError, ProofError) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
