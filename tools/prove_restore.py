"""Proves a backup: restores it into a scratch directory, compares that with the source, and tells a fault of the backup from a source that moved on.

Drives the ``seedcorn`` program through ``run_seedcorn`` and imports nothing of it. The invariant: nothing of the scratch copy is left behind.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from compare_trees import Difference, compare_trees, comparer_name

SEEDCORN = Path(sys.executable).with_name("seedcorn")
SHOWN_PATHS = 10
CLOCK_GRANULARITY_NS = 20_000_000  # file times are taken from a clock that ticks this seldom, so they may be a little early


class ProofError(Exception):
    """The restore itself failed. ``exit_code`` is the program's."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("The backup was stored, but restoring it failed; see above.")
        self.exit_code = exit_code


def prove_restore(where: Sequence[str], directory: str, *, started_ns: int, spare: Sequence[str] = ()) -> bool:
    """Restore the newest snapshot of ``directory`` and compare. False if the copy is not what was there when the backup began.

    Args:
        where: options of ``seedcorn restore`` that name the repository and its passphrase.
        directory: the absolute path that was backed up.
        started_ns: the wall clock when the backup began.
        spare: directories that may take the scratch copy when the usual ones have no room.
    """
    room = _scratch_parent(directory, spare)
    if room is None:
        say("Not proved: no file system here has room for a second copy. Try a restore on another machine.")
        return True
    with tempfile.TemporaryDirectory(prefix="seedcorn-proof-", dir=room) as scratch:
        target = os.path.join(scratch, "restored")
        say(f"Restoring it to {target} to prove that it can be done ...")
        begin = time.monotonic()
        if status := run_seedcorn("restore", *where, f"latest:{directory}", "--target", target):
            raise ProofError(status)
        seconds = time.monotonic() - begin
        found = compare_trees(os.fsencode(directory), os.fsencode(target))
        say(f"Restored in {seconds:.1f} s and compared with {comparer_name()}.")
        return _report(sort_differences(found, os.fsencode(directory), started_ns))


@dataclass(frozen=True)
class Verdict:
    """Differences between source and copy, by whether the backup is to blame."""

    wrong: list[Difference]
    changed: list[Difference]  # the source has been changed since the backup began
    unreadable: list[Difference]  # the source can not be read, so it could not be stored
    sockets: list[Difference]  # not stored by design: only the program that listens can make one


def sort_differences(found: Iterable[Difference], source: bytes, started_ns: int) -> Verdict:
    """Tell what the backup got wrong from what no backup could have got right. ``started_ns`` is the wall clock when it began."""
    verdict = Verdict([], [], [], [])
    for difference in found:
        path = os.path.join(source, difference.path)
        if _changed_since(path, started_ns):
            verdict.changed.append(difference)
        elif _is_socket(path):
            verdict.sockets.append(difference)
        elif not _can_read(path):
            verdict.unreadable.append(difference)
        else:
            verdict.wrong.append(difference)
    return verdict


def _changed_since(path: bytes, started_ns: int) -> bool:
    """Whether ``path`` was touched since; if it is gone, whether a name was added to or removed from where it was."""
    while True:
        try:
            return os.lstat(path).st_ctime_ns >= started_ns - CLOCK_GRANULARITY_NS
        except (FileNotFoundError, NotADirectoryError):
            path = os.path.dirname(path)
        except OSError:
            return False


def _is_socket(path: bytes) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _can_read(path: bytes) -> bool:
    """Whether what a backup stores of ``path`` can be read; so it can of a path that is not there."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                file.read(1)
        elif stat.S_ISDIR(mode):
            os.listdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _report(verdict: Verdict) -> bool:
    _list("Different, and should not be", verdict.wrong)
    _list("Changed in the source since the backup began (the copy has them as they were)", verdict.changed)
    _list("Not readable by this user, so not in the backup", verdict.unreadable)
    _list("Sockets, which are not stored", verdict.sockets)
    if verdict.wrong:
        say("The restored copy is NOT the same as the source. Please report this.")
        return False
    if verdict.changed or verdict.unreadable or verdict.sockets:
        say("Everything else is identical, bit for bit.")
    else:
        say("The copy is identical to the source, bit for bit, with its owners, modes, times, links and attributes.")
    return True


def _list(what: str, differences: list[Difference]) -> None:
    if differences:
        say(f"{what}: {len(differences)}")
        for difference in differences[:SHOWN_PATHS]:
            say(f"    {difference.path!r}  ({difference.what})")
        if len(differences) > SHOWN_PATHS:
            say(f"    and {len(differences) - SHOWN_PATHS} more")


def _scratch_parent(directory: str, spare: Sequence[str]) -> str | None:
    """A directory outside ``directory`` with room for a copy of it."""
    needed_bytes = _size_bytes(os.fsencode(directory)) * 11 // 10
    source = os.path.realpath(directory)
    for candidate in (tempfile.gettempdir(), "/var/tmp", *spare):  # noqa: S108  # only a parent: the directory made in it is private
        inside = os.path.commonpath([os.path.realpath(candidate), source]) == source
        if not inside and os.access(candidate, os.W_OK) and shutil.disk_usage(candidate).free > needed_bytes:
            return candidate
    return None


def _size_bytes(directory: bytes) -> int:
    """About how much room a copy needs: content, and a block for each entry."""
    total = 0
    for folder, folders, files in os.walk(directory):
        total += 4096 * (len(folders) + len(files))
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:  # gone, or not ours to see
                continue
    return total


def run_seedcorn(*arguments: str) -> int:
    """Run the program on this terminal; its exit status, or 128 + n if signal n ended it."""
    sys.stdout.flush()
    status = subprocess.run([str(SEEDCORN), *arguments], check=False).returncode
    return 128 - status if status < 0 else status


def say(line: str) -> None:
    """One line for the user; whatever bytes a path has."""
    print(line.encode(errors="surrogateescape").decode(errors="replace"), flush=True)
