"""The main job on real input: back a tree up to a directory and to a real S3 server, restore it, and compare with rsync.

usage: python benchmarks/main_job.py TREE WORK [--second-day COMMAND…]

TREE is any tree of files; COMMAND, run with TREE as its last argument, changes it as a day of work would. WORK is a directory for repositories and
restored trees with about four times the size of TREE free. Prints a Markdown table. Every step is one process of the command line, as a user would
start it; its CPU time and peak memory are the kernel's figures for that process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedcorn.testing.servers import SeaweedFS

SEEDCORN = [sys.executable, "-m", "seedcorn"]


@dataclass(frozen=True)
class Step:
    """One row: what was run, how long it took, what it cost."""

    name: str
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    summary: dict[str, Any] = field(default_factory=dict)

    def row(self) -> str:
        put = self.summary.get("put_bytes")
        requests = self.summary.get("requests", {})
        made = " ".join(f"{count} {verb}" for verb, count in requests.items() if count)
        cells = [
            self.name,
            f"{self.wall_seconds:.1f}",
            f"{self.cpu_seconds:.1f}",
            f"{self.peak_bytes / 2**20:.0f}",
            f"{put / 1e6:,.1f}" if put is not None else "",
            made,
        ]
        return "| " + " | ".join(cells) + " |"


def run(name: str, arguments: list[str], environment: dict[str, str]) -> Step:
    """Run seedcorn once; its last line of output is the summary if it is JSON."""
    begun = time.monotonic()
    process = subprocess.Popen([*SEEDCORN, *arguments], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name}: exit status {process.returncode}\n{output}")
    last = output.strip().rsplit("\n", 1)[-1]
    summary = json.loads(last) if last.startswith("{") else {}
    return Step(name, time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, summary)


def compare(tree: Path, restored: Path) -> None:
    """Stop unless rsync finds the two trees equal: content, modes, owners, times, links, ACLs, attributes."""
    command = ["rsync", "-aHAX", "--checksum", "--delete", "--dry-run", "--itemize-changes", f"{tree}/", f"{restored}/"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if found:
        raise SystemExit(f"{restored} differs from {tree}:\n{found[:2000]}")


def job(title: str, repository: str, tree: Path, work: Path, second_day: list[str], environment: dict[str, str]) -> list[Step]:
    """The whole job on one store."""
    passphrase, words = work / "passphrase", work / f"words-{title}"
    passphrase.write_text("benchmark\n")
    passphrase.chmod(0o600)
    at = ["-r", repository]
    reading = [*at, "--passphrase-file", str(passphrase)]
    steps = [run("init", [*at, "init", "--passphrase-file", str(passphrase), "--recovery-file", str(words)], environment)]

    def back_up(name: str) -> None:
        steps.append(run(name, [*at, "-q", "--json", "backup", str(tree)], environment))

    def restore(name: str) -> None:
        target = work / f"restored-{title}"
        steps.append(run(name, [*reading, "-q", "restore", f"latest:{tree}", "--target", str(target)], environment))
        compare(tree, target)
        shutil.rmtree(target)

    back_up("first backup")
    back_up("again, nothing changed")
    restore("restore all, equal by rsync")
    if second_day:
        subprocess.run([*second_day, str(tree)], check=True, stdout=sys.stderr)
        back_up("second day")
        restore("restore the second day, equal by rsync")
    steps.append(run("check --read-data", [*reading, "-q", "check", "--read-data"], environment))
    return steps


def report(title: str, steps: list[Step]) -> None:
    """One table."""
    summary = next(step.summary for step in steps if step.name == "first backup")
    print(f"\n### {title}\n")
    print(f"{summary['source_files']:,} entries, {summary['source_file_size'] / 1e6:,.0f} MB\n")
    print("| step | wall s | CPU s | peak MiB | MB put | requests |\n|---|---|---|---|---|---|")
    for step in steps:
        print(step.row())
    sys.stdout.flush()


def main(tree: Path, work: Path, second_day: list[str]) -> None:
    """Both stores, one after the other."""
    work.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SEEDCORN_CONFIG_DIR": str(work / "config"), "SEEDCORN_STATE_DIR": str(work / "state")}
    report("Local directory", job("directory", str(work / "repository"), tree, work, second_day, environment))
    shutil.rmtree(work / "repository")
    os.environ["TMPDIR"] = str(work)  # where the server keeps its data
    with SeaweedFS() as server:
        server.make_bucket("benchmark")
        steps = job("s3", server.address("benchmark", "main"), tree, work, second_day, {**environment, **server.credentials})
    report("SeaweedFS, over S3 on loopback", steps)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    marked = sys.argv.index("--second-day") if "--second-day" in sys.argv else len(sys.argv)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[marked + 1 :])
