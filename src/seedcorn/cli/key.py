"""``seedcorn key``: the passphrases of a repository, like the slots of LUKS."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from seedcorn.cli.invocation import Invocation
from seedcorn.cli.output import shown
from seedcorn.cli.parser import Command, Group, Parser
from seedcorn.cli.render_json import time_text
from seedcorn.cli.render_text import local_time
from seedcorn.errors import EXIT_DONE

if TYPE_CHECKING:
    from seedcorn.ops.access import KeySlot

SLOT_ID_DIGITS = 12


def list_keys(invocation: Invocation) -> int:
    """Show the key slots. Needs no passphrase."""
    from seedcorn.ops import access

    output = invocation.output
    repository = access.repository_id(invocation.store)
    output.line(f"Repository  {repository.hex()}\nPlace       {invocation.place}\n\nKey slots:")
    slots, problems = access.keys(invocation.store)
    for number, slot in enumerate(slots):
        _show(invocation, number, slot)
    return invocation.finish(problems)


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


def _declare_new(parser: Parser) -> None:
    parser.option("--new-passphrase-file", metavar="FILE", help="Read the new passphrase from a file.")
    parser.option("--label", metavar="TEXT", default="", help="What `key list` calls it.")


def add(invocation: Invocation) -> int:
    """Add a passphrase. The others stay valid."""
    from seedcorn.events import SystemClock
    from seedcorn.ops import access

    owner = invocation.owner().repository
    passphrase = _new_passphrase(invocation)
    return _added(invocation, access.add_key(owner, passphrase, invocation.options.label, SystemClock()))


def _declare_remove(parser: Parser) -> None:
    parser.word("slot", "ID", "The beginning of the slot's id; see `key list`.")


def remove(invocation: Invocation) -> int:
    """Remove a passphrase. Who has used it before may still know the key behind it."""
    from seedcorn.ops import access

    removed = access.remove_key(invocation.owner().repository, invocation.options.slot).hex()
    invocation.output.emit("summary", removed=removed)
    invocation.output.report(f"Removed key slot {removed[:SLOT_ID_DIGITS]}")
    return EXIT_DONE


def _declare_recover(parser: Parser) -> None:
    parser.option("--recovery-file", metavar="FILE", help="Read the recovery words from a file.")
    _declare_new(parser)


def recover(invocation: Invocation) -> int:
    """Set a new passphrase with the 24 recovery words, if every other one is lost."""
    from seedcorn.events import SystemClock
    from seedcorn.ops import access

    access.repository_id(invocation.store)
    words = _words(invocation)
    passphrase = _new_passphrase(invocation)
    return _added(invocation, access.recover_key(invocation.store, words, passphrase, invocation.options.label or "recovered", SystemClock()))


def _new_passphrase(invocation: Invocation) -> str:
    from seedcorn.jobs.passphrase import new_passphrase

    file = invocation.options.new_passphrase_file
    return new_passphrase(invocation.path(file) if file else None, None, invocation.prompt, invocation.output.warn)


def _added(invocation: Invocation, slot: bytes) -> int:
    invocation.output.emit("summary", added=slot.hex())
    invocation.output.report(f"Added key slot {slot.hex()[:SLOT_ID_DIGITS]}")
    return EXIT_DONE


def _declare_export(parser: Parser) -> None:
    parser.required_option("--out", metavar="FILE", help="Write it here, then bring it to the machine that prunes.")


def export_maintain(invocation: Invocation) -> int:
    """Write a maintain file: with it a machine can forget and prune without the passphrase, and can read no name and no content."""
    from seedcorn.jobs.maintain_files import export_maintain_file

    path = invocation.path(invocation.options.out)
    export_maintain_file(invocation.owner().repository, path)
    invocation.output.emit("summary", maintain_file=str(path))
    invocation.output.report(f"Wrote {shown(str(path))}. Who has it can delete backups: keep it as you keep a key")
    return EXIT_DONE


def _words(invocation: Invocation) -> str:
    from seedcorn.jobs.passphrase import read_words

    file = invocation.options.recovery_file
    if file is not None:
        return read_words(invocation.path(file))
    if sys.stdin.isatty():
        return input("The 24 recovery words: ")
    return sys.stdin.read()


COMMAND = Group.of(
    "Manage passphrases.",
    {
        "list": Command(list_keys, examples="seedcorn key list -r /mnt/disk/backups\nseedcorn key list --json"),
        "add": Command(add, _declare_new, "seedcorn key add --label deputy\nseedcorn key add --new-passphrase-file FILE --label deputy"),
        "remove": Command(remove, _declare_remove, "seedcorn key list\nseedcorn key remove 5f3a9c"),
        "recover": Command(
            recover, _declare_recover, "seedcorn key recover\nseedcorn key recover --recovery-file words.txt --new-passphrase-file FILE"
        ),
        "export-maintain": Command(
            export_maintain,
            _declare_export,
            "seedcorn key export-maintain --out maintain.json\nseedcorn prune --maintain-file maintain.json",
        ),
    },
)
