"""seedcorn: incremental, deduplicated, encrypted backups to any object store.

    seedcorn.init(url, passphrase=…)        make a repository and enrol this machine
    seedcorn.open(url)                      a HostSession: .backup(paths)
    seedcorn.open_owner(url, passphrase=…)  an OwnerSession: .snapshots(), .browse(…), .restore(…), and what a maintainer can
    seedcorn.open_maintainer(url, maintain_file=…)  a MaintainSession: .plan_forget(…), .forget(…), .prune(), .undelete(…)

Whatever fails raises a ``SeedcornError`` (``seedcorn.errors`` draws the tree). Importing the package loads nothing of it: names are found when they
are first used, so that asking for the version takes no longer than reading this file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seedcorn.version import __version__

if TYPE_CHECKING:
    from seedcorn.errors import SeedcornError as SeedcornError
    from seedcorn.jobs.library import HostSession as HostSession
    from seedcorn.jobs.library import MaintainSession as MaintainSession
    from seedcorn.jobs.library import NewRepository as NewRepository
    from seedcorn.jobs.library import OwnerSession as OwnerSession
    from seedcorn.jobs.library import init as init
    from seedcorn.jobs.library import open as open  # noqa: A004  # it is called as seedcorn.open
    from seedcorn.jobs.library import open_maintainer as open_maintainer
    from seedcorn.jobs.library import open_owner as open_owner

__all__ = [
    "HostSession",
    "MaintainSession",
    "NewRepository",
    "OwnerSession",
    "SeedcornError",
    "__version__",
    "init",
    "open",
    "open_maintainer",
    "open_owner",
]

_HOMES = dict.fromkeys(__all__, "seedcorn.jobs.library") | {"SeedcornError": "seedcorn.errors"}
del _HOMES["__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
