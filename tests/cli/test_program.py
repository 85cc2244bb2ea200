"""What holds for every command: where options stand, how a run ends, what is never shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

import seedcorn
from seedcorn.cli.app import COMMANDS
from seedcorn.testing.machine import Machine


def test_version(empty_machine: Machine) -> None:
    assert empty_machine.run("--version").out == f"seedcorn {seedcorn.__version__}\n"
    assert empty_machine.run("version").out.startswith(f"seedcorn {seedcorn.__version__} ")
    assert empty_machine.run("version", "--json").lines[0]["version"] == seedcorn.__version__


def test_help_names_every_command(empty_machine: Machine) -> None:
    shown = empty_machine.run("--help")
    assert shown.code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in shown.out
    assert empty_machine.run().out == shown.out


@pytest.mark.parametrize("name", [*COMMANDS, "key add", "host policy"])
def test_help_of_a_command(name: str, empty_machine: Machine) -> None:
    shown = empty_machine.run(*name.split(), "-h")
    assert shown.code == 0
    assert f"Usage: seedcorn {name}" in shown.out
    assert "--json" in shown.out


def test_common_options_stand_before_or_after_the_verb(machine: Machine) -> None:
    place = ("-r", machine.repository, "--passphrase-file", machine.secret)
    after = machine.run("snapshots", *place, "--json")
    before = machine.run(*place, "--json", "snapshots")
    assert before.code == after.code == 0
    assert before.out == after.out
    between = machine.run("key", "-r", machine.repository, "list", "--json")
    assert between.of_type("key")


def test_an_option_after_the_verb_rules(machine: Machine) -> None:
    finished = machine.run("-r", "/nowhere", "key", "list", "-r", machine.repository)
    assert finished.code == 0
    assert machine.run("key", "list", SEEDCORN_REPOSITORY=str(machine.repository)).out == finished.out
    assert machine.run("key", "list", "-r", "repository").out == finished.out  # relative to where we are


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("backup", "--nonsense"),
        ("backup",),
        ("backup", "source"),  # to where?
        ("backup", "-r", "repository", "--stdin", "source"),
        ("backup", "-r", "repository", "--level", "20", "source"),
        ("backup", "-r", "repository", "--connections", "0", "source"),
        ("backup", "-r", "repository", "--connections", "many", "source"),
        ("backup", "-r", "repository", "-e", "[", "source"),
        ("backup", "-r", "ftp://server/backup", "source"),
        ("restore", "-r", "repository"),
        ("restore", "-r", "repository", "latest:relative"),
        ("restore", "-r", "repository", "latest", "--overwrite", "perhaps"),
        ("key", "remove", "-r", "repository"),
    ],
)
def test_usage_errors(arguments: tuple[str, ...], machine: Machine) -> None:
    finished = machine.run(*arguments)
    assert finished.code == 2, finished.err
    assert finished.err.startswith("seedcorn: error: ")
    assert finished.out == ""


def test_no_repository(empty_machine: Machine) -> None:
    for command in (("backup", "source"), ("snapshots",), ("key", "list")):
        finished = empty_machine.run(*command, "-r", empty_machine.repository)
        assert finished.code == 10
        assert "seedcorn init" in finished.err


def test_a_wrong_passphrase(machine: Machine) -> None:
    machine.secret.write_text("another one")
    finished = machine.owner("snapshots")
    assert finished.code == 12
    assert "does not open" in finished.err


def test_no_passphrase_and_nobody_to_ask(machine: Machine) -> None:
    finished = machine.run("snapshots", "-r", machine.repository)
    assert finished.code == 12
    assert "--passphrase-file" in finished.err
    assert "SEEDCORN_PASSPHRASE_COMMAND" in finished.err


def test_a_fatal_error_as_json(machine: Machine) -> None:
    finished = machine.run("snapshots", "--json", "-r", machine.repository)
    ending = json.loads(finished.err.splitlines()[-1])
    assert ending == {"message_type": "exit_error", "code": 12, "message": ending["message"]}
    assert json.loads(machine.run("nonsense", "--json").err.splitlines()[-1])["code"] == 2


def test_what_nobody_expected_is_one_line(machine: Machine) -> None:
    """A state directory that is a file is an error with a name; a bug would be reported in the same form, with a plea."""
    finished = machine.back_up("source", SEEDCORN_STATE_DIR=str(machine.secret))
    assert finished.code == 1
    assert len(finished.err.splitlines()) == 1


def test_debug_shows_where(machine: Machine) -> None:
    command = machine.command("snapshots", "-r", machine.repository)
    finished = subprocess.run(command, env=machine.environment | {"SEEDCORN_DEBUG": "1"}, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert b"Traceback" in finished.stderr
    assert finished.returncode == 12


def test_a_reader_that_goes_away_is_no_reason_for_noise(machine: Machine) -> None:
    command = machine.command("snapshots", "--json", "-r", machine.repository, "--passphrase-file", machine.secret)
    with subprocess.Popen(command, env=machine.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


def test_an_interrupt_ends_it_at_once(machine: Machine) -> None:
    reading, writing = os.pipe()
    command = machine.command("backup", "-r", machine.repository, "--stdin", "--json")
    with subprocess.Popen(command, env=machine.environment, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.close(reading)
        os.write(writing, b"not all of it")
        assert process.stdout
        assert process.stderr
        assert b"status" in process.stdout.readline()  # it runs, and waits for more
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        err = process.stderr.read()
        os.close(writing)
    assert b"Traceback" not in err
    assert json.loads(err.splitlines()[-1])["code"] == 130
    assert len(machine.owner("snapshots", "--json").lines) == 2


def test_names_can_not_write_to_the_terminal(machine: Machine) -> None:
    for arguments in (("ls", "-R"), ("ls", "-lR"), ("snapshots",), ("backup", machine.source / "evil\x1b[2Jgone")):
        finished = machine.owner(*arguments)
        assert "\x1b" not in finished.out + finished.err
    assert "evil\\n\\x1b[31mname" in machine.owner("ls", "-R").out


def test_no_core_is_dumped(machine: Machine) -> None:
    code = """
import ctypes, resource
from seedcorn.jobs.process import prepare_process
prepare_process()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3))
"""
    finished = subprocess.run([sys.executable, "-c", code], env=machine.environment, capture_output=True, text=True, check=True)
    assert finished.stdout == "(0, 0) 0\n"
