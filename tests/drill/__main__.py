"""``python -m tests.drill`` (``make drill``): the stolen-host drill on every test server that takes policies; figures as JSON lines."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.drill.drill import drill

from seedcorn.testing.servers import Ministack, S3Server, SeaweedFS

_SERVERS: tuple[type[S3Server], ...] = (SeaweedFS, Ministack)
_SETTINGS = ({"condition": True, "versions": False}, {"condition": False, "versions": True})


def main() -> int:
    """Run all of them. Exit status 1 if a thief read, or deleted, or kept anything from being restored."""
    failed = False
    for kind in _SERVERS:
        with kind() as server:
            for settings in _SETTINGS:
                with tempfile.TemporaryDirectory() as folder:
                    report = drill(server, Path(folder), **settings)
                print(json.dumps(report.as_json()))
                failed |= bool(report.decrypted or report.deletes_accepted or report.others_changed or report.restored < report.snapshots)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
