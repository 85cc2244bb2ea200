"""What is asked and shown where somebody sits: the program on a terminal of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from seedcorn.testing.machine import PASSPHRASE, Machine

TIMEOUT_SECONDS = 60


class Terminal:
    """The person's end of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.seen = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until ``pattern`` has been shown; what comes after it stays for the next call."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, self.seen
            if select.select([self._descriptor], [], [], 1)[0]:
                self.seen += os.read(self._descriptor, 65536).decode().replace("\r\n", "\n")
        self.seen = self.seen[match.end() :]
        return match

    def type(self, line: str) -> None:
        os.write(self._descriptor, line.encode() + b"\n")


@contextmanager
def on_a_terminal(machine: Machine, *arguments: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    person, program = pty.openpty()
    command = ["setsid", "--ctty", "--wait", *machine.command(*arguments)]
    environment = machine.environment | {"TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(command, env=environment, cwd=machine.folder, stdin=program, stdout=program, stderr=program) as process:
        os.close(program)
        try:
            yield Terminal(person), process
        finally:
            process.kill()
            os.close(person)


def test_init_asks_for_a_passphrase_and_for_words_from_the_paper(empty_machine: Machine) -> None:
    with on_a_terminal(empty_machine, "init", "-r", "repository") as (terminal, process):
        terminal.wait_for("New passphrase: ")
        terminal.type(PASSPHRASE)
        terminal.wait_for("The same again: ")
        terminal.type(PASSPHRASE)
        shown = terminal.wait_for(r"Recovery words:\n((?:.*\n)*)\nWrite them down")[1]
        words = re.findall(r"[a-z]+", shown)
        assert len(words) == 24
        assert PASSPHRASE not in terminal.seen
        number = int(terminal.wait_for(r"word (\d+): ")[1])
        terminal.type("nonsense")
        terminal.wait_for("That is not the word")
        for _ in range(3):
            number = int(terminal.wait_for(r"word (\d+): ")[1])
            terminal.type(words[number - 1])
        assert process.wait(TIMEOUT_SECONDS) == 0
    with on_a_terminal(empty_machine, "snapshots", "-r", "repository") as (terminal, process):
        terminal.wait_for("Passphrase of .*: ")
        terminal.type(PASSPHRASE)
        terminal.wait_for("0 snapshots")
        assert process.wait(TIMEOUT_SECONDS) == 0


def test_two_different_passphrases(empty_machine: Machine) -> None:
    with on_a_terminal(empty_machine, "init", "-r", "repository") as (terminal, process):
        for number, question in enumerate(("New passphrase: ", "The same again: ")):
            terminal.wait_for(question)
            terminal.type(f"passphrase {number}")
        terminal.wait_for("two different passphrases")
        assert process.wait(TIMEOUT_SECONDS) == 2
    assert not empty_machine.repository.exists()


def test_a_backup_leaves_its_statistics(machine: Machine) -> None:
    with on_a_terminal(machine, "backup", "-r", "repository", "source", "-f") as (terminal, process):
        terminal.wait_for("Backup Statistics")
        assert process.wait(TIMEOUT_SECONDS) == 0


def test_interrupted_at_a_question(machine: Machine) -> None:
    with on_a_terminal(machine, "snapshots", "-r", "repository") as (terminal, process):
        terminal.wait_for("Passphrase of .*: ")
        terminal.type("\x03")
        terminal.wait_for("interrupted")
        assert process.wait(TIMEOUT_SECONDS) == 130
