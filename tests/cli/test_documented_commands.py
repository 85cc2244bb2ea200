"""Every command that the README, the guide or a message shows is one that the program takes (those of help texts: tests/unit/cli/test_parser.py)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import seedcorn
from seedcorn.cli.app import ROOT
from seedcorn.cli.options import declare_common
from seedcorn.cli.parser import read_command_line
from seedcorn.errors import UsageError

PACKAGE = Path(seedcorn.__file__).parent
PAGES = [Path(__file__).parents[2] / "README.md", *sorted((Path(__file__).parents[2] / "docs" / "guide").glob("*.md"))]
_LINE = re.compile(r"^(?:.*[|;] +|[0-9* ]{9,} +|\$ )?(seedcorn .*)$", re.MULTILINE)  # also after a pipe, in a crontab, beside a prompt
_INLINE = re.compile(r"`(seedcorn [^`\n]+)`")
_BLOCK = re.compile(r"^ *```\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_END_OF_COMMAND = {"|", "||", "&&", ">", ">>"}


Shown = tuple[str, str, bool]  # where, what, and whether it is only named: then what it needs may be missing


def commands_of_pages() -> Iterator[Shown]:
    for page in PAGES:
        text = page.read_text()
        blocks = "\n".join(line.strip() for block in _BLOCK.findall(text) for line in block.splitlines())
        yield from ((page.name, shown, False) for shown in _LINE.findall(blocks))
        yield from ((page.name, shown, True) for shown in _INLINE.findall(text))


def commands_of_messages() -> Iterator[Shown]:
    for module in sorted(PACKAGE.rglob("*.py")):
        joined = re.sub(r'"\n\s*f?"', "", module.read_text())  # a string in several pieces
        for shown in _INLINE.findall(joined):
            yield module.stem, re.sub(r"\{[^{}]*\}", "1", shown), True  # 1: some value


SOURCES = (commands_of_pages, commands_of_messages)
SHOWN = sorted({shown for source in SOURCES for shown in source() if "…" not in shown[1]})


def test_some_are_found_in_every_place() -> None:
    for source in SOURCES:
        assert len(list(source())) > 30, source


@pytest.mark.parametrize(("place", "shown", "named"), SHOWN)
def test_it_is_understood(place: str, shown: str, named: bool) -> None:
    words = shlex.split(shown, comments=True)[1:]
    end = next((at for at, word in enumerate(words) if word in _END_OF_COMMAND), len(words))
    try:
        read_command_line(ROOT, "seedcorn", words[:end], declare_common)
    except UsageError as error:
        if not (named and re.search("is missing|which command|expected one argument", str(error))):
            raise
