"""What the hosts back up: trees of which nine tenths are the same on all of them, and which change between runs.

Common files have few versions, and every host goes from one to another by itself. So hosts come back to content that was garbage a moment ago: the
hardest thing for a collection that runs meanwhile. Deterministic for a seed.
"""

from __future__ import annotations

import random
from pathlib import Path

__all__ = ["HostTree"]

_FILES = 300
_COMMON_SHARE = 0.9
_FOLDERS = 10
_VERSIONS = 4
_LARGEST_BYTES = 48_000
_TABLE_BYTES = 700_000  # of each of the parts of a database: more than half a frame, so that its packs are soon needed in part
_TABLES = 4


class HostTree:
    """The tree of one host, in ``folder``."""

    def __init__(self, folder: Path, host: str, rng: random.Random, *, files: int = _FILES) -> None:
        self.folder = folder
        self._host = host
        self._rng = rng
        common = round(files * _COMMON_SHARE)
        self._common = [f"d{number % _FOLDERS}/common-{number:03}" for number in range(common)]
        self._own = [f"d{number % _FOLDERS}/own-{number:03}" for number in range(common, files)]
        for name in self._common:
            self._write(name, 0)
        for name in self._own:
            self._write(name, 0)
        for table in range(_TABLES):
            self._rewrite(table)

    def change(self) -> None:
        """What happens between two backups."""
        rng = self._rng
        for name in self._some(self._common, 12):
            self._write(name, rng.randrange(_VERSIONS))
        for name in self._some(self._own, 3):
            with (self.folder / name).open("ab") as file:
                file.write(rng.randbytes(rng.randint(1, 2_000)))
        for name in self._some(self._common, 3):
            (self.folder / name).unlink(missing_ok=True)
        if rng.random() < 0.5:
            self._rewrite(rng.randrange(_TABLES))
        if rng.random() < 0.2:
            self._upgrade(rng.randint(1, _FOLDERS), rng.randrange(_VERSIONS))

    def _some(self, names: list[str], most: int) -> list[str]:
        return self._rng.sample(names, min(len(names), self._rng.randint(0, most)))

    def _upgrade(self, folders: int, version: int) -> None:
        """One package or a whole distribution: directories of one version, so that packs of several frames come to be."""
        chosen = tuple(f"d{number}/" for number in self._rng.sample(range(_FOLDERS), folders))
        for name in self._common:
            if name.startswith(chosen):
                self._write(name, version)

    def _rewrite(self, table: int) -> None:
        """What a table held before never comes back."""
        with (self.folder / "database").open("r+b" if (self.folder / "database").exists() else "wb") as file:
            file.seek(table * _TABLE_BYTES)
            file.write(self._rng.randbytes(_TABLE_BYTES))

    def _write(self, name: str, version: int) -> None:
        owner = "" if name in self._common else self._host
        content = random.Random(f"{owner} {name} {version}")
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.randbytes(content.randint(0, _LARGEST_BYTES)))
