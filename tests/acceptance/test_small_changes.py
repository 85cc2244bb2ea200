"""A small change costs little: what is read, and what is uploaded, is of the order of the change."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import time
from pathlib import Path

from tests.acceptance.workshop import Workshop, open_workshop

from seedcorn.events import Counter
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe

_TICK_SECONDS = 0.02  # longer than the kernel's


def _read_bytes(workshop: Workshop) -> int:
    time.sleep(_TICK_SECONDS)
    run = workshop.backup()
    assert run.result.exit_code == 0
    return run.monitor.counted[Counter.READ_BYTES]


def test_one_file_among_twenty_thousand(workshop: Workshop) -> None:
    for number in range(20_000):
        (workshop.source / f"file {number:05}").touch()
    workshop.backup()
    time.sleep(_TICK_SECONDS)
    (workshop.source / "file 12345").write_bytes(b"changed")
    tree = describe(workshop.source)
    time.sleep(_TICK_SECONDS)
    run = workshop.backup()
    assert run.monitor.counted[Counter.READ_BYTES] == 7
    assert run.requests.put_bytes < 60_000
    assert run.result.statistics.listing_bytes < 60_000
    workshop.assert_restores(run.id, tree)


def test_a_file_of_thousands_of_chunks_beside_a_changed_one(workshop: Workshop) -> None:
    big = workshop.source / "big"
    big.write_bytes(random.Random(3).randbytes(40 << 20))
    with open(big, "ab") as file:
        file.write(b"".join(b"%d " % number for number in range(7_000_000)))  # text: about 90 MB together
    workshop.backup()
    time.sleep(_TICK_SECONDS)
    (workshop.source / "neighbour").write_bytes(b"1")
    assert _read_bytes(workshop) == 1
    (workshop.source / "neighbour").write_bytes(b"22")
    assert _read_bytes(workshop) == 2

    with open(big, "r+b") as file:
        file.seek(45 << 20)
        file.write(b"in the middle")
    time.sleep(_TICK_SECONDS)
    run = workshop.backup()
    assert run.monitor.counted[Counter.READ_BYTES] == big.stat().st_size
    assert run.requests.put_bytes < 400_000

    (workshop.source / "neighbour").write_bytes(b"333")
    assert _read_bytes(workshop) == 3
    workshop.assert_restores("latest", describe(workshop.source))


def test_a_big_file_that_is_renamed_stays_in_every_later_snapshot(workshop: Workshop) -> None:
    make_tree(workshop.source, {"big": random.Random(4).randbytes(5 << 20), "neighbour": b"1"})
    workshop.backup()
    os.rename(workshop.source / "big", workshop.source / "renamed")
    time.sleep(_TICK_SECONDS)
    moved = workshop.backup()
    assert moved.result.statistics.raw_delta_size == 0, "its content is in the store already"
    time.sleep(_TICK_SECONDS)
    (workshop.source / "neighbour").write_bytes(b"22")
    assert _read_bytes(workshop) == 2
    workshop.assert_restores("latest", describe(workshop.source))


def test_of_two_equal_big_files_one_is_deleted(workshop: Workshop) -> None:
    content = random.Random(5).randbytes(5 << 20)
    make_tree(workshop.source, {"one": content, "other/two": content, "other/neighbour": b"1"})
    workshop.backup()
    (workshop.source / "one").unlink()
    _read_bytes(workshop)
    (workshop.source / "other/neighbour").write_bytes(b"22")
    assert _read_bytes(workshop) == 2
    workshop.assert_restores("latest", describe(workshop.source))


def test_a_moved_directory_is_read_but_not_stored_again(workshop: Workshop) -> None:
    make_tree(workshop.source, {f"old/{number}": random.Random(number).randbytes(50_000) for number in range(40)})
    workshop.backup()
    os.rename(workshop.source / "old", workshop.source / "new")
    time.sleep(_TICK_SECONDS)
    run = workshop.backup()
    assert run.result.statistics.raw_delta_size == 0
    assert run.requests.put_bytes < 30_000
    workshop.assert_restores("latest", describe(workshop.source))


def test_a_lost_state_costs_reading_but_no_upload(workshop: Workshop) -> None:
    make_tree(workshop.source, {f"{number}": random.Random(number).randbytes(50_000) for number in range(40)})
    workshop.backup()
    workshop.machine.forget_state()
    run = workshop.backup()
    assert run.monitor.counted[Counter.READ_BYTES] == 2_000_000
    assert run.packs == 0
    workshop.assert_restores("latest", describe(workshop.source))


def test_a_segment_that_is_gone_from_the_store(workshop: Workshop) -> None:
    """What only it listed is stored again, also of files beside an edited one."""
    make_tree(
        workshop.source, {f"{number}": random.Random(number).randbytes(5_000) for number in range(40)} | {"big": random.Random(6).randbytes(3 << 20)}
    )
    workshop.backup()
    shutil.copy(workshop.source / "1", workshop.source / "copy of 1")
    time.sleep(_TICK_SECONDS)
    workshop.backup()
    for key in [key for key in workshop.objects if key.startswith("index/")][:1]:
        del workshop.objects[key]
    (workshop.source / "2").write_bytes(b"edited")
    time.sleep(_TICK_SECONDS)
    run = workshop.backup()
    assert run.result.errors == ()
    workshop.assert_restores("latest", describe(workshop.source))


def test_an_edit_that_changes_neither_size_nor_time(workshop: Workshop) -> None:
    """The time of the inode's change, which nobody can set, gives it away."""
    path = workshop.source / "file"
    for content in (b"first", b"other", b"third"):
        path.touch()
        with open(path, "r+b") as file:
            file.write(content)
        os.utime(path, ns=(0, 10**18))
        tree = describe(workshop.source)
        time.sleep(_TICK_SECONDS)
        workshop.assert_restores(workshop.backup().id, tree)
        time.sleep(_TICK_SECONDS)


def test_an_edit_that_nothing_shows(disk_folder: Path) -> None:
    """As one in the same tick of the clock as the last change before the scan: so young a file is never believed to be unchanged.

    A second store into a mapped page that is dirty already leaves the inode alone.
    """
    with open_workshop(disk_folder) as workshop:
        path = workshop.source / "file"
        path.write_bytes(b"first")
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 5) as mapped:
            mapped[:] = b"other"
            workshop.backup()
            before = path.stat()
            mapped[:] = b"third"
            assert path.stat() == before
            restored = workshop.restore(workshop.backup().id)
        assert (restored.target / "file").read_bytes() == b"third"
