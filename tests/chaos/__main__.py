"""Many hosts, one bucket, no locks, and no mercy: ``python -m tests.chaos --minutes 10 --hosts 8 --seed 1`` (``make chaos``).

Real processes on a real server: hosts back up, a maintainer forgets, takes back and prunes with a short grace, sometimes another prunes at the same
time, the owner checks everything and, on another machine, verifies some packs again and again and tells all hosts so, who then share what is in them.
All but that first machine of the owner are killed and suspended at any moment. Afterwards every confirmed snapshot must restore bit for bit, and
garbage must be gone. What a run decides follows from its seed; what the machine's scheduler does not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.run import ChaosOptions, Report, run_chaos

_DEFAULTS = ChaosOptions()


def main(arguments: Sequence[str] | None = None) -> int:
    """The program: figures as text, and as JSON if asked for. Exit status 1, and everything is kept, if something was violated."""
    asked = _parser().parse_args(arguments)
    seconds, server = 60 * asked.minutes, asked.store == "seaweedfs"
    options = ChaosOptions(seconds=seconds, hosts=asked.hosts, seed=asked.seed, server=server, trust_hosts=asked.trust_hosts)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=asked.work))
    report = run_chaos(folder, options)
    _show(report)
    if asked.json:
        asked.json.write_text(json.dumps(report.as_json()) + "\n", encoding="utf-8")
    if report.violations:
        print(f"\nEverything is kept in {folder}; journal.txt there tells what happened when.")
        return 1
    shutil.rmtree(folder)
    return 0


def _show(report: Report) -> None:
    for name, value in report.as_json().items():
        if name != "violations":
            print(f"{name.replace('_', ' '):24} {value:>14,}" if isinstance(value, int) else f"{name.replace('_', ' '):24} {value:>14}")
    for violation in report.violations:
        print(f"\nVIOLATION: {violation}")
    print(f"{len(report.violations)} violations")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tests.chaos", description="Hosts, prunes and kills on a real server.")
    parser.add_argument("--minutes", type=float, default=_DEFAULTS.seconds / 60, help="how long (default: %(default)g)")
    parser.add_argument("--hosts", type=int, default=_DEFAULTS.hosts, help="machines that back up (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=_DEFAULTS.seed, help="of what is decided by chance (default: %(default)s)")
    parser.add_argument("--store", choices=("seaweedfs", "directory"), default="seaweedfs", help="where the repository is (default: %(default)s)")
    parser.add_argument("--trust-hosts", action="store_true", help="hosts share what any of them has stored, and not only what the owner verified")
    parser.add_argument("--work", type=Path, help="make everything in a new folder here, in memory if there is a choice")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
