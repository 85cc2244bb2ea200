"""cli/parser.py: where options and words may stand, and what is said if they stand elsewhere."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator

import pytest

from seedcorn.cli.app import ROOT
from seedcorn.cli.invocation import Invocation
from seedcorn.cli.options import declare_common
from seedcorn.cli.parser import Command, Group, Namespace, Parser, read_command_line
from seedcorn.errors import UsageError


def copy(invocation: Invocation) -> int:
    """Copy things.

    All of
    them.
    """
    return 0


def declare(parser: Parser) -> None:
    parser.word("source", "FROM", "What.")
    parser.word("others", "MORE", "More.", required=False, many=True)
    parser.flag("-x", "--exact", help="Exactly.")
    parser.option("-n", "--number", metavar="N", type=int, help="So many.")
    parser.required_option("--to", metavar="DIR", help="Where.")


def declare_loud(parser: Parser) -> None:
    parser.flag("-l", "--loud", help="Aloud.")


TREE = Group.of("Files.", {"copy": Command(copy, declare, "tool copy a --to b")})


def read(line: str) -> Namespace:
    run, options = read_command_line(TREE, "tool", line.split(), declare_loud)
    assert run is copy
    return options


@pytest.mark.parametrize(
    "line",
    ["copy a b -x --to c -n3", "copy -x a --to=c b --number 3", "copy --to c -xn 3 -- a b", "copy a --to c -x -n 3 -- b"],
)
def test_options_stand_anywhere(line: str) -> None:
    options = read(line)
    assert (options.source, options.others, options.exact, options.number, options.to) == ("a", ["b"], True, 3, "c")
    assert options.loud is False


def test_common_options_stand_on_both_sides() -> None:
    assert read("-l copy a --to c").loud
    assert read("copy a --to c -l").loud


def test_what_begins_with_a_dash() -> None:
    assert read("copy --to c -- -a --b").others == ["--b"]
    assert read("copy - --to=-c").to == "-c"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "which command? (see `tool --help`)"),
        ("cpy", "no such command: cpy; is it copy? (see `tool --help`)"),
        ("--lod copy", "no such option: --lod; is it --loud? (see `tool --help`)"),
        ("copy a --too b", "no such option: --too; is it --to? (see `tool copy --help`)"),
        ("copy a --exac --to b", "no such option: --exac; is it --exact? (see `tool copy --help`)"),
        ("copy a --to", "argument --to: expected one argument (see `tool copy --help`)"),
        ("copy a", "--to DIR is missing (see `tool copy --help`)"),
        ("copy --to b", "FROM is missing (see `tool copy --help`)"),
        ("copy a --to b -n few", "argument -n/--number: invalid int value: 'few' (see `tool copy --help`)"),
    ],
)
def test_mistakes(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(line)
    assert str(caught.value) == said


def test_the_names_of_other_programs_are_not_taken_for_what_they_resemble() -> None:
    for word, said in (("create", "is it backup?"), ("extract", "is it restore?"), ("unlock", "nothing is ever locked here")):
        with pytest.raises(UsageError, match=re.escape(f"no such command: {word}; {said} (see")):
            read_command_line(ROOT, "seedcorn", [word], declare_common)
    assert not ROOT.elsewhere.keys() & ROOT.summaries.keys()


def test_too_many_words() -> None:
    with pytest.raises(UsageError, match="'a' is one argument too many"):
        read_command_line(Command(copy), "tool", ["a"], declare_loud)


@pytest.mark.parametrize("line", ["copy -h", "copy --nonsense --help", "copy -h a b"])
def test_help_is_given_whatever_else_is_wrong(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    run, options = read_command_line(TREE, "tool", line.split(), declare_loud)
    assert run(Invocation(Namespace(json=False, quiet=False, verbose=0))) == 0
    assert options.answer
    assert (
        capsys.readouterr().out
        == """\
Usage: tool copy [OPTIONS] FROM [MORE]...

  Copy things.

  All of them.

Arguments:
  FROM  What.
  MORE  More.

Options:
  -x, --exact     Exactly.
  -n, --number N  So many.
  --to DIR        Where. [required]
  -l, --loud      Aloud.
  -h, --help      Show this message and exit.

Examples:
  tool copy a --to b
"""
    )


def commands(found: Command | Group, name: str) -> Iterator[tuple[str, Command | Group]]:
    yield name, found
    if isinstance(found, Group):
        for below in found.summaries:
            yield from commands(found.find(below), f"{name} {below}")


WITHOUT_EXAMPLES = ("seedcorn version", "seedcorn key", "seedcorn host")


@pytest.mark.parametrize(("name", "command"), [pair for pair in commands(ROOT, "seedcorn") if pair[0] not in WITHOUT_EXAMPLES])
def test_examples_are_true(name: str, command: Command | Group) -> None:
    """Each command has two at least, and each line can be read by the program."""
    lines = textwrap.dedent(command.examples).strip().splitlines()
    assert len(lines) >= 2
    assert any(name in line for line in lines)
    for line in lines:
        assert len(line) <= 78
        for part in re.split(r" \| | > ", line):
            words = shlex.split(part, comments=True)
            if words[0] == "seedcorn":
                read_command_line(ROOT, "seedcorn", words[1:], declare_common)
