"""Where it happens: a store, a repository with its hosts, and the real program, run as a process with an environment of its own.

Owns every path and every environment. Knows nothing of what is run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import seedcorn
from seedcorn.events import SystemClock
from seedcorn.jobs.host_files import enroll_to_file, save_host_file
from seedcorn.ops import access
from seedcorn.testing.machine import Finished
from seedcorn.testing.repositories import PASSPHRASE, cheap_kdf
from seedcorn.testing.servers import SeaweedFS

__all__ = ["Ground", "open_ground"]

_BUCKET = "chaos"
_OWNER_SECONDS = 600


@dataclass(frozen=True)
class Ground:
    """A repository at ``address``, and a folder for everything else."""

    folder: Path
    address: str
    credentials: Mapping[str, str]

    @property
    def maintain_file(self) -> Path:
        return self.folder / "maintain.json"

    def host_file(self, host: str) -> Path:
        return self.folder / f"{host}.json"

    def state(self, name: str) -> Path:
        """The state directory of one machine."""
        return self.folder / "states" / name

    def environment(self, name: str) -> dict[str, str]:
        """All that the program sees on the machine ``name``. Secrets are given by those who have them."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(seedcorn.__file__).parents[1]),
            "HOME": str(self.folder / "home"),
            "LC_ALL": "C.UTF-8",
            "SEEDCORN_REPOSITORY": self.address,
            "SEEDCORN_STATE_DIR": str(self.state(name)),
            **self.credentials,
        }

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "seedcorn", *map(str, arguments)]

    @property
    def owners_secret(self) -> tuple[str, Path]:
        return "--passphrase-file", self.folder / "passphrase"

    def run(self, name: str, *arguments: str | Path) -> Finished:
        """Run the program to its end."""
        finished = subprocess.run(
            self.command(*arguments), env=self.environment(name), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_OWNER_SECONDS
        )
        return Finished(finished.returncode, finished.stdout.decode(errors="replace"), finished.stderr.decode(errors="replace"))

    def owner(self, *arguments: str | Path) -> Finished:
        """Run it as the owner, on a machine that has seen nothing before the chaos ended."""
        return self.run("last-owner", *arguments, *self.owners_secret)

    def maintainer(self, *arguments: str | Path) -> Finished:
        """Run it as a maintainer on a new machine."""
        return self.run("last-maintainer", *arguments, "--maintain-file", self.maintain_file)


@contextmanager
def open_ground(folder: Path, hosts: list[str], *, server: bool, trust_hosts: bool) -> Iterator[Ground]:
    """A new repository with ``hosts`` on a SeaweedFS server or in a directory; the server ends with the block."""
    if not server:
        yield _found(Ground(folder, str(folder / "repository"), {}), hosts, trust_hosts=trust_hosts)
        return
    with SeaweedFS() as seaweedfs:
        seaweedfs.make_bucket(_BUCKET)
        yield _found(Ground(folder, seaweedfs.address(_BUCKET, "repository"), seaweedfs.credentials), hosts, trust_hosts=trust_hosts)


def _found(ground: Ground, hosts: list[str], *, trust_hosts: bool) -> Ground:
    (ground.folder / "home").mkdir(parents=True)
    _, secret = ground.owners_secret
    secret.touch(mode=0o600)
    secret.write_text(PASSPHRASE)
    store = access.open_at(ground.address, ground.credentials, access.StoreOptions())
    clock = SystemClock()
    made = access.initialize(store, PASSPHRASE, hosts[0], clock, trust_hosts=trust_hosts, kdf=cheap_kdf())
    save_host_file(ground.host_file(hosts[0]), made.host_file)
    owner = access.open_owner_with_words(store, " ".join(made.words))
    for host in hosts[1:]:
        enroll_to_file(owner, host, ground.host_file(host), clock)
    store.close()
    exported = ground.owner("key", "export-maintain", "--out", ground.maintain_file)
    assert exported.code == 0, exported.err
    return ground
