"""Makes the golden repository of a format version: ``PYTHONPATH=src python -m tests.golden.make VERSION`` from the top folder.

Run once for each version, on a file system with extended attributes and holes, and never again: a golden repository is what programs of that day
wrote, and every later one has to read it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.golden.tree import change_tree, make_tree, to_json

from seedcorn.crypto.slots import KdfParameters
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.ops import access
from seedcorn.ops.access import HostFile
from seedcorn.ops.backup import BackupOptions, backup
from seedcorn.store.local import LocalStore

PASSPHRASE = "golden grain, weighed twice"
TREE = b"tree"


def main(version: str) -> None:
    """Write ``tests/golden/VERSION``: the repository, its secrets, and what each snapshot must restore to."""
    folder = Path(__file__).parent / version
    folder.mkdir()
    store, clock = LocalStore(folder / "repository"), SystemClock()
    made = access.initialize(store, PASSPHRASE, "alpha", clock, kdf=KdfParameters.fresh(memory_kib=16 << 10, iterations=1, lanes=1))
    owner = access.open_owner(store, PASSPHRASE)
    hosts = [made.host_file, access.add_host(owner, "beta", clock)]
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / "tree"
        make_tree(tree)
        run(store, hosts[0], Path(temporary), tree)
        (folder / "1.json").write_text(json.dumps(to_json(tree), indent=0))
        change_tree(tree)
        for host in hosts:
            run(store, host, Path(temporary), tree)
        (folder / "2.json").write_text(json.dumps(to_json(tree), indent=0))
        secrets = {"passphrase": PASSPHRASE, "words": " ".join(made.words), "path": str(tree), "snapshots": ["1.json", "2.json", "2.json"]}
    (folder / "secrets.json").write_text(json.dumps(secrets, indent=1) + "\n")


def run(store: LocalStore, host: HostFile, temporary: Path, tree: Path) -> None:
    """One backup by one host."""
    state = access.open_state(temporary / host.name, host.key.repository)
    result = backup(access.open_host(store, host), state, [bytes(tree)], BackupOptions(host.name, tags=("golden",)), SystemClock(), VoidMonitor())
    state.close()
    assert result.exit_code == 0


if __name__ == "__main__":
    main(sys.argv[1])
