"""Which entries of a snapshot a restore is asked for. Owns includes and excludes; reads listings, writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from seedcorn.errors import IntegrityError
from seedcorn.format.tree import Kind
from seedcorn.fs.selection import Inclusion, Selection
from seedcorn.ops.browse import Browser, Entry, damaged_listing

__all__ = ["Choice"]


class Choice:
    """Patterns as for backups, against absolute paths in the snapshot. Without includes everything is wanted."""

    def __init__(self, includes: Sequence[str], excludes: Sequence[str]) -> None:
        """Raises:
        UsageError: a pattern is malformed.
        """
        self._inclusion = Inclusion(includes) if includes else None
        self._selection = Selection(excludes) if excludes else None

    def walk(self, browser: Browser, top: Entry, on_damage: Callable[[IntegrityError], None]) -> Iterator[tuple[Entry, bool]]:
        """(entry, wanted itself) of everything below ``top`` that is wanted or leads to it, parents first. ``on_damage`` hears of bad listings."""
        pending = [(top, self.included(top))]
        while pending:
            at, inside = pending.pop()
            directories = []
            try:
                for child in browser.children(at):
                    is_directory = child.node.kind == Kind.DIRECTORY
                    if self._selection is not None and self._selection.excluded(child.path, child.node.name, is_directory):
                        continue
                    wanted = inside or self.included(child)
                    if wanted or (is_directory and self._inclusion is not None and self._inclusion.leads_to(child.path)):
                        yield child, wanted
                        if is_directory:
                            directories.append((child, wanted))
            except IntegrityError as error:
                on_damage(damaged_listing(at, error))
            pending += reversed(directories)

    def included(self, entry: Entry) -> bool:
        """Whether an entry matches by itself, or no includes were given."""
        return self._inclusion is None or self._inclusion.included(entry.path, entry.node.name, entry.node.kind == Kind.DIRECTORY)
