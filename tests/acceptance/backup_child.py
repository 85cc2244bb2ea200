"""One backup in a process of its own, to be killed: python backup_child.py REPOSITORY HOST_FILE STATE SOURCE

Says ``ready`` when it begins to scan, and ``done`` at the end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.ops import access
from seedcorn.ops.backup import BackupOptions, backup
from seedcorn.repo.writer import WriterOptions
from seedcorn.store.local import LocalStore


def run(repository: Path, host_file: Path, state: Path, source: Path) -> None:
    """Back up with a checkpoint after every second pack."""
    host = access.HostFile.parse(host_file.read_bytes(), source=str(host_file))
    opened = access.open_host(LocalStore(repository), host)
    kept = access.open_state(state, opened.repository)
    print("ready", flush=True)
    backup(opened, kept, [os.fsencode(source)], BackupOptions(host.name, writer=WriterOptions(checkpoint_packs=2)), SystemClock(), VoidMonitor())
    print("done", flush=True)


if __name__ == "__main__":
    run(*map(Path, sys.argv[1:]))
