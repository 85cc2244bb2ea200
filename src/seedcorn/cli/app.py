"""The program: the registry of commands, and ``main``, which turns every way for a command to end into an exit status and at most one line.

A new command is a module with a ``COMMAND`` and one line in ``COMMANDS``. A command's module is imported when the command is run.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_common
from seedcorn.cli.output import Output, prepare_streams
from seedcorn.cli.parser import Command, Group, Parser, read_command_line
from seedcorn.errors import EXIT_FAILED, EXIT_INTERRUPTED, SeedcornError
from seedcorn.version import PROGRAM

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["COMMANDS", "ROOT", "main"]

COMMANDS = {  # name, which is also the module's -> what the list of commands says
    "init": "Make a repository and enrol this machine.",
    "backup": "Back up files, directories, or standard input.",
    "restore": "Get files back.",
    "snapshots": "List snapshots.",
    "ls": "List what is in a snapshot.",
    "stats": "Show how much is stored, or what a backup did.",
    "check": "Verify that everything is there and can be read; put right what is not.",
    "scrub": "Hash every object that is named by its hash. Needs no key.",
    "forget": "Remove snapshots, by a policy or one by one.",
    "undelete": "Take back that snapshots were forgotten.",
    "prune": "Delete what no snapshot needs any more.",
    "copy": "Copy snapshots to another repository.",
    "doctor": "Find out what a store guarantees, and grade it.",
    "key": "Manage passphrases.",
    "host": "Manage machines that may back up.",
    "version": "Show the version.",
}
ELSEWHERE = {  # names of restic, borg and kopia, of which the nearest in letters would be another thing
    "create": "is it backup?",
    "extract": "is it restore?",
    "list": "is it snapshots or ls?",
    "delete": "is it forget?",
    "expire": "is it forget?",
    "compact": "is it prune?",
    "maintenance": "is it prune?",
    "verify": "is it check?",
    "repair": "is it check --repair?",
    "rebuild-index": "is it check --repair?",
    "sync-to": "is it copy?",
    "transfer": "is it copy?",
    "recover": "is it key recover?",
    "info": "is it stats?",
    "unlock": "nothing is ever locked here",
    "break-lock": "nothing is ever locked here",
}
EXAMPLES = """
    seedcorn init -r /mnt/disk/backups     # once; keep the 24 words on paper
    seedcorn backup -r /mnt/disk/backups /etc /home
    seedcorn restore -r /mnt/disk/backups latest:/etc --target /tmp/etc
"""
INTERRUPT_GRACE_SECONDS = 2.0  # for tidying up; a thread that is still retrying an upload does not get longer
_REPORT = "this is a bug in seedcorn: please report it with what the same command prints under SEEDCORN_DEBUG=1"


def _find(name: str) -> Command | Group:
    command: Command | Group = import_module(f"seedcorn.cli.{name}").COMMAND
    return command


def _declare(parser: Parser) -> None:
    parser.answer("--version", help="Show the version.", text=lambda: f"{PROGRAM}\n")


ROOT = Group("Incremental, deduplicated, encrypted backups to any object store.", COMMANDS, _find, _declare, EXAMPLES, ELSEWHERE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit status. An interrupted one does not return."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    prepare_streams()
    for stop in (signal.SIGINT, signal.SIGTERM):  # from a terminal, from systemd
        signal.signal(stop, _interrupt)
    code = _run(given, Output(as_json="--json" in given))
    code = _flush(code)
    if code == EXIT_INTERRUPTED:
        os._exit(code)  # without waiting for threads
    return code


def _run(arguments: list[str], output: Output) -> int:
    """Every exception ends here."""
    try:
        run, options = read_command_line(ROOT, "seedcorn", arguments, declare_common)
        with Invocation(options) as invocation:
            return run(invocation)
    except SeedcornError as error:
        _debug()
        output.fatal(str(error) if output.as_json else error.when_told or str(error), error.exit_code)
        return error.exit_code
    except (KeyboardInterrupt, EOFError):  # EOFError: nobody is there to answer a question
        output.fatal("interrupted", EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001  # the last resort: one line instead of a traceback
        _debug()
        output.fatal(f"{type(error).__name__}: {error}; {_REPORT}", EXIT_FAILED)
        return EXIT_FAILED


def _debug() -> None:
    if os.environ.get("SEEDCORN_DEBUG", "") not in ("", "0"):
        import traceback  # nobody else needs it

        traceback.print_exc()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Unwind, so that temporary files go; but end in any case, and the second time at once."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    ending = threading.Timer(INTERRUPT_GRACE_SECONDS, os._exit, (EXIT_INTERRUPTED,))
    ending.daemon = True
    ending.start()
    raise KeyboardInterrupt


def _flush(code: int) -> int:
    """Write out what is buffered. A reader that has gone away (``| head``) is no reason for noise."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())  # for the interpreter's own flush at the end
            code = code or EXIT_FAILED
    return code
