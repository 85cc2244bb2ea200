"""The maintain file on disk: made by the owner, private, and read by whoever forgets and prunes without the passphrase.

docs/format.md, section "Host file and maintain file".
"""

from __future__ import annotations

from pathlib import Path

from seedcorn.errors import CredentialError
from seedcorn.jobs.private_files import create_private, read_private
from seedcorn.ops import access
from seedcorn.ops.access import MaintainFile

__all__ = ["export_maintain_file", "load_maintain_file"]


def load_maintain_file(path: Path) -> MaintainFile:
    """A maintain file.

    Raises:
        CredentialError: there is none, others can read it, or it is none.
    """
    try:
        data = read_private(path)
    except FileNotFoundError as error:
        raise CredentialError(f"there is no maintain file {path}: the owner makes one with `seedcorn key export-maintain --out FILE`") from error
    return MaintainFile.parse(data, source=str(path))


def export_maintain_file(owner: access.OwnerRepository, path: Path) -> None:
    """Write the maintain file of a repository.

    Raises:
        UsageError: there is a file of that name.
    """
    create_private(path, access.maintain_file(owner).serialize())
