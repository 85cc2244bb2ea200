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
    """Run all of them. Exit status 1 if a thief did harm on any."""
    harmless = True
    for kind in _SERVERS:
        with kind() as server:
            for settings in _SETTINGS:
                with tempfile.TemporaryDirectory() as folder:
                    report = drill(server, Path(folder), **settings)
                print(json.dumps(report.as_json()), flush=True)
                harmless &= report.is_harmless
    return 0 if harmless else 1


if __name__ == "__main__":
    sys.exit(main())
