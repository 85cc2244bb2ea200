"""Restores one file and says how many requests that took:   python -m benchmarks.one_file PLACE STATE_DIR PASSPHRASE_FILE PATH TARGET

By the library, because only it tells the requests of opening (header, keys, snapshots, new index segments) from those for the file itself.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import seedcorn


def main(place: str, state_dir: str, passphrase_file: str, path: str, target: str) -> None:
    """Print one JSON object: requests of ``opening`` and for the ``file``, by verb."""
    passphrase = Path(passphrase_file).read_text().removesuffix("\n")
    with seedcorn.open_owner(place, passphrase=passphrase, state_dir=state_dir) as session:
        snapshot = session.snapshots()[-1]
        opening = replace(session.repository.store.requests)
        session.restore(snapshot, target, path=path)
        of_file = session.repository.store.requests.since(opening)
    print(json.dumps({"opening": asdict(opening), "file": asdict(of_file)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
