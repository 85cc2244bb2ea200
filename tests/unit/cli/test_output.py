"""cli/output.py, render_json.py and progress.py: the two voices of the program."""

from __future__ import annotations

import json
import time

import pytest

from seedcorn.cli.output import Output, shown
from seedcorn.cli.progress import BACKUP, watched
from seedcorn.cli.render_json import error_fields, path_fields, paths_fields, time_text
from seedcorn.errors import IntegrityError, SourceError, StoreError
from seedcorn.events import Counter


def test_control_characters_are_shown_as_what_they_are() -> None:
    assert shown("a\x1b[2Jb\nc\udcff") == "a\\x1b[2Jb\nc\\xff"


def test_a_person_is_told_on_two_streams(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.line("result")
    output.emit("summary", result=1)
    output.error(SourceError(b"/a\x1b", "gone"))
    output.note("not asked for")
    caught = capsys.readouterr()
    assert caught.out == "result\n"
    assert caught.err == "seedcorn: error: /a\\x1b: gone\n"


def test_a_program_is_told_lines(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.line("result")
    output.error(SourceError(b"/a\xff", "gone"))
    output.emit("summary", result=1)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"message_type": "error", "kind": "SourceError", "message": "/a\\xff: gone", "code": 3, "path": "/a\ufffd", "path_base64": "L2H/"},
        {"message_type": "summary", "result": 1},
    ]


def test_errors_name_their_object() -> None:
    assert error_fields(IntegrityError("bad", object_name="packs/a"))["object"] == "packs/a"
    assert error_fields(StoreError("bad", key="packs/a"))["object"] == "packs/a"
    assert "object" not in error_fields(IntegrityError("bad"))


def test_paths() -> None:
    assert path_fields("/é".encode()) == {"path": "/é"}
    assert paths_fields([b"/a", b"/\xff"]) == {"paths": ["/a", "/\ufffd"], "paths_base64": ["L2E=", "L/8="]}


def test_times() -> None:
    assert time_text(0) == "1970-01-01T00:00:00Z"
    assert time_text(1_234_567_890_987_654_321) == "2009-02-13T23:31:30.987654Z"
    assert time_text(-1) == "1969-12-31T23:59:59.999999Z"
    assert time_text(-(1 << 90)).startswith("0001-")
    assert time_text(1 << 90).startswith("9999-")


def test_nobody_watches_a_quiet_run(capsys: pytest.CaptureFixture[str]) -> None:
    with watched(Output(quiet=True), BACKUP) as monitor:
        monitor.count(Counter.SOURCE_ENTRIES, 3)
    assert monitor.counted[Counter.SOURCE_ENTRIES] == 3
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedcorn.cli.progress._Bar.interval_seconds", 0.01)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    shown = ""
    deadline = time.monotonic() + 20
    with watched(Output(), BACKUP) as monitor:
        monitor.expect(Counter.SOURCE_BYTES, 4096)
        monitor.count(Counter.SOURCE_BYTES, 2048)
        while "2.00 KB" not in shown and time.monotonic() < deadline:
            shown += capsys.readouterr().err
    assert "Backing up" in shown
    assert "0 entries, 2.00 KB" in shown
    assert capsys.readouterr().out == ""
