"""The machines of a world, and what outlives the processes on them: state directories, files that are backed up, and the files that give a right.

Owns which of it a crash closes and a lost disk takes; knows no store and no time.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from seedcorn.ids import RepositoryId
from seedcorn.ops import access
from seedcorn.ops.access import HostFile, State
from seedcorn.testing.simulation.source import Source

__all__ = ["Host", "LocalState", "Maintainer"]


class LocalState:
    """A state directory, which outlives the processes that use it unless it is lost."""

    def __init__(self, folder: Path, repository: RepositoryId) -> None:
        self._folder = folder
        self._repository = repository
        self._opened: State | None = None

    @property
    def opened(self) -> State:
        """The state; opened when it is first needed after a crash."""
        if self._opened is None:
            self._opened = access.open_state(self._folder, self._repository)
        return self._opened

    def close(self) -> None:
        """The process that had it open has ended."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def lose(self) -> None:
        """The disk that it was on is gone."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Host:
    """One enrolled machine: its host file, its files, and its local state."""

    def __init__(self, host_file: HostFile, folder: Path, chosen: random.Random) -> None:
        self.name = host_file.name
        self.host_file = host_file
        self.source = Source(folder / "source", chosen)
        self.state = LocalState(folder / "state", host_file.key.repository)


class Maintainer:
    """One machine with the maintain file, and its local state."""

    def __init__(self, name: str, folder: Path, repository: RepositoryId) -> None:
        self.name = name
        self.state = LocalState(folder / "state", repository)
