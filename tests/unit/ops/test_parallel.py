"""Work ahead: in order, no more of it than threads, and with one thread in the caller's own."""

from __future__ import annotations

import threading

import pytest

from seedcorn.ops.parallel import work_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order(threads: int) -> None:
    assert list(work_ahead(lambda n: n * n, range(20), threads=threads)) == [n * n for n in range(20)]


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_is_begun_than_there_are_threads(threads: int) -> None:
    begun: list[int] = []

    def work(n: int) -> int:
        begun.append(n)
        return n

    results = work_ahead(work, range(20), threads=threads)
    for taken in range(10):
        assert next(results) == taken
        assert len(begun) <= taken + threads
    results.close()  # type: ignore[attr-defined]  # a generator


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_exception_is_raised_at_its_turn(threads: int) -> None:
    results = work_ahead(lambda n: 10 // (3 - n), range(6), threads=threads)
    assert [next(results) for _ in range(3)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_one_thread_is_the_callers() -> None:
    assert set(work_ahead(lambda _: threading.get_ident(), range(3), threads=1)) == {threading.get_ident()}
