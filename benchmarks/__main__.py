"""The program behind `make benchmark` and `make benchmark-scale`; `python -m benchmarks --help` lists its options.

Settings come from the command line, or from variables of the same names in capitals, which is how make hands them on.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import workloads
from benchmarks.main_job import main_sections
from benchmarks.measure import own_peak_bytes
from benchmarks.peers import PROGRAMS, new_program
from benchmarks.results import IndexReport, Results, Run, commit, file_system, machine
from benchmarks.runner import Plan, Section, apart, run_sections, say
from benchmarks.scale import scale_sections

_SMALL_TREE_BYTES = 300 << 20
_INDEX_OUTPUT = "scale_index.txt"  # where make leaves what benchmarks.scale_index prints
_SUITES: dict[str, Callable[[Plan], list[Section]]] = {"main": main_sections, "scale": scale_sections}


def _options() -> argparse.Namespace:
    def setting(name: str, default: str) -> str:
        return os.environ.get(name) or default

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("suite", nargs="?", choices=list(_SUITES), default="main")
    parser.add_argument("--rounds", type=int, default=setting("ROUNDS", "3"), metavar="N", help="rounds of the main job [3]")
    parser.add_argument("--duplicity-rounds", type=int, default=setting("DUPLICITY_ROUNDS", "99"), metavar="N", help="at most as many with duplicity")
    parser.add_argument("--work", type=Path, default=setting("WORK", "build/benchmark"), help="where everything is put [build/benchmark]")
    parser.add_argument("--tree", type=Path, default=setting("TREE", "/usr"), help="what is copied and backed up [/usr]")
    parser.add_argument("--peers", type=Path, default=setting("PEERS", "build/peers"), help="where tools/get_peers put them [build/peers]")
    parser.add_argument("--only", default=setting("ONLY", ",".join(PROGRAMS)), metavar="NAME,...", help=f"which programs [{','.join(PROGRAMS)}]")
    parser.add_argument("--report", type=Path, default=os.environ.get("REPORT") or None, help="where the report goes [docs; if small: WORK/report]")
    parser.add_argument("--small", action="store_true", default=bool(os.environ.get("SMALL")), help="300 MB of the tree: a few minutes")
    cold = os.environ.get("COLD") != "0"
    parser.add_argument("--cold", action=argparse.BooleanOptionalAction, default=cold, help="empty the machine's page cache, if allowed [yes]")
    parser.add_argument("--resume", action="store_true", default=bool(os.environ.get("RESUME")), help="go on after the last finished round")
    parser.add_argument("--report-only", action="store_true", help="only write the report, of whatever has been measured")
    found = parser.parse_args()
    unknown = set(found.only.split(",")) - set(PROGRAMS)
    if unknown:
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    found.work = found.work.resolve()
    found.peers = found.peers.resolve()
    found.report = found.report or (found.work / "report" if found.small else Path("docs"))
    return found


def main() -> None:
    """Measure, then report."""
    options = _options()
    lines = options.work / f"{options.suite}.jsonl"
    if not options.report_only:
        options.work.mkdir(parents=True, exist_ok=True)
        plan = _plan(options)
        head = _head(options, plan)
        run = Run.resume(lines, head) if options.resume and lines.exists() else Run.begin(lines, head)
        run_sections(plan, run, _SUITES[options.suite](plan))
        say(f"-- done; the measuring process itself peaked at {own_peak_bytes() / 2**20:.0f} MiB, less than which no figure of memory can show")
    _publish(options, Run.read(lines).results if lines.exists() else None)


def _plan(options: argparse.Namespace) -> Plan:
    names = tuple(options.only.split(","))
    tree = options.work / "tree"
    _prepare_tree(options.tree, tree, _SMALL_TREE_BYTES if options.small else None)
    size = apart(workloads.tree_size, tree)
    return Plan(options.work, options.peers, names, options.rounds, size.bytes, options.small, options.cold, {"duplicity": options.duplicity_rounds})


def _prepare_tree(source: Path, tree: Path, wanted_bytes: int | None) -> None:
    """Copy the seed tree, unless it is there from a run before."""
    origin, wanted = tree.with_name("tree-origin"), f"{source.resolve()} {wanted_bytes or 'all'}\n"
    if origin.exists() and origin.read_text() == wanted:
        workloads.undo_second_day(tree, tree.with_name("saved"))
        return
    say(f"-- copying {source}")
    origin.unlink(missing_ok=True)
    for left in (tree, tree.with_name("saved")):
        shutil.rmtree(left, ignore_errors=True)
    if wanted_bytes is None:
        workloads.copy_tree(source, tree)
    else:
        apart(workloads.sample_tree, source, tree, wanted_bytes)
    origin.write_text(wanted)


def _head(options: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """The conditions of a run. Two runs under equal ones may be joined."""
    homes = plan.work / "versions"
    shutil.rmtree(homes, ignore_errors=True)
    programs = [new_program(name, homes / name, plan.peers) for name in plan.programs]
    head = {
        "suite": options.suite,
        "small": plan.small,
        "rounds": plan.rounds,
        "versions": {program.name: program.version() for program in programs},
        "settings": {program.name: program.settings for program in programs},
        "commit": commit(),
        "machine": machine() | {"file_system": file_system(plan.work)},
        "tree": vars(apart(workloads.tree_size, plan.tree)),
        "second_day": _second_day(plan.tree),
    }
    shutil.rmtree(homes)
    return head


def _second_day(tree: Path) -> dict[str, int]:
    plan = apart(workloads.plan_second_day, tree)
    return {"changed_files": len(plan.changed), "changed_bytes": plan.changed_bytes, "deleted_files": len(plan.deleted)}


def _publish(options: argparse.Namespace, measured: Results | None) -> None:
    """Keep the figures beside the report, then write everything that is shown from all figures that are there."""
    from benchmarks.report import write_report  # loads the plotting library, so not before the last program has been measured

    figures = options.report / "benchmarks"
    figures.mkdir(parents=True, exist_ok=True)
    if measured is not None:
        (figures / f"{options.suite}.json").write_text(measured.to_json())
    suites = {name: Results.from_json(path.read_text()) for name in _SUITES if (path := figures / f"{name}.json").exists()}
    if not suites:
        raise SystemExit("nothing has been measured yet")
    printed, kept = options.work / _INDEX_OUTPUT, figures / _INDEX_OUTPUT
    if printed.exists():
        shutil.copyfile(printed, kept)
    write_report(options.report, suites, IndexReport.from_output(kept.read_text()) if kept.exists() else None)
    say(f"-- {options.report / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
