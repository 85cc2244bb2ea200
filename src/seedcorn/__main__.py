"""``python -m seedcorn``: the same program as ``seedcorn``."""

from __future__ import annotations

import sys

from seedcorn.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
