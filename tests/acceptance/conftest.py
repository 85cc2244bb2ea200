"""What the acceptance tests share: a scratch directory, a workshop in it, and real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.workshop import Workshop, open_workshop, scratch

from seedcorn.testing.fixtures import fresh_store, ministack, seaweedfs

__all__ = ["fresh_store", "ministack", "seaweedfs"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty directory that everybody may write to."""
    with scratch() as path:
        yield path


@pytest.fixture
def disk_folder() -> Iterator[Path]:
    """The same on a disk, whose file system knows all kinds of attributes."""
    with scratch(on_disk=True) as path:
        yield path


@pytest.fixture
def workshop(folder: Path) -> Iterator[Workshop]:
    """A new repository in memory, and a clock by which files at rest need not be read again."""
    with open_workshop(folder, settled=True) as opened:
        yield opened
