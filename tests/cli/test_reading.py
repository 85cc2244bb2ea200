"""``snapshots``, ``ls``, ``stats``, ``check``."""

from __future__ import annotations

import re

from seedcorn.testing.machine import Machine


def test_snapshots(machine: Machine) -> None:
    shown = machine.owner("snapshots")
    header, first, second, count = shown.out.splitlines()
    assert header.split() == ["ID", "Time", "Host", "Tags", "Files", "Size", "Paths"]
    assert re.match(r"[0-9a-f]{12}  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  here  first ", first)
    assert " second " in second
    assert count == "2 snapshots"


def test_snapshots_as_json_and_filtered(machine: Machine) -> None:
    lines = machine.owner("snapshots", "--json").lines
    assert [line["tags"] for line in lines] == [["first"], ["second"]]
    assert [line["number"] for line in lines] == [1, 2]
    assert lines[1]["statistics"]["changed_files"] == 1
    assert all(line["id"].startswith(line["short_id"]) for line in lines)
    assert [line["tags"] for line in machine.owner("snapshots", "--json", "--tag", "first").lines] == [["first"]]
    assert machine.owner("snapshots", "--json", "--host", "another").lines == []
    assert len(machine.owner("snapshots", "--json", "--host", "here", "--path", lines[0]["paths"][0]).lines) == 2
    assert machine.owner("snapshots", "--json", "--path", "/elsewhere").lines == []
    assert machine.owner("snapshots", lines[0]["id"][:10], "--json").lines == lines[:1]
    assert machine.owner("snapshots", "feedfeed").code == 2


def test_ls(machine: Machine) -> None:
    (source,) = machine.owner("snapshots", "latest", "--json").lines[0]["paths"]
    listed = machine.owner("ls", f"latest:{source}").out.splitlines()
    assert listed == [f"{source}/evil\\n\\x1b[31mname", f"{source}/file", f"{source}/link", f"{source}/sub"]
    assert f"{source}/sub/other" in machine.owner("ls", "-R").out.splitlines()
    long = machine.owner("ls", "-l", f"latest:{source}").out.splitlines()
    assert re.fullmatch(rf"-rw-r--r-- \S+ +\S+ +8008 \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {re.escape(source)}/file", long[1])
    assert long[2].endswith(f"{source}/link -> file")
    (one,) = machine.owner("ls", f"latest:{source}/file", "--json").lines
    assert (one["type"], one["size"], one["mode"]) == ("file", 8008, "0644")
    assert machine.owner("ls", "latest:/nowhere").code == 2


def test_stats(machine: Machine) -> None:
    (found,) = machine.owner("stats", "--json").lines
    assert found["snapshots"] == 2
    objects = [path.stat().st_size for path in machine.repository.rglob("*") if path.is_file()]
    assert found["stored"]["total"] == sum(objects)
    assert found["stored"]["objects"] == len(objects)
    assert machine.owner("stats", "latest", "--json").lines[0]["logical_bytes"] == 8013
    assert "deduplication" in machine.owner("stats").out
    last = machine.owner("stats", "--last")
    assert "\nChangedFiles 1\n" in last.out
    assert machine.owner("stats", "--last", "--json").lines[0]["tags"] == ["second"]


def test_check(machine: Machine) -> None:
    quick = machine.owner("check")
    assert quick.code == 0, quick.err
    assert "Everything is there" in quick.out
    full = machine.owner("check", "--read-data", "--json").lines[-1]
    assert full["message_type"] == "summary"
    assert full["problems"] == []
    assert full["checked_bytes"] >= full["pack_bytes"] > 0


def test_a_missing_pack_is_found(machine: Machine) -> None:
    pack = max(machine.repository.glob("packs/*/*"), key=lambda path: path.stat().st_size)
    pack.unlink()
    finished = machine.owner("check")
    assert finished.code == 13
    assert pack.name in finished.err
