"""The program: the registry of commands, and ``main``, which turns every way for a command to end into an exit status and at most one line.

A new command is a module with an ``app`` and one line in ``COMMANDS``. A command's module is imported when the command is run.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, MutableMapping, Sequence
from importlib import import_module
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

import seedcorn
from seedcorn.cli.options import add_common_options, new_app
from seedcorn.cli.output import Output, prepare_streams
from seedcorn.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, SeedcornError

__all__ = ["COMMANDS", "main"]

COMMANDS = {  # name, which is also the module's -> what the list of commands says
    "init": "Make a repository and enrol this machine.",
    "backup": "Back up files, directories, or standard input.",
    "restore": "Get files back.",
    "snapshots": "List snapshots.",
    "ls": "List what is in a snapshot.",
    "stats": "Show how much is stored, or what a backup did.",
    "check": "Verify that everything is there and can be read.",
    "key": "Manage passphrases.",
    "host": "Manage machines that may back up.",
    "version": "Show the version.",
}
INTERRUPT_GRACE_SECONDS = 2.0  # for tidying up; a thread that is still retrying an upload does not get longer
_REPORT = "this is a bug in seedcorn: please report it with what the same command prints under SEEDCORN_DEBUG=1"


class _LazyCommands(MutableMapping[str, Any]):
    """The commands by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        command = get_command(import_module(f"seedcorn.cli.{name}").app)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError("commands are registered in COMMANDS")

    __delitem__ = __setitem__  # type: ignore[assignment]  # neither is meant to be called


class _Program(TyperGroup):
    """The root: knows its commands by name and summary until one is run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _LazyCommands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seedcorn {seedcorn.__version__}")
        raise typer.Exit


def _program() -> typer.Typer:
    app = new_app("Incremental, deduplicated, encrypted backups to any object store.", cls=_Program)
    version = Annotated[bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)]
    add_common_options(app, inspect.Parameter("version", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=version))
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit status. An interrupted one does not return."""
    from seedcorn.jobs.process import prepare_process

    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    prepare_process()
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
        code = _program()(arguments, prog_name="seedcorn", standalone_mode=False)
        if code == EXIT_INTERRUPTED:
            output.fatal("interrupted", EXIT_INTERRUPTED)
        return int(code or EXIT_DONE)
    except SeedcornError as error:
        _debug()
        output.fatal(str(error), error.exit_code)
        return error.exit_code
    except typer.TyperException as error:
        output.fatal(f"{error.format_message()} ({_where(error)})", error.exit_code)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        output.fatal("interrupted", EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_FAILED
    except SystemExit as ending:  # Typer's way out of a broken pipe
        return ending.code if isinstance(ending.code, int) else EXIT_FAILED
    except Exception as error:  # noqa: BLE001  # the last resort: one line instead of a traceback
        _debug()
        output.fatal(f"{type(error).__name__}: {error}; {_REPORT}", EXIT_FAILED)
        return EXIT_FAILED


def _where(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path} --help`" if context else "see `seedcorn --help`"


def _debug() -> None:
    if os.environ.get("SEEDCORN_DEBUG", "") not in ("", "0"):
        traceback.print_exc()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Unwind, so that temporary files go; but end in any case, and the second time at once."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    threading.Thread(target=_end_soon, name="interrupt", daemon=True).start()
    raise KeyboardInterrupt


def _end_soon() -> None:
    time.sleep(INTERRUPT_GRACE_SECONDS)
    os._exit(EXIT_INTERRUPTED)


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
