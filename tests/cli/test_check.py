"""``check`` with its options, ``check --repair`` and ``scrub``, as a person and as a program sees them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seedcorn.format.pack import PackKind, parse_pack_head
from seedcorn.testing.machine import Machine


def data_pack(machine: Machine) -> Path:
    """The largest one, which is of the first backup."""
    packs = [path for path in machine.repository.glob("packs/*/*") if parse_pack_head(path.read_bytes())[0].kind is PackKind.DATA]
    return max(packs, key=lambda path: path.stat().st_size)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_part_and_what_was_read_lately(machine: Machine) -> None:
    parts = [machine.owner("check", "--read-data-subset", f"{number}/2", "--json").lines[-1] for number in (1, 2)]
    assert sum(part["read_packs"] for part in parts) == parts[0]["packs"]
    assert all(part["read_data"] and part["read_packs"] + part["skipped_packs"] == part["packs"] for part in parts)
    again = machine.owner("check", "--read-data", "--max-age", "1d")
    assert again.code == 0, again.err
    assert "Read 0 packs, left out" in again.out and "has been verified lately" in again.out and "--read-data would" not in again.out
    assert machine.owner("check", "--read-data-subset", "100%", "--json").lines[-1]["skipped_packs"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-age", "5d"),
        ("--publish",),
        ("--dry-run",),
        ("--delete-damaged",),
        ("--read-data-subset", "7/3"),
        ("--read-data", "--max-age", "soon"),
    ],
)
def test_options_that_make_no_sense(arguments: tuple[str, ...], machine: Machine) -> None:
    assert machine.owner("check", *arguments).code == 2


def test_a_dry_run_publishes_nothing(machine: Machine) -> None:
    assert machine.owner("check", "--read-data", "--publish", "--repair", "--dry-run").code == 2
    assert not list(machine.repository.glob("verified/*"))


def test_publish(machine: Machine) -> None:
    first = machine.owner("check", "--read-data", "--publish")
    assert "newly published as verified" in first.out
    assert len(list(machine.repository.glob("verified/*"))) == 1
    again = machine.owner("check", "--read-data", "--publish", "--json").lines[-1]
    assert (again["published_packs"], again["problems"]) == (0, [])
    assert len(list(machine.repository.glob("verified/*"))) == 1


def test_a_lost_pack_from_the_first_alarm_to_a_whole_snapshot(machine: Machine) -> None:
    data_pack(machine).unlink()
    alarm = machine.owner("check")
    assert alarm.code == 13
    assert "--repair --dry-run" in alarm.out
    planned = machine.owner("check", "--repair", "--dry-run")
    assert planned.code == 13
    assert "give up" in planned.out and "replace" in planned.out
    assert machine.owner("check", "--repair", "--dry-run").out.count("give up") == 1  # nothing has been done
    repaired = machine.owner("check", "--repair")
    assert repaired.code == 13
    assert "Repaired: put 0 packs and 1 index segment, removed" in repaired.out
    assert "can not be restored whole" in repaired.out
    lines = machine.owner("check", "--repair", "--json")
    (plan,) = lines.of_type("repair_plan")
    assert not any(plan[what] for what in ("list_again", "move", "give_up", "replace_segments", "remove_segments", "delete_packs"))
    damage = lines.of_type("damage")
    assert {line["host"] for line in damage} == {"here"}
    assert all(line["paths"] and line["lost_bytes"] for line in damage)
    assert {line["lost_bytes"] > 0 for line in lines.of_type("affected")} == {True}
    template_source = Path(machine.owner("snapshots", "--json").lines[0]["paths"][0])
    assert machine.back_up(template_source).code == 0
    restored = machine.owner("restore", f"latest:{template_source}", "--target", "restored")
    assert restored.code == 0, restored.err
    assert (machine.folder / "restored" / "file").read_bytes() == (template_source / "file").read_bytes()


def test_a_lost_index_is_not_called_harmless(machine: Machine) -> None:
    shutil.rmtree(machine.repository / "index")
    alarm = machine.owner("check")
    assert alarm.code == 13
    assert ":/ (a directory, and all that was below)" in alarm.out and "of them 1 directory with all that was below" in alarm.out
    assert "0 bytes" not in alarm.out.partition("Checked")[0]  # nobody knows how much it was
    assert "that no index segment lists: a repair lists again those that are good" in alarm.out and "harmless" not in alarm.out
    assert {line["directories"] for line in machine.owner("check", "--json").of_type("damage")} == {1}
    assert machine.owner("check", "--read-data", "--repair").code == 0
    assert machine.owner("check", "--read-data").code == 0


def test_a_damaged_header_is_said_to_be_put_back(machine: Machine) -> None:
    header = machine.repository / "seedcorn.json"
    flip(header, 300)
    for command in (("check",), ("snapshots",), ("scrub",), ("key", "list"), ("backup", "source")):
        refused = machine.owner(*command)
        assert refused.code == 13 and "seedcorn.json: " in refused.err and "put it back from a copy" in refused.err
    header.write_bytes(b"")
    assert "put it back from a copy" in machine.owner("check").err


def test_a_damaged_segment_and_a_damaged_pack(machine: Machine) -> None:
    segment = max(machine.repository.glob("index/*/*"))  # another one than lists the pack: without footer and index nobody knows what was in it
    flip(segment, 300)
    pack = data_pack(machine)
    flip(pack, pack.stat().st_size - 30)
    planned = machine.owner("check", "--read-data", "--repair", "--delete-damaged", "--dry-run")
    assert planned.code == 13
    assert f"remove       index/{segment.parent.name}/{segment.name}" in planned.out
    assert segment.exists() and pack.exists()
    repaired = machine.owner("check", "--read-data", "--repair", "--delete-damaged", "--json")
    assert repaired.code == 0, repaired.out
    (done,) = repaired.of_type("repair")
    assert done["new_segments"] and len(done["removed_segments"]) >= 1
    assert not segment.exists()
    assert machine.owner("check", "--read-data").code == 0


def test_small_objects_that_this_machine_remembers_and_does_not(machine: Machine) -> None:
    assert machine.owner("snapshots").code == 0
    receipt = max(machine.repository.glob("receipts/*/*"))
    key = f"receipts/{receipt.parent.name}/{receipt.name}"
    flip(receipt, 100)
    planned = machine.owner("check", "--repair", "--dry-run")
    assert planned.code == 13
    assert f"put again    {key}" in planned.out and not (machine.repository / "spares").exists()
    repaired = machine.owner("check", "--repair", "--json")
    assert repaired.code == 0, repaired.out
    (plan,), (done,) = repaired.of_type("repair_plan"), repaired.of_type("repair")
    assert ([one["object"] for one in plan["put_back"]], plan["unknown"], done["put_back"]) == ([key], [], [key])
    shutil.rmtree(machine.home / ".local")  # a machine that remembers nothing reads what was put
    again = machine.owner("check", "-v")
    assert again.code == 0 and "1 damaged object put once more" in again.err
    shutil.rmtree(machine.home / ".local")
    (machine.repository / "spares" / key).unlink()
    unknown = machine.owner("check", "--repair")
    assert unknown.code == 13
    assert f"not known    {key}" in unknown.out and "its snapshot is kept until it is forgotten" in unknown.out
    assert "run the same there" in unknown.out


def test_scrub_needs_no_secret(machine: Machine) -> None:
    good = machine.run("scrub", "-r", machine.repository)
    assert good.code == 0, good.err
    assert "Every object is what its name says" in good.out
    pack = data_pack(machine)
    flip(pack, 100)
    for arguments in ((), ("--packs-only",), ("--read-data-subset", "1/1")):
        bad = machine.run("scrub", "-r", machine.repository, *arguments)
        assert bad.code == 13
        assert pack.name in bad.err and "1 object not as it was put" in bad.out
    summary = machine.run("scrub", "-r", machine.repository, "--json").lines[-1]
    assert [problem["object"] for problem in summary["problems"]] == [f"packs/{pack.parent.name}/{pack.name}"]
    assert machine.run("scrub", "-r", machine.folder / "nowhere").code == 10
