"""One more repository in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository


@pytest.fixture
def trusting(tmp_path: Path) -> Iterator[SmallRepository]:
    """Hosts reuse each other's chunks."""
    with SmallRepository(MemoryStore(), tmp_path / "trusting", trust_hosts=True) as made:
        yield made
