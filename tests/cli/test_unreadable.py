"""A snapshot that can not be read, and a host that is not trusted any more, as an operator meets them: messages say what to type."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from seedcorn.testing.machine import Finished, Machine

NOW = ("--grace", "0", "--allow-large")


@pytest.fixture
def rotten(machine: Machine) -> Path:
    """The older of two snapshots, with one byte changed, on a machine that has never read it."""
    older = spoil_older(machine)
    shutil.rmtree(machine.home / ".local", ignore_errors=True)
    return older


def spoil_older(machine: Machine) -> Path:
    older, _ = sorted((machine.repository / "snapshots").rglob("0*-*"))
    older.chmod(0o600)
    older.write_bytes(older.read_bytes()[:-1] + b"?")
    return older


def command_in(text: str) -> list[str]:
    """The one command that a message tells to type, without the program's name."""
    (command,) = set(re.findall(r"`seedcorn (forget [^`]+)`", text))
    return shlex.split(command)


def repository_objects(machine: Machine) -> set[Path]:
    return {path for path in machine.repository.rglob("*") if path.is_file()}


def test_prune_says_what_to_type_and_that_helps(machine: Machine, rotten: Path) -> None:
    refused = machine.owner("prune", *NOW)
    assert refused.code == 13 and "nothing is collected as long as this is so" in refused.err
    assert len(refused.err.splitlines()) == 2 and refused.err.count("do not match the hash") == 1, "each problem is told once"
    command = command_in(refused.err)
    assert command[1] == str(rotten.relative_to(machine.repository))
    checked = machine.owner("check")
    assert checked.code == 13 and command_in(checked.err) == command
    before = repository_objects(machine)
    shown = machine.owner(*command, "-n")
    assert shown.code == 0, shown.err
    for expected in ("can not be read", "do not match the hash", "can not be known", "Nothing else is lost", "Would forget 1 snapshot"):
        assert expected in shown.out
    assert repository_objects(machine) == before
    listed = machine.owner("snapshots", "--all")
    assert "unreadable: its bytes" in listed.out and command[1] in listed.out

    assert machine.owner(*command).code == 0
    assert machine.owner("check").code == 0
    assert "forgotten: its bytes" in machine.owner("snapshots", "--all").out
    pruned = machine.owner("prune", *NOW)
    assert pruned.code == 0 and "Deleted" in pruned.out, pruned.err
    assert not rotten.exists()
    assert machine.owner("check", "--read-data").code == 0
    assert machine.owner("restore", "latest", "--target", "back").code == 0


def test_what_check_tells_to_type_helps_on_a_machine_that_has_kept_good_bytes(machine: Machine) -> None:
    assert machine.owner("snapshots").code == 0
    spoil_older(machine)
    checked = machine.owner("check")
    assert checked.code == 13, checked.err
    assert machine.owner(*command_in(checked.err)).code == 0
    again = machine.owner("check")
    assert again.code == 0, again.err


def test_as_json(machine: Machine, rotten: Path) -> None:
    key = str(rotten.relative_to(machine.repository))
    snapshot = key[-64:]
    (listed,) = machine.owner("snapshots", "--all", "--json").of_type("unreadable")
    assert (listed["id"], listed["object"], listed["standing"]) == (snapshot, key, "unreadable")
    done = machine.owner("forget", snapshot[:10], "--json")
    (shown,) = done.of_type("unreadable")
    assert shown["size_bytes"] == rotten.stat().st_size and "do not match" in shown["reason"]
    (summary,) = done.of_type("summary")
    assert (summary["forgotten"], summary["lacking"]) == ([snapshot], 0)


def test_it_comes_back_if_the_store_brings_it_back(machine: Machine, rotten: Path) -> None:
    damaged = rotten.read_bytes()
    assert machine.owner("forget", str(rotten.relative_to(machine.repository))).code == 0
    assert machine.owner("prune").code == 0
    refused = machine.owner("undelete", rotten.name[-64:])
    assert refused.code == 1 and "still not be read" in refused.err
    good = next(bytes([byte]) for byte in range(256) if _is_good(damaged[:-1] + bytes([byte]), rotten.name[-64:]))
    rotten.write_bytes(damaged[:-1] + good)
    assert machine.owner("undelete", rotten.name[-64:]).code == 0
    assert machine.owner("check", "--read-data").code == 0
    assert len(machine.owner("snapshots", "--json").of_type("snapshot")) == 2


def _is_good(data: bytes, name: str) -> bool:
    from seedcorn.crypto.primitives import object_hash

    return object_hash(data).hex() == name


@pytest.mark.parametrize("reference", ["snapshots/none", "snapshots/" + "0" * 32 + "/0000000001-" + "0" * 64, "0000:1", "zz:1"])
def test_what_nobody_knows_of(machine: Machine, reference: str) -> None:
    assert machine.owner("forget", reference).code == 2


def put_garbage(machine: Machine, host: str) -> Path:
    path = machine.repository / "snapshots" / host / f"0000000007-{'ab' * 32}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"garbage")
    return path


def revoke(machine: Machine, *arguments: str) -> Finished:
    return machine.owner("host", "revoke", "here", *arguments)


def test_a_host_that_is_not_trusted_any_more(machine: Machine) -> None:
    (host,) = (machine.repository / "snapshots").iterdir()
    garbage = put_garbage(machine, host.name)
    shown = revoke(machine, "-n")
    assert shown.code == 0 and "counts for nothing" in shown.out and "ask for --last-seq" in shown.out
    refused = revoke(machine)
    assert refused.code == 2 and "--last-seq 2" in refused.err and garbage.name in refused.err
    assert revoke(machine, "--json").lines == []  # nothing has been done, and nothing else is said
    assert revoke(machine, "--last-seq", "5").code == 2
    chosen = revoke(machine, "--last-seq", "1", "--json")
    (summary,) = chosen.of_type("summary")
    assert (summary["last_seq"], summary["kept"], len(summary["left_out"])) == (1, 1, 2)
    assert len(machine.owner("snapshots", "--json").of_type("snapshot")) == 1
    assert machine.owner("prune", *NOW).code == 0
    checked = machine.owner("check", "-v")
    assert checked.code == 0 and "count for nothing" in checked.err
    assert machine.owner("restore", "latest", "--target", "back").code == 0
    assert revoke(machine).code == 2  # it is
