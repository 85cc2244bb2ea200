"""A small repository in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, tmp_path: Path) -> Iterator[SmallRepository]:
    with SmallRepository(store, tmp_path / "machines") as made:
        yield made
