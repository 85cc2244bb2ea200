"""What a restore does for each file."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

from benchmarks.micro.conftest import Measure
from seedcorn.events import VoidMonitor
from seedcorn.ops.restore.restore import RestoreOptions, restore
from seedcorn.testing.repositories import SmallRepository, make_tree


def test_restore_a_small_file(measure: Measure, repository: SmallRepository, tmp_path: Path, scale: int, rng: random.Random) -> None:
    tree = make_tree(tmp_path / "tree", {f"d{number // 20}/f{number % 20}": rng.randbytes(3000) for number in range(2 * scale)})
    repository.backup(tree)
    browser = repository.browser()
    snapshot, numbers = browser.find("latest"), itertools.count()

    def restore_all() -> None:
        target = tmp_path / f"restored-{next(numbers)}"
        assert restore(browser, snapshot, bytes(tree), RestoreOptions(target), VoidMonitor()).files == 2 * scale

    measure(2 * scale, "file", restore_all)
