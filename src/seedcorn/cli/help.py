"""The text of ``--help``. Owns its layout: 80 columns on every terminal, so that it can be read in a manual, too."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

__all__ = ["help_text"]

WIDTH = 80
COLUMN = 32  # where the second column begins, if the first needs that much

Rows = Sequence[tuple[str, str]]


def help_text(usage: str, text: str, *, arguments: Rows, options: Rows, commands: Rows, examples: str) -> str:
    """The help of one command. ``text`` is its docstring, ``examples`` are lines for a shell."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    parts = [
        f"Usage: {usage}",
        *(textwrap.fill(paragraph, WIDTH, initial_indent="  ", subsequent_indent="  ") for paragraph in paragraphs),
        _table("Arguments", arguments),
        _table("Options", options),
        _table("Commands", commands),
        f"Examples:\n{textwrap.indent(textwrap.dedent(examples).strip(), '  ')}" if examples else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(title: str, rows: Rows) -> str:
    column = min(COLUMN, max((len(left) for left, _ in rows), default=0) + 4)
    lines = [textwrap.fill(f"  {left:{column - 4}}  {right}", WIDTH, subsequent_indent=" " * column, break_on_hyphens=False) for left, right in rows]
    return "\n".join([f"{title}:", *lines]) if lines else ""
