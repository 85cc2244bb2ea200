"""benchmarks.scaling: the model's arithmetic, and a run on one core."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from benchmarks.scaling import Run, back_up_on, predicted
from seedcorn.testing.repositories import make_tree


@pytest.mark.parametrize(("cores", "seconds"), [(1, 33), (2, 18), (4, 15), (16, 15)])
def test_the_calling_thread_can_not_be_spread(cores: int, seconds: float) -> None:
    one = Run(1, wall=40, calling=11, total=29, idle=3)
    two = Run(2, wall=20, calling=12, total=30, idle=8)
    assert predicted(one, two, cores) == seconds


def test_what_nobody_else_can_have_taken_is_not_of_others() -> None:
    assert Run(2, wall=20, calling=12, total=30, idle=2).others == 8
    assert Run(2, wall=20, calling=12, total=30, idle=10.1).others == 0  # clocks differ a little


def test_a_run_keeps_to_its_core(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", {f"{number}": bytes([number]) * 100_000 for number in range(100)})
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        run = pool.submit(back_up_on, 1, tree, tmp_path).result()
    assert 0 < run.calling < run.total <= run.wall * 1.1
    assert list(tmp_path.iterdir()) == [tree]
