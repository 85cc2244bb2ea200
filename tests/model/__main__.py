"""``python -m tests.model``: search everything, and print the table of states and mutants (``--json`` for a report generator)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from tests.model.configurations import CONFIGURATIONS, describe, mutated
from tests.model.rules import MUTANTS, VARIATIONS
from tests.model.search import I1, Outcome, search
from tests.model.story import tell

Row = dict[str, Any]


def main() -> int:
    """Exit status 0 if no configuration and no variation loses anything, and every mutant does."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="search the configurations in the size of the tests")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="search these configurations, mutants and variations only")
    parser.add_argument("--json", action="store_true", help="one JSON line for each row, as it is found")
    parser.add_argument("--trace", choices=MUTANTS, metavar="MUTANT", help=f"tell a shortest counterexample of {', '.join(MUTANTS)}")
    arguments = parser.parse_args()
    if arguments.trace:
        print(*tell(search(mutated(MUTANTS[arguments.trace]), I1)), sep="\n")
        return 0
    expected = True
    for row in rows(quick=arguments.quick, only=set(arguments.only)):
        print(json.dumps(row) if arguments.json else as_line(row), flush=True)
        expected &= (row["violation"] is None) != (row["kind"] == "mutant")
    return 0 if expected else 1


def rows(*, quick: bool, only: set[str]) -> Iterator[Row]:
    """Search one after the other."""
    for name, configuration in CONFIGURATIONS.items():
        if not only or name in only:
            setting = configuration.reduced if quick else configuration.full
            yield as_row("configuration", name, describe(setting), search(setting))
    for kind, mutants in (("mutant", MUTANTS), ("variation", VARIATIONS)):
        for name, mutant in mutants.items():
            if not only or name in only:
                yield as_row(kind, name, mutant.meaning, search(mutated(mutant), I1))


def as_row(kind: str, name: str, meaning: str, outcome: Outcome) -> Row:
    """``length``: steps of the counterexample, or steps to the last state."""
    seconds = round(outcome.seconds, 2)
    found = {"states": outcome.states, "transitions": outcome.transitions, "length": outcome.length, "cpu_seconds": seconds}
    return {"kind": kind, "name": name, "meaning": meaning, "violation": outcome.violation} | found


def as_line(row: Row) -> str:
    """A row of the table."""
    verdict = f"killed in {row['length']} steps: {row['violation']}" if row["violation"] else "no violation"
    return f"{row['kind']:13}  {row['name']:22} {row['states']:>10,} states {row['cpu_seconds']:>7.1f} s  {verdict}  ({row['meaning']})"


if __name__ == "__main__":
    sys.exit(main())
