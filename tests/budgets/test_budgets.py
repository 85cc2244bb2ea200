"""Requests are money and bytes are time: what fixed steps ask of a store is in ``budgets.txt``, and neither more nor less is right.

Requests are exact. Keys are always the same here, so cuts and ids are, and data packs. Listings and the index differ a little from run to run: inode
numbers and times of day are in what is compressed, and in the ids by which long lists of runs are cut. So a path may cross one pack of listings more
or less, and that alone is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.acceptance.workshop import scratch
from tests.budgets.measure import Cost, Costs, Row, measure, read_table

from seedcorn.store.api import Store
from seedcorn.store.local import LocalStore
from seedcorn.testing.memory_store import MemoryStore

ALLOWED_SHARE, ALLOWED_BYTES = 0.001, 64
ALLOWED_SHARE_OF_LISTINGS, ALLOWED_BYTES_OF_LISTINGS = 0.01, 512
LISTINGS = {"listing pack", "index segment"}
ALLOWED_LISTING_PACKS = 1

Stores = Callable[[Path], tuple[Store, Store]]


@pytest.mark.made_up_keys
@pytest.mark.parametrize(
    "stores",
    [
        pytest.param(lambda folder: (MemoryStore(), MemoryStore()), id="memory"),
        pytest.param(lambda folder: (LocalStore(folder / "repository"), LocalStore(folder / "other repository")), id="directory"),
    ],
)
def test_every_step_costs_what_it_did(stores: Stores) -> None:
    with scratch() as folder:
        found = measure(*stores(folder), folder)
    broken = list(differences(read_table(), found))
    assert not broken, "\n".join(["what is asked of the store has changed (if it should have: `make budgets`):", *broken])


def differences(budget: Costs, found: Costs) -> list[str]:
    return [text for row in sorted(budget.keys() | found.keys()) if (text := _difference(row, budget.get(row, Cost()), found.get(row, Cost())))]


def _difference(row: Row, budget: Cost, found: Cost) -> str:
    if abs(found.requests - budget.requests) > (ALLOWED_LISTING_PACKS if (row.verb, row.kind) == ("get", "listing pack") else 0):
        return f"{row}: {found.requests} requests, budget {budget.requests}"
    off = found.put_bytes - budget.put_bytes
    share, always = (ALLOWED_SHARE_OF_LISTINGS, ALLOWED_BYTES_OF_LISTINGS) if row.kind in LISTINGS else (ALLOWED_SHARE, ALLOWED_BYTES)
    if abs(off) > always + share * budget.put_bytes:
        return f"{row}: {found.put_bytes:,} bytes, budget {budget.put_bytes:,} ({off:+,} or {off / budget.put_bytes:+.1%})"
    return ""


def test_a_difference_is_named() -> None:
    budget = read_table()
    assert differences(budget, budget) == []
    row = next(row for row in budget if str(row) == "second day: put data pack")
    cost = budget[row]
    assert differences(budget, budget | {row: Cost(2, cost.put_bytes)}) == ["second day: put data pack: 2 requests, budget 1"]
    assert differences(budget, budget | {row: Cost(1, cost.put_bytes + 60)}) == []
    (text,) = differences(budget, budget | {row: Cost(1, cost.put_bytes * 2)})
    assert text.startswith(f"second day: put data pack: {cost.put_bytes * 2:,} bytes, budget {cost.put_bytes:,} (+")
    crossed = next(row for row in budget if str(row) == "restore one file: get listing pack")
    assert differences(budget, budget | {crossed: Cost(budget[crossed].requests - 1)}) == []
    assert len(differences(budget, budget | {crossed: Cost(budget[crossed].requests + 2)})) == 1
    assert differences(budget, {other: cost for other, cost in budget.items() if other != row}) == ["second day: put data pack: 0 requests, budget 1"]


def test_what_the_budgets_promise() -> None:
    """The few lines that are targets, whoever writes the table anew."""
    budget = read_table()
    by_step = {step: {(row.verb, row.kind): cost for row, cost in budget.items() if row.step == step} for step in {row.step for row in budget}}
    assert sum(cost.requests for cost in by_step["nothing changed"].values()) <= 8
    for step in ("nothing changed", "touched", "renamed directory", "second host, same files"):
        assert ("put", "data pack") not in by_step[step], step
    assert by_step["edit in a big file"]["put", "data pack"].put_bytes < 100_000
    assert not any(row.verb in ("delete", "head") for row in budget if not row.step.startswith("prune"))
    planning = ("forget -n", "prune -n", "prune, nothing to do")
    assert not any(row.verb == "get" and row.kind.endswith("pack") for row in budget if row.step in planning)
    assert not any(row.verb == "put" for row in budget if row.step in ("forget -n", "prune -n"))
    reading = ("snapshots", "ls", "restore all", "restore one file", "check", "check --read-data")
    assert not any(row.verb == "put" for row in budget if row.step in reading)
