"""copy, as an operator types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedcorn.testing.machine import Machine


@pytest.fixture
def offsite(machine: Machine, tmp_path: Path) -> Machine:
    """Another repository, in which ``machine`` is enrolled."""
    other = Machine(tmp_path / "offsite")
    other.found()
    for path in other.host_files:
        path.rename(machine.home / ".config" / "seedcorn" / "hosts" / path.name)
    return other


def copy(machine: Machine, offsite: Machine, *arguments: str | Path) -> tuple[str | Path, ...]:
    return ("copy", "--from-repo", machine.repository, "-r", offsite.repository, "--from-passphrase-file", machine.secret, *arguments)


def test_there_and_compared(machine: Machine, offsite: Machine) -> None:
    command = copy(machine, offsite)
    plan = machine.run(*command, "-n", "--json")
    assert [line["stored_bytes"] > 0 for line in plan.of_type("planned")] == [True, True]
    assert plan.of_type("summary")[0]["copied"] == 2 and not list((offsite.repository / "snapshots").rglob("*-*"))
    shown = machine.run(*command, "--dry-run")
    assert shown.code == 0 and "Would copy 2 snapshots" in shown.out

    done = machine.run(*command)
    assert done.code == 0 and "Copied 2 snapshots" in done.out
    again = machine.run(*command, "--json")
    assert again.of_type("summary")[0]["skipped"] == 2 and again.of_type("copied") == []
    originals = machine.owner("snapshots", "--json").of_type("snapshot")
    copies = machine.run("snapshots", "--json", "-r", offsite.repository, "--passphrase-file", offsite.secret).of_type("snapshot")
    assert [line["copied_from"]["snapshot"] for line in copies] == [line["id"] for line in originals]
    assert all(one[field] == other[field] for one, other in zip(originals, copies, strict=True) for field in ("host", "paths", "tags", "time"))
    assert "copy of" in machine.run("snapshots", "-r", offsite.repository, "--passphrase-file", offsite.secret).out
    assert machine.run("check", "--read-data", "-r", offsite.repository, "--passphrase-file", offsite.secret).code == 0


def test_some_of_them(machine: Machine, offsite: Machine) -> None:
    variables = {"SEEDCORN_FROM_REPOSITORY": str(machine.repository), "SEEDCORN_FROM_PASSPHRASE_FILE": str(machine.secret)}
    command = ("copy", "-r", offsite.repository, "--json")
    assert machine.run(*command, "--tag", "first", **variables).of_type("summary")[0]["copied"] == 1
    assert machine.run(*command, "latest", **variables).of_type("summary")[0]["copied"] == 1
    assert machine.run(*command, "latest", "--force", **variables).of_type("copied")[0]["read_bytes"] == 0


def test_what_is_refused(machine: Machine, offsite: Machine) -> None:
    itself = machine.run("copy", "--from-repo", machine.repository, "-r", machine.repository, "--from-passphrase-file", machine.secret)
    assert itself.code == 2 and "same repository" in itself.err
    assert machine.run("copy", "-r", offsite.repository).code == 2
    ambiguous = machine.run(*copy(machine, offsite), "--passphrase-file", offsite.secret)
    assert ambiguous.code == 2 and "--from-passphrase-file" in ambiguous.err
    silent = machine.run("copy", "--from-repo", machine.repository, "-r", offsite.repository)
    assert silent.code == 12 and "--from-passphrase-file or SEEDCORN_FROM_PASSPHRASE_FILE" in silent.err
    assert " --passphrase" not in silent.err and "SEEDCORN_PASSPHRASE" not in silent.err  # those would be refused, or not looked at
    offsite.secret.write_text("something else\n")
    wrong = ("copy", "--from-repo", machine.repository, "-r", offsite.repository, "--from-passphrase-file", offsite.secret)
    assert machine.run(*wrong).code == 12
    assert machine.run(*copy(machine, offsite), "deadbeef").code == 2
    assert machine.run(*copy(machine, offsite), "--from-repo", machine.folder / "nothing").code == 10
    for path in machine.host_files:
        path.unlink()
    stranger = machine.run(*copy(machine, offsite))
    assert stranger.code == 12 and "not enrolled" in stranger.err
