"""Restores that are large enough for processes of their own: the same result as without, and nothing left behind whatever happens to them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.workshop import Workshop, open_workshop

from seedcorn.errors import EXIT_INTEGRITY, SeedcornError, StoreUnavailableError
from seedcorn.fs.files import PartialFile
from seedcorn.ops.restore import files as restore_files
from seedcorn.ops.restore.crew import CrewJob, ProcessCrew
from seedcorn.ops.restore.plan import Span
from seedcorn.ops.restore.write import Written
from seedcorn.store.local import LocalStore
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe, differences

_PROCESSES = 2


@pytest.fixture(scope="module")
def large_tree() -> dict[str, bytes]:
    """About 40 MB that do not compress: ten spans, some of them parts of two large files."""
    noise = random.Random(4)
    small = {f"d{number % 20}/e{number % 3}/f{number}": noise.randbytes(noise.randrange(60_000)) for number in range(400)}
    return small | {"d1/large": noise.randbytes(12_000_000), "zz": noise.randbytes(9_000_000), "empty": b"", "d2/text": b"the same\n" * 400_000}


@pytest.fixture
def stored(workshop: Workshop, large_tree: dict[str, bytes]) -> Workshop:
    make_tree(workshop.source, large_tree)
    os.link(workshop.source / "d1" / "large", workshop.source / "d3" / "linked")
    os.link(workshop.source / "d0" / "e0" / "f0", workshop.source / "d4" / "linked too")
    (workshop.source / "link").symlink_to("zz")
    with open(workshop.source / "holes", "wb") as file:
        for at in range(8):
            file.seek(at * 3_000_000)
            file.write(large_tree["zz"][at * 1_000_000 : (at + 1) * 1_000_000])
        file.truncate(40_000_000)
    os.chmod(workshop.source / "d1" / "large", 0o4751)
    os.chmod(workshop.source / "d2" / "e2" / "f2", 0o666)
    workshop.backup()
    return workshop


class WatchedCrew(ProcessCrew):
    """Keeps what it was asked for; ``at_span`` is called with the crew before the span of that number is put."""

    made: list[WatchedCrew]
    at_span: dict[int, Any]

    def __init__(self, job: CrewJob, processes: int) -> None:
        super().__init__(job, processes)
        self.pids = [process.pid for process in self._processes]
        self.spans: list[Span] = []
        self.made.append(self)

    def put(self, span: Span, partial: PartialFile | None = None) -> None:
        if len(self.spans) in self.at_span:
            self._hand_out()  # so that they are busy
            self.at_span[len(self.spans)](self)
        self.spans.append(span)
        super().put(span, partial)


@pytest.fixture(autouse=True)
def crews(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[WatchedCrew]]:
    """Every crew of the test; none of their processes outlives it."""
    WatchedCrew.made, WatchedCrew.at_span = [], {}
    monkeypatch.setattr(restore_files, "ProcessCrew", WatchedCrew)
    yield WatchedCrew.made
    for crew in WatchedCrew.made:
        for pid in crew.pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def _leftovers(target: Path) -> list[str]:
    return [name for _, _, names in os.walk(target) for name in names if name.startswith(".seedcorn-")]


def test_everything_comes_back(stored: Workshop, crews: list[WatchedCrew]) -> None:
    tree = describe(stored.source)
    by_processes = stored.restore(processes=_PROCESSES)
    assert len(crews) == 1 and len(crews[0].spans) >= 8
    assert {span.big.path.rpartition(b"/")[2] for span in crews[0].spans if span.big} >= {b"large", b"zz", b"holes"}
    assert by_processes.errors == []
    assert differences(tree, by_processes.tree()) == []
    alone = stored.restore(processes=0)
    assert len(crews) == 1
    assert differences(tree, alone.tree()) == []
    counts = [(run.result.entries, run.result.files, run.result.bytes) for run in (by_processes, alone)]
    assert counts[0] == counts[1]
    assert by_processes.monitor.counted == alone.monitor.counted
    assert {path.stat().st_blocks < 2 * 8_000_000 // 512 for path in (by_processes.target / "holes", alone.target / "holes")} == {True}


def test_a_small_restore_starts_no_process(stored: Workshop, crews: list[WatchedCrew]) -> None:
    assert stored.restore(path=stored.source / "d0", processes=_PROCESSES).errors == []
    assert crews == []


def test_an_existing_target(stored: Workshop, crews: list[WatchedCrew]) -> None:
    target = make_tree(stored.folder / "target", {"mine": b"m", "zz": b"old", "d1/large/full": b"x"})
    (target / "d2").symlink_to("/nowhere")
    kept = stored.restore(target=target, existing=True, processes=_PROCESSES)
    assert kept.errors == ["d1/large: Directory not empty"]
    assert (target / "d3" / "linked").read_bytes() == (stored.source / "d1" / "large").read_bytes()
    assert (target / "mine").read_bytes() == b"m"
    assert (target / "zz").stat().st_size == 9_000_000
    assert _leftovers(target) == []


def test_damage_is_named_and_the_rest_comes_back(stored: Workshop, large_tree: dict[str, bytes]) -> None:
    largest = max((key for key in stored.objects if key.startswith("packs/")), key=lambda key: len(stored.objects[key]))
    data = bytearray(stored.objects[largest])
    for at in (len(data) // 3, len(data) // 2):
        data[at] ^= 1
    stored.objects[largest] = bytes(data)
    runs = [stored.restore(processes=processes) for processes in (_PROCESSES, 0)]
    assert runs[0].errors == runs[1].errors != []
    assert all(largest in error for error in runs[0].errors if "hard link" not in error)
    for run in runs:
        assert run.result.exit_code == EXIT_INTEGRITY
        assert _leftovers(run.target) == []
        present = {name: (run.target / name).read_bytes() for name in large_tree if (run.target / name).exists()}
        assert len(present) > len(large_tree) // 2
        assert all(large_tree[name] == content for name, content in present.items())


@pytest.mark.parametrize("at", [1, 5])
def test_a_killed_process_ends_the_run(stored: Workshop, at: int, tmp_path: Path) -> None:
    WatchedCrew.at_span = {at: lambda crew: os.kill(crew.pids[0], signal.SIGKILL)}
    target = stored.folder / "target"
    with pytest.raises(SeedcornError, match=r"was killed by signal 9 .* not complete"):
        stored.restore(target=target, processes=_PROCESSES)
    assert _leftovers(target) == []


def test_an_interrupt_leaves_nothing_half_written(stored: Workshop) -> None:
    def interrupt(crew: WatchedCrew) -> None:
        raise KeyboardInterrupt

    WatchedCrew.at_span = {7: interrupt}
    target = stored.folder / "target"
    with pytest.raises(KeyboardInterrupt):
        stored.restore(target=target, processes=_PROCESSES)
    assert _leftovers(target) == []


def test_where_no_process_can_be_started_the_caller_writes(stored: Workshop, crews: list[WatchedCrew], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(stored.folder))
    restored = stored.restore(processes=_PROCESSES)
    assert crews == []
    assert restored.errors == []
    assert differences(describe(stored.source), restored.tree()) == []


def test_a_store_that_fails_ends_the_run(stored: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    get_range = stored.store.get_range

    def fail(key: str, start: int, length: int) -> bytes:
        if WatchedCrew.made:
            raise StoreUnavailableError("no answer", key=key)
        return get_range(key, start, length)

    monkeypatch.setattr(stored.store, "get_range", fail)
    with pytest.raises(StoreUnavailableError):
        stored.restore(target=stored.folder / "target", processes=_PROCESSES)
    assert _leftovers(stored.folder / "target") == []


def test_a_second_day_opens_each_frame_once_in_a_process(stored: Workshop, crews: list[WatchedCrew], monkeypatch: pytest.MonkeyPatch) -> None:
    noise = random.Random(5)
    for path in [*sorted((stored.source / "d5").rglob("f*")), stored.source / "zz"]:
        content = path.read_bytes()
        at = noise.randrange(len(content) or 1)
        path.write_bytes(content[:at] + noise.randbytes(300) + content[at:])
    stored.backup()
    opened = 0
    written = restore_files.FileRestorer._written

    def count(run: Any, span: Span, result: Written) -> None:
        nonlocal opened
        opened += result.opened_frames
        written(run, span, result)

    monkeypatch.setattr(restore_files.FileRestorer, "_written", count)
    restored = stored.restore(processes=_PROCESSES)
    assert differences(describe(stored.source), restored.tree()) == []
    frames = {ordinal for span in crews[0].spans for ordinal in span.frames}
    assert len(frames) <= opened <= len(frames) * _PROCESSES


_SCRIPT = """
    import sys, seedcorn
    words, url, state, target = sys.argv[1:]
    with seedcorn.open_owner(url, words=words, state_dir=state) as session:  # and no `if __name__ == "__main__"` anywhere
        print(session.restore("latest", target, processes=2).files)
"""


def test_a_script_without_a_main_guard(folder: Path, large_tree: dict[str, bytes]) -> None:
    with open_workshop(folder, LocalStore(folder / "store")) as workshop:
        make_tree(workshop.source, large_tree)
        workshop.backup()
        script = folder / "script.py"
        script.write_text(textwrap.dedent(_SCRIPT))
        command: list[str | Path] = [sys.executable, script, workshop.repository.words, folder / "store", folder / "owner", folder / "target"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == (f"{len(large_tree)}\n", "")
    assert (folder / "target" / str(workshop.source)[1:] / "zz").read_bytes() == large_tree["zz"]
