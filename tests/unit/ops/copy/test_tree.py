"""Copying a tree that no honest host makes: it ends, and counts what can not be copied."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.ops.check.test_trees import limit_walk, put_doubling_tree

from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.ops.copy import tree
from seedcorn.ops.copy.copy import copy_snapshots, plan_copy
from seedcorn.repo.content.writer import WriterOptions
from seedcorn.testing.memory_store import MemoryStore
from seedcorn.testing.repositories import SmallRepository


def test_damage_below_shared_directories_is_counted_without_walking_them_all(
    repository: SmallRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_doubling_tree(repository.first, 40)
    monkeypatch.setattr(tree, "NAMED_LIMIT", 20)
    limit_walk(monkeypatch)
    browser = repository.browser()
    with SmallRepository(MemoryStore(), tmp_path / "other") as other:
        destination, state = other.first.repository, other.first.state
        plan = plan_copy(browser, browser.snapshots, destination, state)
        (copy,) = copy_snapshots(browser, destination, state, plan, WriterOptions(), SystemClock(), VoidMonitor()).copies
        assert copy.error_count == 2**40 and len(copy.problems) == 20
        (copied,) = other.browser().snapshots
        assert copied.owner.error_count == 2**40 and len(copied.owner.errors) == 20 and not copied.maintain.complete
