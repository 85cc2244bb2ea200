"""Restoring: from a snapshot's tree to files, every chunk verified, nothing outside the target.

The calling thread walks the tree in order and makes directories (``ops.restore.tree``); files are planned into spans and written by a crew
(``ops.restore.files``); links, devices and the metadata of directories come last. The rules for what is written where are ``fs.target``'s and
``fs.files``'s; docs/threat-model.md, R1 to R10.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from seedcorn.errors import UsageError, printable
from seedcorn.events import Monitor
from seedcorn.format.tree import Kind
from seedcorn.fs.files import Overwrite, TargetOptions
from seedcorn.fs.target import Target, refuse_filled
from seedcorn.ops.browse import Browser, Entry, Snapshot
from seedcorn.ops.restore.choice import Choice
from seedcorn.ops.restore.files import FileRestorer
from seedcorn.ops.restore.links import HardLinks
from seedcorn.ops.restore.outcome import Outcome, RestoreResult
from seedcorn.ops.restore.tree import TreeRestorer

__all__ = ["Overwrite", "RestoreOptions", "RestoreResult", "restore"]


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """Where to and what of it. Patterns as for backups, against absolute paths in the snapshot."""

    target: Path
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    dry_run: bool = False
    existing: bool = False  # the target need not be empty
    overwrite: Overwrite = Overwrite.ALWAYS
    processes: int | None = None  # that write; 0: this one alone. None: as many as there are cores, if there is more than one


def restore(browser: Browser, snapshot: Snapshot, path: bytes, options: RestoreOptions, monitor: Monitor) -> RestoreResult:
    """Restore what is at ``path`` in a snapshot (``/`` for all of it): a directory's content into the target, anything else under its name.

    A file that can not be restored whole is not there afterwards; it is named in the result, and the rest goes on.

    Raises:
        UsageError: nothing is at ``path``, the target is not empty, or a pattern is malformed or, of an include, matches nothing.
        TargetError: the target can not be opened.
        SeedcornError: its disk is full.
        StoreError: the store can not be reached.
    """
    top = browser.entry(snapshot, path)
    outcome = Outcome(options.target, monitor)
    if not options.existing:
        refuse_filled(os.fsencode(options.target))
    found = _wanted_entries(browser, top, options, outcome)
    if options.dry_run:
        for entry, wanted in found:
            if wanted:
                outcome.would_be_done([entry.node.size] if entry.node.kind == Kind.FILE else [])
        return outcome.result()
    target_options = TargetOptions(as_root=os.geteuid() == 0, on_problem=outcome.error, allow_existing=options.existing, overwrite=options.overwrite)
    with closing(Target(os.fsencode(options.target), target_options)) as target:
        links = HardLinks()
        tree = TreeRestorer(browser.reader, target, top, links, outcome)
        files = FileRestorer(browser.reader, browser.repository.repository, target, options.processes, links, outcome)
        files.write(tree.take(found))
        tree.finish(files.write_by_chunk)
        if top.node.kind == Kind.DIRECTORY and _was_asked_for(snapshot, top.path):
            target.finish_directory(target.root, top.node)
        target.finish()
    return outcome.result()


def _wanted_entries(browser: Browser, top: Entry, options: RestoreOptions, outcome: Outcome) -> Iterator[tuple[Entry, bool]]:
    """As ``Choice.walk``, or ``top`` alone if it is not a directory.

    Raises:
        UsageError: include patterns were given, and nothing matches.
    """
    if top.node.kind != Kind.DIRECTORY:
        return iter([(top, True)])
    choice = Choice(options.includes, options.excludes)
    found = choice.walk(browser, top, outcome.error)
    if choice.included(top):
        return found
    leading = []
    for entry, wanted in found:
        leading.append((entry, wanted))
        if wanted:
            return chain(leading, found)
    if outcome.has_errors:
        return iter(leading)
    raise UsageError(f"nothing below {printable(top.path)} matches {' or '.join(map(repr, options.includes))}: nothing has been restored")


def _was_asked_for(snapshot: Snapshot, path: bytes) -> bool:
    """Whether a directory was itself backed up, as opposed to only leading to what was."""
    return any(path == given or given == b"/" or path.startswith(given + b"/") for given in snapshot.owner.paths)
