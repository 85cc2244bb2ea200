"""Doing a little ahead: work on threads, results in order, never more of them in memory than there are threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["work_ahead"]

T = TypeVar("T")
R = TypeVar("R")


def work_ahead(work: Callable[[T], R], items: Iterable[T], *, threads: int) -> Iterator[R]:
    """``work(item)`` for each item, in order, at most ``threads`` of them begun and not yet taken.

    The first exception is raised at its turn; what has not begun by then is given up. One thread would only be waited for: the caller works itself.
    """
    if threads == 1:
        yield from map(work, items)
        return
    pending: deque[Future[R]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="seedcorn-ahead")
    try:
        for item in items:
            pending.append(executor.submit(work, item))
            if len(pending) >= threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
