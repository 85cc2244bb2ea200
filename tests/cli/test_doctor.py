"""``seedcorn doctor``: without a repository, of one, as its owner's machine and as a host."""

from __future__ import annotations

import json
import uuid

from seedcorn.testing.machine import Machine
from seedcorn.testing.servers import Ministack


def test_a_directory_without_a_repository(empty_machine: Machine) -> None:
    finished = empty_machine.run("doctor", "-r", "anywhere")
    assert finished.code == 0, finished.err
    assert finished.err == ""
    assert finished.out.splitlines()[-1].startswith("Grade C: append-only is NOT enforced")
    assert "create only       warning" in finished.out
    assert [path.name for path in (empty_machine.folder / "anywhere").rglob("*")] == ["doctor"]


def test_json_is_one_object(machine: Machine) -> None:
    before = {path: path.read_bytes() for path in machine.repository.rglob("*") if path.is_file()}
    finished = machine.run("doctor", "-r", machine.repository, "--json", "-v")
    assert finished.code == 0, finished.err
    (found,) = finished.lines
    assert found["message_type"] == "doctor"
    assert (found["grade"], found["append_only"], found["enrolled"], found["exit_code"], found["left"]) == ("C", False, True, 0, [])
    checks = {each["check"]: each for each in found["findings"]}
    assert checks["delete"]["outcome"] == "warning"
    assert "second copy" in checks["delete"]["advice"], "a directory has no policy that could say less"
    assert checks["read_packs"]["outcome"] == checks["read_snapshots"]["outcome"] == "warning"
    assert {each["verb"]: each["requests"] for each in found["latencies"]}["get"] == 20
    assert abs(found["clock_offset_seconds"]) < 2
    assert {path: path.read_bytes() for path in machine.repository.rglob("*") if path.is_file()} == before
    assert machine.owner("check", "--read-data").code == 0


def test_a_machine_without_a_host_file_is_no_host(machine: Machine) -> None:
    for path in machine.host_files:
        path.unlink()
    (found,) = machine.run("doctor", "-r", machine.repository, "--json").lines
    assert found["enrolled"] is False
    assert {each["check"]: each["outcome"] for each in found["findings"]}["delete"] == "note"


def test_a_host_file_that_is_none_is_refused(machine: Machine) -> None:
    finished = machine.run("doctor", "-r", machine.repository, "--host-file", "secret")
    assert finished.code == 12


def test_a_store_that_can_not_be_written_fails_in_one_line(empty_machine: Machine) -> None:
    (empty_machine.folder / "file").touch()
    finished = empty_machine.run("doctor", "-r", "file/below")
    assert finished.code == 1
    assert len(finished.err.splitlines()) == 1


def test_a_host_on_s3(empty_machine: Machine, ministack: Ministack) -> None:
    """With a host's credential: what it has to be refused is refused, packs too, of which it knows by the index only."""
    machine = empty_machine
    machine.secret.touch(mode=0o600)
    machine.secret.write_text("something long")
    ministack.make_bucket("doctor")
    place = f"s3://doctor/{uuid.uuid4().hex}"
    machine.variables.update(ministack.credentials | {"AWS_ENDPOINT_URL": ministack.endpoint, "SEEDCORN_REPOSITORY": place})
    reading = ("--passphrase-file", machine.secret)

    made = machine.run("init", *reading, "--recovery-file", "words", "--host", "here")
    assert made.code == 0, made.err
    assert "Grade A of the store, at a first look" in made.out
    assert machine.run("backup", "source").code == 0
    policy = json.loads(machine.run("host", "policy", "here", *reading).out)
    del policy["Statement"][0]["Condition"]  # which this emulator does not know

    (owner,) = machine.run("doctor", "--json").lines
    assert {each["check"]: each["outcome"] for each in owner["findings"]}["read_packs"] == "warning"
    (host,) = machine.run("doctor", "--json", **ministack.add_user("here", policy)).lines
    outcomes = {each["check"]: each["outcome"] for each in host["findings"]}
    assert [outcomes[check] for check in ("delete", "read_packs", "read_snapshots", "fresh_listing")] == ["ok"] * 4
    assert (host["grade"], host["enrolled"]) == ("A", True)
    assert machine.run("backup", "source", **ministack.add_user("again", policy)).code == 0
    assert machine.run("check", *reading).code == 0, "what the probe left behind is in nobody's way"
    assert "could not be deleted" in machine.run("doctor", **ministack.add_user("third", policy)).out
