"""Small repositories for tests: cheap to make, on any store, with machines that back up to them and owners that read them.

Everything goes through ``seedcorn.ops``, as a front end would. Local state lives in numbered folders below one that the test gives; the key slots'
Argon2 parameters are the lowest that the format allows.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from seedcorn.crypto.slots import KdfParameters
from seedcorn.events import Clock, Monitor, SystemClock, VoidMonitor
from seedcorn.format.pack import PackKind
from seedcorn.format.tree import Kind, Node, content_records
from seedcorn.ops import access
from seedcorn.ops.access import HostFile, HostRepository, OwnerRepository, State
from seedcorn.ops.backup.backup import BackupOptions, BackupResult, backup
from seedcorn.ops.browse import Browser, open_browser
from seedcorn.ops.revoke import plan_revocation, revoke
from seedcorn.repo.content.packer import PackerOptions
from seedcorn.repo.content.writer import Writer, WriterOptions
from seedcorn.store.api import Store

__all__ = ["PASSPHRASE", "Machine", "SmallRepository", "cheap_kdf", "make_tree", "read_file", "read_tree"]

PASSPHRASE = "every seed is a promise"


def cheap_kdf() -> KdfParameters:
    """Parameters of a key slot that cost nothing to derive."""
    return KdfParameters.fresh(memory_kib=64, iterations=1, lanes=1)


class Machine:
    """One enrolled host: its host file and its local state."""

    def __init__(self, store: Store, host_file: HostFile, folder: Path, clock: Clock) -> None:
        self.store = store
        self.host_file = host_file
        self.clock = clock
        self.state: State = access.open_state(folder, host_file.key.repository)
        self._folder = folder

    @property
    def repository(self) -> HostRepository:
        """Opened anew: reads the header."""
        return access.open_host(self.store, self.host_file)

    def backup(self, *paths: str | os.PathLike[str] | bytes, monitor: Monitor | None = None, options: BackupOptions | None = None) -> BackupResult:
        """Back up ``paths`` as this machine."""
        chosen = options or BackupOptions(self.host_file.name)
        return backup(self.repository, self.state, [os.fsencode(path) for path in paths], chosen, self.clock, monitor or VoidMonitor())

    def writer(self, options: WriterOptions | None = None, monitor: Monitor | None = None) -> Writer:
        """A session to be driven by hand. Close it."""
        return Writer(self.repository, self.state, options or WriterOptions(PackerOptions()), self.clock, monitor or VoidMonitor())

    def forget_state(self) -> None:
        """Lose the local state, as a reinstalled machine has."""
        self.state.close()
        self._folder = self._folder.with_name(self._folder.name + "-new")
        self.state = access.open_state(self._folder, self.host_file.key.repository)

    def close(self) -> None:
        self.state.close()


class SmallRepository:
    """A new repository on ``store`` with one enrolled machine, ``first``. A context manager: closing it closes every state."""

    def __init__(self, store: Store, folder: Path, *, trust_hosts: bool = False, clock: Clock | None = None, host_name: str = "alpha") -> None:
        self.store = store
        self.clock: Clock = clock or SystemClock()
        self._folder = folder
        self._numbers = itertools.count(1)
        self._stack = ExitStack()
        self.made = access.initialize(store, PASSPHRASE, host_name, self.clock, trust_hosts=trust_hosts, kdf=cheap_kdf())
        self.words = " ".join(self.made.words)
        self.first = self._machine(self.made.host_file)
        self._owner_state: State | None = None

    def __enter__(self) -> SmallRepository:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _machine(self, host_file: HostFile) -> Machine:
        machine = Machine(self.store, host_file, self._new_folder(), self.clock)
        self._stack.callback(machine.close)
        return machine

    def _new_folder(self) -> Path:
        return self._folder / f"state-{next(self._numbers)}"

    def machine(self, name: str, *, domain: str | None = None) -> Machine:
        """Enrol one more host, in the dedup domain that all are in, or in the one that is named as ``choose_domain`` takes it."""
        return self._machine(access.add_host(self.owner(), name, self.clock, domain=domain))

    def move(self, machine: Machine, domain: str) -> None:
        """Move a host to another dedup domain, and bring its new host file to its machine."""
        machine.host_file = access.move(self.owner(), machine.host_file.name, self.clock, domain=domain)

    def machine_again(self, store: Store | None = None) -> Machine:
        """The first host, newly installed: it has seen nothing yet. To be closed."""
        return Machine(store or self.store, self.made.host_file, self._new_folder(), self.clock)

    def revoke(self, name: str, last_seq: int | None = None) -> None:
        """Accept nothing more of a host, as an owner does who has never seen the repository."""
        owner = self.owner()
        revoke(owner, plan_revocation(owner, self.new_state(), name, last_seq=last_seq), self.clock)

    def owner(self, store: Store | None = None) -> OwnerRepository:
        """Opened by the recovery words; reads the header. ``store`` may be a damaged copy."""
        return access.open_owner_with_words(store or self.store, self.words)

    def owner_state(self) -> State:
        """The state of the one machine on which the owner usually reads."""
        if self._owner_state is None:
            self._owner_state = self.new_state()
        return self._owner_state

    def new_state(self) -> State:
        """The state of an owner who has never seen this repository."""
        state = access.open_state(self._new_folder(), self.made.repository)
        self._stack.callback(state.close)
        return state

    def browser(self, *, store: Store | None = None, fresh: bool = False) -> Browser:
        """The owner's view, with the state that remembers the last one unless ``fresh``."""
        return open_browser(self.owner(store), self.new_state() if fresh else self.owner_state())

    def backup(self, *paths: str | os.PathLike[str] | bytes, monitor: Monitor | None = None, options: BackupOptions | None = None) -> BackupResult:
        """Back up as the first machine."""
        return self.first.backup(*paths, monitor=monitor, options=options)


def make_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write ``files`` (relative path, content) below ``folder``, with the directories that they need."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read_file(browser: Browser, node: Node) -> bytes:
    """A file's content as stored, chunk by chunk and verified; holes are left out.

    Raises:
        IntegrityError: some of it can not be read.
    """
    reader = browser.reader
    return b"".join([reader.chunk(PackKind.DATA, chunk_id, length) for chunk_id, length in content_records(reader.records(node))])


def read_tree(browser: Browser, reference: str = "latest", path: bytes = b"/", monitor: Monitor | None = None) -> dict[bytes, bytes | None]:
    """Every path below ``path``, with the content of files and None for everything else."""
    top = browser.entry(browser.find(reference), path)
    found: dict[bytes, bytes | None] = {}
    for entry in browser.walk(top, monitor or VoidMonitor()):
        found[entry.path] = read_file(browser, entry.node) if entry.node.kind == Kind.FILE else None
    return found
