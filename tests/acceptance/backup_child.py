"""One backup of one directory; as a program, in a process that can be killed: python backup_child.py REPOSITORY HOST_FILE STATE SOURCE

Says ``ready`` when it begins to scan, and ``done`` at the end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.ops import access
from seedcorn.ops.backup.backup import BackupOptions, BackupResult, backup
from seedcorn.repo.content import packer
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.store.local import LocalStore

__all__ = ["run_backup"]


def run_backup(repository: Path, host_file: Path, state: Path, source: Path, ready: Callable[[], None] = lambda: None) -> BackupResult:
    """With small packs and a checkpoint after every second one."""
    host = access.HostFile.parse(host_file.read_bytes(), source=str(host_file))
    opened = access.open_host(LocalStore(repository), host)
    kept = access.open_state(state, opened.repository)
    try:
        ready()
        options = BackupOptions(host.name, writer=WriterOptions(checkpoint_packs=2))
        with mock.patch.object(packer, "PACK_TARGET_BYTES", 4 << 20):
            return backup(opened, kept, [os.fsencode(source)], options, SystemClock(), VoidMonitor())
    finally:
        kept.close()


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    run_backup(given[0], given[1], given[2], given[3], ready=lambda: print("ready", flush=True))
    print("done", flush=True)
