"""The local chunk index at scale: a state of 50 million chunks (about 3 TB), what it costs, and whether a backup with it needs more memory.

usage: python -m benchmarks.scale_index [--chunks 50_000_000] [--work DIR] [--rounds 3]

DIR (default: that for temporary files) needs about 55 bytes for each chunk, twice that while the largest tables are merged, and 2 GB for the backups.
The state is made through the same calls that a backup makes. Prints a Markdown table and, as the last line, the same as JSON. Each figure is taken in
a process of its own; times are CPU seconds (user and system) unless they say otherwise. "Cold": the kernel has been asked to forget the files before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from seedcorn.format.pack import FrameEntry, KeyRow, PackEntry, PackKind
from seedcorn.ids import CHUNK_ID_BYTES, HostId, RepositoryId
from seedcorn.repo.state.state import State

SEGMENT_CHUNKS = 100_000
FRAME_CHUNKS = 17  # of about 60 kB
PACK_FRAMES = 32
CHUNK_BYTES = 60_000
LOOKUPS = 200_000
COLD_LOOKUPS = 5_000
TREE_FILES = 20_000
OTHER_HOST = HostId(b"scale benchmark.")  # not the one that backs up: its segments are not in the store
LENGTH = struct.pack("<I", CHUNK_BYTES)

Figures = dict[str, Any]


def segment_packs(number: int, chunks: int) -> tuple[KeyRow, Iterator[PackEntry]]:
    """A made-up segment: each a session of its own, the same for the same number."""
    session = b"session " + number.to_bytes(8, "big")
    source = random.Random(number)

    def packs() -> Iterator[PackEntry]:
        for begin in range(0, chunks, FRAME_CHUNKS * PACK_FRAMES):
            frames = []
            for at in range(begin, min(chunks, begin + FRAME_CHUNKS * PACK_FRAMES), FRAME_CHUNKS):
                count = min(FRAME_CHUNKS, chunks - at)
                ids = source.randbytes(CHUNK_ID_BYTES * count)
                records = b"".join([ids[i : i + CHUNK_ID_BYTES] + LENGTH for i in range(0, len(ids), CHUNK_ID_BYTES)])
                frames.append(FrameEntry(session, at // FRAME_CHUNKS, (at - begin) * CHUNK_BYTES, CHUNK_BYTES, count * CHUNK_BYTES, records))
            yield PackEntry(source.randbytes(32), PackKind.DATA, tuple(frames))

    return KeyRow(session, OTHER_HOST, 1, bytes(1200)), packs()


def add_segment(state: State, number: int, chunks: int) -> tuple[float, int]:
    """Take in a segment; (CPU seconds, how many bytes the peak of resident memory was above what was resident before)."""
    row, packs = segment_packs(number, chunks)
    entries = list(packs)
    before = reset_peak()
    begun = cpu_seconds()
    state.add_segment(f"index/{OTHER_HOST.hex()}/{number:08}", OTHER_HOST, 0, [row], entries)
    return cpu_seconds() - begun, status_bytes("VmHWM") - before


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def status_bytes(field: str) -> int:
    """A field of this process's status that is in kB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def reset_peak() -> int:
    """Let VmHWM begin anew; what is resident now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def in_new_process(function: Callable[..., Figures], *arguments: Any) -> Figures:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# -- the index -------------------------------------------------------------------------------------------------------------------------------


def generate(folder: Path, repository: RepositoryId, chunks: int) -> Figures:
    """Fill a state with segments."""
    state = State(folder, repository)
    taken = [add_segment(state, number, min(SEGMENT_CHUNKS, chunks - begin)) for number, begin in enumerate(range(0, chunks, SEGMENT_CHUNKS))]
    state.close()
    return {
        "generate_cpu_seconds": sum(seconds for seconds, _ in taken),
        "longest_segment_cpu_seconds": max(seconds for seconds, _ in taken),
        "segment_peak_bytes": max(peak for _, peak in taken),
    }


def sizes(folder: Path, _: RepositoryId) -> Figures:
    tables = [path.stat().st_size for path in (folder / "index" / "chunks").iterdir()]
    return {"tables_bytes": sorted(tables, reverse=True), "lmdb_bytes": (folder / "index" / "data.mdb").stat().st_blocks * 512}


def look_up(folder: Path, repository: RepositoryId, chunks: int) -> Figures:
    """Hits in all segments alike and misses, warm; what that leaves resident."""
    resident = reset_peak()
    begun = time.perf_counter()
    state = State(folder, repository)
    figures: Figures = {"open_wall_seconds": time.perf_counter() - begun, "open_growth_bytes": status_bytes("VmHWM") - resident}
    hits = known_ids(chunks, LOOKUPS)
    misses = [random.Random(f"miss {n}").randbytes(CHUNK_ID_BYTES) for n in range(LOOKUPS)]
    resident = reset_peak()
    for name, ids, expected in (("warming", hits, LOOKUPS), ("hit", hits, LOOKUPS), ("miss", misses, 0)):
        begun = cpu_seconds()
        found = sum(state.find(chunk_id) is not None for chunk_id in ids)
        figures[f"{name}_microseconds"] = (cpu_seconds() - begun) / len(ids) * 1e6
        assert found == expected
    figures["lookup_growth_bytes"] = status_bytes("VmHWM") - resident
    batch = hits[:50_000]
    begun = cpu_seconds()
    assert len(state.first_copies(batch)) == len(batch)
    figures["first_copies_microseconds"] = (cpu_seconds() - begun) / len(batch) * 1e6
    return figures


def look_up_cold(folder: Path, repository: RepositoryId, chunks: int) -> Figures:
    """Lookups whose buckets are not in the page cache: wall time, on whatever disk this is."""
    state = State(folder, repository)
    hits = known_ids(chunks, COLD_LOOKUPS)
    forget_pages(folder)
    begun = time.perf_counter()
    assert all(state.find(chunk_id) is not None for chunk_id in hits)
    return {"cold_hit_wall_microseconds": (time.perf_counter() - begun) / len(hits) * 1e6}


def known_ids(chunks: int, count: int) -> list[bytes]:
    """Ids of the generated chunks, from ten segments spread over all, shuffled."""
    segments = -(-chunks // SEGMENT_CHUNKS)
    ids = []
    for number in sorted({segments * n // 10 for n in range(10)}):
        _, packs = segment_packs(number, min(SEGMENT_CHUNKS, chunks - number * SEGMENT_CHUNKS))
        ids += [frame.records[at : at + CHUNK_ID_BYTES] for pack in packs for frame in pack.frames for at in range(0, len(frame.records), 28)]
    random.Random(0).shuffle(ids)
    return (ids * -(-count // len(ids)))[:count]


def forget_pages(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load_new(folder: Path, repository: RepositoryId, number: int) -> Figures:
    """One more segment."""
    state = State(folder, repository)
    seconds, peak = add_segment(state, number, SEGMENT_CHUNKS)
    return {"load_cpu_seconds": seconds, "load_peak_bytes": peak}


# -- a backup with it ------------------------------------------------------------------------------------------------------------------------


def make_tree(tree: Path) -> None:
    """Files of 1 to 64 kB, half of their content random."""
    source = random.Random(7)
    for n in range(TREE_FILES):
        directory = tree / f"{n // 200:03}"
        directory.mkdir(parents=True, exist_ok=True)
        half = source.randbytes(source.randrange(500, 32_000))
        (directory / f"{n}").write_bytes(half + half.hex().encode()[: len(half)])


def copy_state(source: Path, target: Path) -> None:
    """Tables never change: links will do."""
    shutil.copytree(source, target, copy_function=lambda a, b: os.link(a, b) if "chunks" in Path(a).parts else shutil.copy2(a, b))


def resident_bytes(process: int) -> int:
    """Resident bytes of a process and all below it; 0 if it has ended."""
    try:
        resident = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return resident + sum(resident_bytes(int(child)) for child in children)


def back_up(repository: Path, tree: Path, environment: dict[str, str]) -> Figures:
    """Run the program; peak of the process tree as sampled, or of the first process as the kernel knows it, whichever is larger."""
    command = [sys.executable, "-m", "seedcorn", "-r", str(repository), "-q", "--json", "backup", str(tree)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    peak = 0
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        peak = max(peak, resident_bytes(process.pid))
        time.sleep(0.005)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode:
        raise SystemExit(f"backup: exit status {process.returncode}")
    return {"peak_bytes": max(peak, ended[2].ru_maxrss * 1024), "cpu_seconds": ended[2].ru_utime + ended[2].ru_stime}


def backups(work: Path, name: str, rounds: int) -> Figures:
    """Backups of one tree with an empty state and with the large one, in turn, each into a repository of its own."""
    tree, empty, full = work / "tree", work / "empty", work / "full"
    make_tree(tree)
    results: dict[str, list[Figures]] = {"empty": [], "full": []}
    for turn in range(rounds):
        for kind in ("empty", "full") if turn % 2 else ("full", "empty"):
            repository, state = work / "repository", work / "state"
            shutil.copytree(work / "new repository", repository)
            copy_state(full if kind == "full" else empty, state / name)
            results[kind].append(back_up(repository, tree, program_environment(work)))
            for used in (repository, state):
                shutil.rmtree(used)
    return {
        f"backup_{kind}_{figure}": statistics.median(result[figure] for result in of_kind)
        for kind, of_kind in results.items()
        for figure in ("peak_bytes", "cpu_seconds")
    }


def program_environment(work: Path) -> dict[str, str]:
    return {**os.environ, "SEEDCORN_CONFIG_DIR": str(work / "config"), "SEEDCORN_STATE_DIR": str(work / "state")}


def init(work: Path) -> RepositoryId:
    """A new repository, this machine enrolled, and its state, which becomes the empty one."""
    passphrase = work / "passphrase"
    passphrase.write_text("benchmark\n")
    passphrase.chmod(0o600)
    arguments = ["init", "--passphrase-file", str(passphrase), "--recovery-file", str(work / "words")]
    command = [sys.executable, "-m", "seedcorn", "-r", str(work / "new repository"), *arguments]
    subprocess.run(command, env=program_environment(work), check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(work / "state", ignore_errors=True)
    identity = repository_of(work / "config")
    State(work / "empty", identity).close()
    return identity


def repository_of(config: Path) -> RepositoryId:
    """The one repository that this configuration has a host file for."""
    (host_file,) = (config / "hosts").iterdir()
    return RepositoryId(bytes.fromhex(json.loads(host_file.read_text())["repository"]))


# -- the report ------------------------------------------------------------------------------------------------------------------------------


def table(figures: Figures) -> str:
    mib = 2**20
    tables = figures["tables_bytes"]
    rows = {
        "chunks": f"{figures['chunks']:,}",
        "size of the state: chunk tables": f"{sum(tables) / mib:,.0f} MiB ({', '.join(f'{size / mib:,.0f}' for size in tables)})",
        "size of the state: LMDB": f"{figures['lmdb_bytes'] / mib:,.0f} MiB",
        "made from segments of 100,000 chunks, CPU": f"{figures['generate_cpu_seconds']:,.0f} s",
        "the segment with the largest merge, CPU": f"{figures['longest_segment_cpu_seconds']:.1f} s",
        "memory that taking in a segment adds, at most": f"{figures['segment_peak_bytes'] / mib:.0f} MiB",
        "one new segment, CPU": f"{figures['load_cpu_seconds']:.2f} s",
        "one new segment, memory": f"{figures['load_peak_bytes'] / mib:.0f} MiB",
        "opening the state": f"{figures['open_wall_seconds'] * 1e3:.0f} ms, {figures['open_growth_bytes'] / mib:.1f} MiB",
        "lookup, found": f"{figures['hit_microseconds']:.2f} µs",
        "lookup, not found": f"{figures['miss_microseconds']:.2f} µs",
        "lookup in batches of 50,000, found": f"{figures['first_copies_microseconds']:.2f} µs",
        "lookup, found, cold, wall": f"{figures['cold_hit_wall_microseconds']:.0f} µs",
        "memory that 600,000 lookups add": f"{figures['lookup_growth_bytes'] / mib:.1f} MiB",
        f"peak memory of a backup of {TREE_FILES:,} files, empty state": f"{figures['backup_empty_peak_bytes'] / mib:.0f} MiB",
        f"peak memory of a backup of {TREE_FILES:,} files, this state": f"{figures['backup_full_peak_bytes'] / mib:.0f} MiB",
        "CPU of these backups": f"{figures['backup_empty_cpu_seconds']:.1f} s, {figures['backup_full_cpu_seconds']:.1f} s",
    }
    return "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def run(work: Path, chunks: int, rounds: int) -> Figures:
    repository = init(work)
    full = work / "full"
    figures: Figures = {"chunks": chunks}
    figures |= in_new_process(generate, full, repository, chunks)
    figures |= sizes(full, repository)
    figures |= in_new_process(look_up, full, repository, chunks)
    figures |= in_new_process(look_up_cold, full, repository, chunks)
    figures |= backups(work, repository.hex(), rounds)
    figures |= in_new_process(load_new, full, repository, -(-chunks // SEGMENT_CHUNKS))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=lambda text: int(text.replace("_", "")), default=50_000_000)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        figures = run(Path(work), options.chunks, options.rounds)
    print(table(figures))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
