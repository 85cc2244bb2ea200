"""The program behind `make reliability`: measures everything, or what ``--only`` names, and writes the page; ``--report-only`` only writes it.

Settings come from the command line, or from variables of the same names in capitals, which is how make hands them on.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from reliability.evidence import load_all
from reliability.measurements import MEASUREMENTS, Size, measure, measurements_of
from reliability.page import render


def _options() -> argparse.Namespace:
    names = [measurement.name for measurement in MEASUREMENTS]
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    parser.add_argument("--runs", type=int, default=os.environ.get("RUNS") or 0, metavar="N", help="simulated runs [2000; if small: 60]")
    parser.add_argument("--small", action="store_true", default=bool(os.environ.get("SMALL")), help="some minutes; the page says so")
    resume = "keep the simulated runs in DIR, and go on with those that are there; it must be of this commit"
    parser.add_argument("--resume", type=Path, default=os.environ.get("RESUME") or None, metavar="DIR", help=resume)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), metavar="NAME,...", help=f"measure only these of {', '.join(names)}")
    parser.add_argument("--report", type=Path, default=os.environ.get("REPORT") or "docs", help="where the page goes [docs]")
    parser.add_argument("--report-only", action="store_true", help="only write the page, of whatever has been measured")
    found = parser.parse_args()
    found.only = [name for name in found.only.split(",") if name]
    if unknown := set(found.only) - set(names):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    return found


def main() -> int:
    """Exit status 1 if a command failed; what the others found is kept all the same."""
    options = _options()
    kept: Path = options.report / "reliability"
    failed = []
    for measurement in [] if options.report_only else measurements_of(options.only):
        print(f"-- {measurement.name}", flush=True)
        found = measure(measurement, Size(options.small, options.runs, options.resume))
        if found is not None:
            found.save(kept)
        if found is None or not found.passed:
            failed.append(measurement.name)
    page = options.report / "reliability.md"
    page.write_text(render(load_all(kept)))
    print(f"-- {page}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
