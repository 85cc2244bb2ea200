"""Runs one program as a user would start it and says what it cost.

Owns the definition of every figure. Knows no program by name.

Invariant: the measuring process stays small. What the kernel calls a process's peak begins with the size of the process that started it, so nothing
here or in what imports it may hold a file in memory or load a plotting library before the last program has been measured.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CommandError", "Cost", "can_drop_caches", "drop_caches", "measured", "own_peak_bytes", "stored_bytes", "warm"]

_SAMPLE_SECONDS = 0.1
_OUTPUT_TAIL = 3000
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class CommandError(Exception):
    """A program failed; with the end of what it said."""


@dataclass(frozen=True)
class Cost:
    """What one run of a program, all processes together, cost."""

    wall_seconds: float
    user_seconds: float
    system_seconds: float
    peak_bytes: int  # of resident memory: the kernel's figure for the largest process, or the sampled sum over all if that is more
    output: str = ""  # what it printed to standard output

    @property
    def cpu_seconds(self) -> float:
        return self.user_seconds + self.system_seconds


def measured(command: Sequence[str | Path], environment: Mapping[str, str], *, folder: Path | None = None) -> Cost:
    """Run ``command`` in ``folder`` to its end.

    Dirty pages of whatever ran before are written first, so that nobody pays for the writes of another.

    Raises:
        CommandError: the exit status is not 0.
    """
    os.sync()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        begun = time.monotonic()
        process = subprocess.Popen(
            list(command), env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints, start_new_session=True
        )
        try:
            with _MemorySampler(process.pid) as sampler:
                _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # an interrupt from the terminal does not reach it, in a session of its own
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        wall_seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (output, complaints):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if process.returncode:
        tails = "\n".join(text[-_OUTPUT_TAIL:] for text in texts)
        raise CommandError(f"{' '.join(map(str, command))}: exit status {process.returncode}\n{tails}")
    return Cost(wall_seconds, usage.ru_utime, usage.ru_stime, max(usage.ru_maxrss * 1024, sampler.peak_bytes), texts[0])


class _MemorySampler:
    """While it is entered, watches the memory of a session of processes, as soon as that has more than one.

    For one process the kernel's own peak is exact and costs nothing. Shared pages count once (PSS).
    """

    def __init__(self, session: int) -> None:
        self.peak_bytes = 0
        self._session = session
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            members = _members(self._session)
            if len(members) > 1:
                self.peak_bytes = max(self.peak_bytes, sum(map(_shared_out_bytes, members)))


def _members(session: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                after_name = file.read().rpartition(b")")[2].split()
                if int(after_name[3]) == session:
                    found.append(int(name))
    return found


def _shared_out_bytes(process: int) -> int:
    with suppress(OSError), open(f"/proc/{process}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0  # it has ended, or belongs to somebody else


def own_peak_bytes() -> int:
    """The peak of this process: no program's figure can be below it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def stored_bytes(place: Path) -> int:
    """The sizes of all files below ``place`` added up; 0 if it is not there."""
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(place) for name in names)


def can_drop_caches() -> bool:
    """Whether this process may empty the page cache."""
    return os.access(_DROP_CACHES, os.W_OK)


def drop_caches() -> None:
    """Empty the page cache and the caches of directory entries and inodes."""
    os.sync()
    _DROP_CACHES.write_text("3\n")


def warm(place: Path) -> None:
    """Read every file below ``place``, so that a run that is to be warm is so for every program."""
    subprocess.run("find . -type f -print0 | xargs -0 -r cat >/dev/null", shell=True, check=True, cwd=place)  # noqa: S602  # a constant
