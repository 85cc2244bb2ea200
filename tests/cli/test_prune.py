"""forget, prune, undelete and the maintain file, as an operator types them."""

from __future__ import annotations

import stat

import pytest

from seedcorn.cli.app import ROOT
from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_common
from seedcorn.cli.parser import read_command_line
from seedcorn.errors import StoreError
from seedcorn.jobs.environment import Environment
from seedcorn.jobs.maintain_session import Maintaining
from seedcorn.testing.machine import Machine

NOW = ("--grace", "0", "--allow-large")


@pytest.fixture
def snapshots(machine: Machine) -> list[str]:
    """Ids, oldest first."""
    return [line["id"] for line in machine.owner("snapshots", "--json").of_type("snapshot")]


def listed(machine: Machine, *arguments: str) -> dict[str, str]:
    """Ids and standing."""
    return {line["id"]: line["standing"] for line in machine.owner("snapshots", "--json", *arguments).of_type("snapshot")}


def test_a_policy_is_shown_and_then_carried_out(machine: Machine, snapshots: list[str]) -> None:
    shown = machine.owner("forget", "--keep-last", "1", "-n")
    assert shown.code == 0 and "Would forget 1 snapshot" in shown.out and "last 1" in shown.out
    assert listed(machine) == dict.fromkeys(snapshots, "confirmed")
    done = machine.owner("forget", "--keep-last", "1", "--json")
    assert [line["action"] for line in done.of_type("decision")] == ["remove", "keep"]
    assert done.of_type("summary")[0]["forgotten"] == snapshots[:1]
    assert listed(machine) == {snapshots[1]: "confirmed"}
    assert listed(machine, "--all") == {snapshots[0]: "forgotten", snapshots[1]: "confirmed"}
    assert "forgotten" in machine.owner("snapshots", "--all").out


def test_by_id_and_back_again(machine: Machine, snapshots: list[str]) -> None:
    assert machine.owner("forget", snapshots[1][:10]).code == 0
    assert listed(machine) == {snapshots[0]: "confirmed"}
    assert machine.owner("prune").code == 0  # the grace is not over
    assert "is back" in machine.owner("undelete", snapshots[1][:10]).out
    assert listed(machine) == dict.fromkeys(snapshots, "confirmed")
    assert machine.owner("check", "--read-data").code == 0


def test_quiet_is_for_cron_and_a_plan_is_shown_to_who_asks_for_it(machine: Machine, snapshots: list[str]) -> None:
    for command in (("forget", "--keep-last", "1", "-q"), ("prune", "-q"), ("forget", "--keep-last", "1", "--prune", "-q")):
        plan = machine.owner(*command, "-n")
        assert plan.code == 0 and plan.out, command
        assert "What `prune` would do now" not in plan.out
        finished = machine.owner(*command)
        assert (finished.code, finished.out, finished.err) == (0, "", ""), command


def test_forget_and_prune_at_once(machine: Machine, snapshots: list[str]) -> None:
    before = sum(path.stat().st_size for path in (machine.repository / "packs").rglob("*") if path.is_file())
    plan = machine.owner("prune", "-n", "--json", *NOW).of_type("plan")[0]
    assert plan["dry_run"] and plan["new_packs"] == 0 and plan["total_bytes"] == before
    done = machine.owner("forget", "--keep-last", "1", "--prune", *NOW)
    assert done.code == 0 and "Deleted" in done.out
    assert machine.owner("undelete", snapshots[0]).code in (1, 2)
    assert machine.owner("check", "--read-data").code == 0
    assert machine.owner("restore", "latest", "--target", "back").code == 0
    assert machine.back_up("source").code == 0


