"""ops/restore/outcome.py: what is counted, how failures are named, and which of them end the run."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from seedcorn.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTEGRITY, IntegrityError, SeedcornError, TargetError
from seedcorn.events import Counter, RecordingMonitor
from seedcorn.ops.restore.outcome import Outcome, RestoreResult


@pytest.fixture
def monitor() -> RecordingMonitor:
    return RecordingMonitor()


@pytest.fixture
def outcome(monitor: RecordingMonitor) -> Outcome:
    return Outcome(Path("/target"), monitor)


def caused(number: int) -> TargetError:
    error = TargetError(b"file", "reason")
    error.__cause__ = OSError(number, "reason")
    return error


def test_what_is_there_is_counted_and_told(outcome: Outcome, monitor: RecordingMonitor) -> None:
    outcome.done(3, [10, 20])
    outcome.done(1)
    outcome.skip()
    assert outcome.result() == RestoreResult(4, 2, 30, 1, ())
    assert (monitor.counted[Counter.RESTORED_ENTRIES], monitor.counted[Counter.RESTORED_BYTES]) == (4, 30)


def test_what_would_be_there_is_counted_and_not_told(outcome: Outcome, monitor: RecordingMonitor) -> None:
    outcome.would_be_done([7])
    outcome.would_be_done()
    assert outcome.result() == RestoreResult(2, 1, 7, 0, ())
    assert not monitor.counted


def test_damage_is_named_by_the_file_and_by_where_it_is(outcome: Outcome, monitor: RecordingMonitor) -> None:
    outcome.fail(b"/home/a\n", IntegrityError("wrong id", object_name="packs/1"))
    outcome.fail(b"/home/b", caused(errno.EACCES))
    assert [str(error) for error in monitor.errors] == ["/home/a\\n: not restored, its content is damaged in packs/1: wrong id", "file: reason"]
    assert list(outcome.result().errors) == monitor.errors


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_ends_the_run(outcome: Outcome, number: int) -> None:
    outcome.done(5)
    with pytest.raises(SeedcornError, match=r"^/target: its disk is full; 5 entries have been restored. Make room"):
        outcome.fail(b"/file", caused(number))


@pytest.mark.parametrize(
    ("errors", "code"), [([], EXIT_DONE), ([TargetError(b"a", "m")], EXIT_FAILED), ([TargetError(b"a", "m"), IntegrityError("m")], EXIT_INTEGRITY)]
)
def test_exit_status(outcome: Outcome, errors: list[SeedcornError], code: int) -> None:
    for error in errors:
        outcome.error(error)
    assert (outcome.has_errors, outcome.result().exit_code) == (bool(errors), code)
