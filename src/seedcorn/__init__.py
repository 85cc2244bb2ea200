"""seedcorn: incremental, deduplicated, encrypted backups to any object store."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
