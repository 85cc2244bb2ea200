"""What a simulated host backs up: a few small real files and what is in them, edited by a seeded generator."""

from __future__ import annotations

import os
import random
from pathlib import Path

__all__ = ["Source", "Tree"]

Tree = dict[bytes, bytes]  # path below the source -> content, files only

_DIRECTORIES = (b"", b"etc/", b"srv/", b"srv/data/")
_NAMES = (b"a", b"b.txt", b"c.bin", b"log", b"notes")
_FILES_LIMIT = 8
_COMMON_CONTENTS = 6  # contents that several hosts have


class Source:
    """``tree`` is what is in ``folder`` now. Each write makes a new file, so that a changed one is known by its inode even within a clock tick."""

    def __init__(self, folder: Path, chosen: random.Random) -> None:
        self.folder = folder
        self.tree: Tree = {}
        self._random = chosen
        for directory in _DIRECTORIES:
            (folder / os.fsdecode(directory)).mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            self.write(*self._new_file())

    def edit(self) -> None:
        """One to three changes, or none at all."""
        for _ in range(self._random.randrange(4)):
            paths = sorted(self.tree)
            what = self._random.random()
            if what < 0.4 or not paths:
                self.write(*self._new_file())
            elif what < 0.6:
                path = self._random.choice(paths)
                self.write(path, self.tree[path] + self._random.randbytes(40))
            elif what < 0.8:
                path = self._random.choice(paths)
                self.write(path, self._content())
            elif len(paths) > 1:
                self._remove(self._random.choice(paths))
        while len(self.tree) > _FILES_LIMIT:
            self._remove(self._random.choice(sorted(self.tree)))

    def _new_file(self) -> tuple[bytes, bytes]:
        return self._random.choice(_DIRECTORIES) + self._random.choice(_NAMES), self._content()

    def _content(self) -> bytes:
        if self._random.random() < 0.5:
            return b"common %d\n" % self._random.randrange(_COMMON_CONTENTS) * 100
        size = self._random.choice((0, 1, 300, 3000, 12_000))  # the last is cut into chunks
        return self._random.randbytes(size)

    def write(self, path: bytes, content: bytes) -> None:
        """Put a file there, in the place of one that may be there."""
        target = os.path.join(os.fsencode(self.folder), path)
        beside = target + b".new"
        with open(beside, "wb") as file:
            file.write(content)
        os.rename(beside, target)
        self.tree[path] = content

    def _remove(self, path: bytes) -> None:
        os.unlink(os.path.join(os.fsencode(self.folder), path))
        del self.tree[path]