def test_nothing_is_said_to_be_forgotten_before_it_is(
    machine: Machine, snapshots: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the disk is full", key="forget/")

    monkeypatch.setattr(Maintaining, "forget", fail)
    for form in ((), ("--json",)):
        line = ["forget", snapshots[0], "-r", str(machine.repository), "--passphrase-file", str(machine.secret), *form]
        run, options = read_command_line(ROOT, "seedcorn", line, declare_common)
        with Invocation(options, Environment(machine.environment, machine.folder)) as invocation, pytest.raises(StoreError):
            run(invocation)
        shown = capsys.readouterr().out
        assert snapshots[0][:12] in shown  # what was to be done
        assert "Forgot" not in shown and "summary" not in shown


def test_nothing_is_forgotten_or_deleted_without_what_was_seen_before(machine: Machine, snapshots: list[str]) -> None:
    nowhere = {"SEEDCORN_STATE_DIR": str(machine.source / "file" / "state")}
    assert machine.owner("snapshots", **nowhere).code == 0
    for command in (("forget", "--keep-last", "1"), ("prune", *NOW), ("undelete", snapshots[0])):
        refused = machine.owner(*command, **nowhere)
        assert refused.code == 1 and "the state directory" in refused.err
    assert listed(machine) == dict.fromkeys(snapshots, "confirmed")


def test_with_a_maintain_file_and_no_passphrase(machine: Machine, snapshots: list[str]) -> None:
    assert machine.owner("key", "export-maintain", "--out", "maintain.json").code == 0
    path = machine.folder / "maintain.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert machine.owner("key", "export-maintain", "--out", "maintain.json").code == 2
    place = ("-r", machine.repository, "--maintain-file", "maintain.json")
    assert machine.run("forget", "--keep-last", "1", *place).code == 0
    assert machine.run("undelete", snapshots[0], *place).code == 0
    assert machine.run("forget", snapshots[0], *place).code == 0
    assert machine.run("prune", "-r", machine.repository, *NOW, SEEDCORN_MAINTAIN_FILE="maintain.json").code == 0
    assert listed(machine, "--all") == {snapshots[1]: "confirmed"}
    path.chmod(0o644)
    assert machine.run("prune", *place).code == 12
    path.unlink()
    assert machine.run("prune", *place).code == 12


@pytest.mark.parametrize(
    "arguments",
    [
        ("forget",),
        ("forget", "00", "--keep-last", "1"),
        ("forget", "zz"),
        ("forget", "--keep-last", "1", "--host", "nobody"),
        ("undelete",),
        ("prune", "--grace", "soon"),
        ("prune", "--max-unused", "100%"),
        ("prune", "--max-unused", "much"),
        ("snapshots", "latest", "--all"),
    ],
)
def test_what_makes_no_sense(arguments: tuple[str, ...], machine: Machine) -> None:
    assert machine.owner(*arguments).code == 2


def test_deep(machine: Machine, snapshots: list[str]) -> None:
    before = machine.owner("prune", "--deep", "-n", "--json", *NOW)
    assert before.code == 0 and before.of_type("deep_plan")[0]["dry_run"] and not before.of_type("deep")
    assert machine.owner("forget", snapshots[0]).code == 0
    shown = machine.owner("prune", "--deep", "--max-dead", "1%", "-n", *NOW)
    assert shown.code == 0 and "Would read" in shown.out
    planned = machine.owner("prune", "--deep", "--max-dead", "1%", "-n", "--json", *NOW)
    plan = planned.of_type("deep_plan")[0]
    assert plan["frames"] > 0 and [line["id"] for line in planned.of_type("poor_snapshot")] == snapshots[1:]
    done = machine.owner("prune", "--deep", "--max-dead", "1%", "--json", *NOW)
    assert done.code == 0 and done.of_type("deep")[0]["frames"] == plan["frames"] and done.of_type("summary")[0]["deleted_packs"]
    assert listed(machine) == {snapshots[1]: "confirmed"}
    assert machine.owner("check", "--read-data").code == 0
    assert machine.owner("restore", snapshots[1], "--target", "back").code == 0
    assert machine.back_up("source").code == 0
    assert machine.owner("prune", "--deep", *NOW).code == 0


def test_deep_asks_for_the_passphrase_and_for_a_share(machine: Machine, snapshots: list[str]) -> None:
    assert machine.owner("prune", "--deep", "--maintain-file", "maintain.json").code == 2
    assert machine.owner("prune", "--max-dead", "10%").code == 2
    assert machine.owner("prune", "--deep", "--max-dead", "100%").code == 2
