"""``seedcorn key``: the passphrases of a repository, like the slots of LUKS."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import add_command, add_common_options, new_app
from seedcorn.cli.output import shown
from seedcorn.cli.render_json import time_text
from seedcorn.cli.render_text import local_time
from seedcorn.errors import EXIT_DONE
from seedcorn.events import SystemClock
from seedcorn.jobs.passphrase import new_passphrase, read_words
from seedcorn.ops import access

if TYPE_CHECKING:
    from seedcorn.ops.access import KeySlot

app = new_app("Manage passphrases.")
add_common_options(app)

NewPassphraseFile = Annotated[str | None, typer.Option("--new-passphrase-file", metavar="FILE", help="Read the new passphrase from a file.")]
Label = Annotated[str, typer.Option("--label", metavar="TEXT", help="What `key list` calls it.")]
SLOT_ID_DIGITS = 12


@add_command(app, "list")
def list_keys(invocation: Invocation) -> int:
    """Show the key slots. Needs no passphrase."""
    output = invocation.output
    repository = access.repository_id(invocation.store)
    output.line(f"Repository  {repository.hex()}\nPlace       {invocation.place}\n\nKey slots:")
    for number, slot in enumerate(access.keys(invocation.store)):
        _show(invocation, number, slot)
    return EXIT_DONE


def _show(invocation: Invocation, number: int, slot: KeySlot) -> None:
    public = slot.public
    invocation.output.emit(
        "key",
        id=slot.slot.hex(),
        label=public.label,
        method=public.method,
        created=time_text(public.created_ns),
        kdf={"name": public.kdf, "memory_kib": public.memory_kib, "iterations": public.iterations, "lanes": public.lanes, "salt": public.salt.hex()},
    )
    lines = {
        "Label": shown(public.label),
        "Created": local_time(public.created_ns),
        "KDF": shown(public.kdf),
        "Memory": f"{public.memory_kib} KiB",
        "Time cost": str(public.iterations),
        "Threads": str(public.lanes),
        "Salt": public.salt.hex(),
    }
    invocation.output.line(f"  {number}: {shown(public.method)}  {slot.slot.hex()[:SLOT_ID_DIGITS]}")
    for name, value in lines.items():
        invocation.output.line(f"        {name + ':':12}{value}")


@add_command(app)
def add(invocation: Invocation, new_passphrase_file: NewPassphraseFile = None, label: Label = "") -> int:
    """Add a passphrase. The others stay valid."""
    owner = invocation.owner().repository
    passphrase = _new_passphrase(invocation, new_passphrase_file)
    return _added(invocation, access.add_key(owner, passphrase, label, SystemClock()))


@add_command(app)
def remove(invocation: Invocation, slot: Annotated[str, typer.Argument(metavar="ID", help="The beginning of the slot's id; see `key list`.")]) -> int:
    """Remove a passphrase. Who has used it before may still know the key behind it."""
    removed = access.remove_key(invocation.owner().repository, slot).hex()
    invocation.output.emit("summary", removed=removed)
    invocation.output.line(f"Removed key slot {removed[:SLOT_ID_DIGITS]}")
    return EXIT_DONE


@add_command(app)
def recover(
    invocation: Invocation,
    recovery_file: Annotated[str | None, typer.Option("--recovery-file", metavar="FILE", help="Read the recovery words from a file.")] = None,
    new_passphrase_file: NewPassphraseFile = None,
    label: Label = "recovered",
) -> int:
    """Set a new passphrase with the 24 recovery words, if every other one is lost."""
    access.repository_id(invocation.store)
    words = _words(invocation, recovery_file)
    passphrase = _new_passphrase(invocation, new_passphrase_file)
    return _added(invocation, access.recover_key(invocation.store, words, passphrase, label, SystemClock()))


def _new_passphrase(invocation: Invocation, file: str | None) -> str:
    return new_passphrase(invocation.path(file) if file else None, None, invocation.prompt, invocation.output.warn)


def _added(invocation: Invocation, slot: bytes) -> int:
    invocation.output.emit("summary", added=slot.hex())
    invocation.output.line(f"Added key slot {slot.hex()[:SLOT_ID_DIGITS]}")
    return EXIT_DONE


def _words(invocation: Invocation, file: str | None) -> str:
    if file is not None:
        return read_words(invocation.path(file))
    if sys.stdin.isatty():
        return input("The 24 recovery words: ")
    return sys.stdin.read()
