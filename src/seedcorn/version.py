"""The version of this program. ``pyproject.toml`` says the same; a test compares them."""

from __future__ import annotations

__all__ = ["PROGRAM", "__version__"]

__version__ = "0.1.0"
PROGRAM = f"seedcorn {__version__}"  # as repositories and snapshots record it
