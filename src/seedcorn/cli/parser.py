"""How a command line is read: commands by name, options anywhere, words (positional arguments) in their order.

Owns the grammar and what is said about mistakes. Options are argparse's; words are bound here, so that they may stand on both sides of an
option and a command need only be loaded when its name has been read. Must never know what a command does. Loads nothing that a mistyped option would
have to wait for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from seedcorn.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from seedcorn.cli.invocation import Invocation

__all__ = ["Command", "Group", "Namespace", "Parser", "read_command_line"]

Namespace = argparse.Namespace
Run = Callable[["Invocation"], int]
Declare = Callable[["Parser"], None]


class Command:
    """A verb: ``run`` does it, and its docstring is the help; ``declare`` says what it takes; ``examples`` are lines for a shell."""

    def __init__(self, run: Run, declare: Declare | None = None, examples: str = "") -> None:
        self.run = run
        self.declare = declare or (lambda parser: None)
        self.examples = examples
        self.text = run.__doc__ or ""

    @property
    def summary(self) -> str:
        """The first line of the help."""
        return self.text.partition("\n")[0]


class Group:
    """Commands below one name. ``find`` gives the one of a name in ``summaries``, and may load it only then. ``elsewhere`` has names by which other
    programs call something, and what to say to who types one."""

    def __init__(
        self,
        text: str,
        summaries: Mapping[str, str],
        find: Callable[[str], Command | Group],
        declare: Declare | None = None,
        examples: str = "",
        elsewhere: Mapping[str, str] | None = None,
    ) -> None:
        self.text = text
        self.summaries = summaries
        self.find = find
        self.declare = declare or (lambda parser: None)
        self.examples = examples
        self.elsewhere = elsewhere or {}

    @classmethod
    def of(cls, text: str, commands: Mapping[str, Command]) -> Group:
        """A group of commands that are loaded already."""
        return cls(text, {name: command.summary for name, command in commands.items()}, commands.__getitem__)


def read_command_line(found: Command | Group, name: str, arguments: Sequence[str], common: Declare) -> tuple[Run, Namespace]:
    """What to run and its options. ``name`` is the program's, ``common`` declares what may stand before and after every command's name.

    Raises:
        UsageError: the line makes no sense; the message names the help that would have said so.
    """
    options = Namespace()
    while True:
        parser = Parser(name, found)
        found.declare(parser)
        common(parser)
        parser.answer("-h", "--help", help="Show this message and exit.", text=parser.format_help)
        if isinstance(found, Command):
            parser.read(arguments, options)
            return partial(_show, options.answer) if options.answer else found.run, options
        rest = parser.read_group(arguments, options)
        if options.answer:
            return partial(_show, options.answer), options
        if not rest:
            parser.error("which command?")
        if rest[0] not in found.summaries:
            meant = found.elsewhere.get(rest[0])
            parser.error(f"no such command: {rest[0]}{f'; {meant}' if meant else _suggestion(rest[0], found.summaries)}")
        found, name, arguments = found.find(rest[0]), f"{name} {rest[0]}", rest[1:]


def _show(text: Callable[[], str], _: Invocation) -> int:
    sys.stdout.write(text())
    return EXIT_DONE


class _Word:
    def __init__(self, name: str, metavar: str, help_text: str, default: str | None, required: bool, many: bool) -> None:
        self.name = name
        self.metavar = metavar
        self.help = help_text
        self.default = default
        self.required = required
        self.many = many


class Parser(argparse.ArgumentParser):
    """What one command takes. Values arrive in a ``Namespace`` that an earlier parser may have begun: what is given later rules."""

    def __init__(self, name: str, command: Command | Group) -> None:
        plain = partial(argparse.HelpFormatter, width=80)  # never shown; without a width each option asks the terminal for one
        super().__init__(prog=name, add_help=False, allow_abbrev=False, formatter_class=plain)
        self._command = command
        self._options: list[argparse.Action] = []
        self._required: list[argparse.Action] = []
        self._words: list[_Word] = []

    def option(self, *flags: str, help: str, **settings: Any) -> None:
        """One option, by argparse's settings. Without an ``action`` it takes a value."""
        self._options.append(self.add_argument(*flags, help=help, **settings))

    def required_option(self, *flags: str, help: str, **settings: Any) -> None:
        """One that has to be there, unless only an answer is asked for (argparse would insist on it even then)."""
        self.option(*flags, help=f"{help} [required]", **settings)
        self._required.append(self._options[-1])

    def flag(self, *flags: str, help: str) -> None:
        """An option that is there or not."""
        self.option(*flags, help=help, action="store_true")

    def answer(self, *flags: str, help: str, text: Callable[[], str]) -> None:
        """An option that shows a text in place of running anything."""
        self.option(*flags, help=help, action="store_const", dest="answer", const=text)

    def word(self, name: str, metavar: str, help: str, *, default: str | None = None, required: bool = True, many: bool = False) -> None:
        """The next positional argument; with ``many`` all that are left, as a list."""
        self._words.append(_Word(name, metavar, help, default, required, many))

    def read(self, arguments: Sequence[str], options: Namespace) -> None:
        """Read all of ``arguments``: options among words, and only words after ``--``."""
        end = arguments.index("--") if "--" in arguments else len(arguments)
        _, words = self.parse_known_args(arguments[:end], options)
        if options.answer:
            return
        self._refuse_options(words)
        for option in self._required:
            if getattr(options, option.dest) is None:
                self.error(f"{_spelling(option)} is missing")
        self._bind([*words, *arguments[end + 1 :]], options)

    def _bind(self, words: list[str], options: Namespace) -> None:
        for word in self._words:
            if word.many:
                setattr(options, word.name, words)
                words = []
            elif words:
                setattr(options, word.name, words.pop(0))
            elif word.required:
                self.error(f"{word.metavar} is missing")
            else:
                setattr(options, word.name, word.default)
        if words:
            self.error(f"{words[0]!r} is one argument too many")

    def read_group(self, arguments: Sequence[str], options: Namespace) -> Sequence[str]:
        """Read the options before a command's name; the name and all that follows it."""
        self.add_argument("rest", nargs=argparse.PARSER).required = False
        _, unknown = self.parse_known_args(arguments, options)
        if not options.answer:
            self._refuse_options(unknown)
        return vars(options).pop("rest") or ()

    def _refuse_options(self, words: Sequence[str]) -> None:
        for word in words:
            if word.startswith("-") and word != "-":
                name = word.partition("=")[0]
                known = [flag for option in self._options for flag in option.option_strings]
                self.error(f"no such option: {name}{_suggestion(name, known)}")

    def error(self, message: str) -> NoReturn:
        """Every mistake ends here, those that argparse finds too."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")

    def format_help(self) -> str:
        from seedcorn.cli.help import help_text

        command = self._command
        words = [_usage(word) for word in self._words]
        return help_text(
            " ".join([self.prog, "[OPTIONS]", *(["COMMAND [ARGUMENTS]..."] if isinstance(command, Group) else words)]),
            command.text,
            arguments=[(word.metavar, word.help) for word in self._words],
            options=[(_spelling(option), option.help or "") for option in self._options],
            commands=list(command.summaries.items()) if isinstance(command, Group) else [],
            examples=command.examples,
        )


def _usage(word: _Word) -> str:
    text = word.metavar if word.required else f"[{word.metavar}]"
    return f"{text}..." if word.many else text


def _spelling(option: argparse.Action) -> str:
    names = ", ".join(option.option_strings)
    return f"{names} {option.metavar}" if option.metavar else names


def _suggestion(word: str, known: Sequence[str] | Mapping[str, str]) -> str:
    from difflib import get_close_matches  # for who has mistyped something

    close = get_close_matches(word, known)
    return f"; is it {' or '.join(close)}?" if close else ""
