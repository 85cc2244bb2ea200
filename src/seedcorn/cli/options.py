"""Options that every command takes, before or after its name, and the decorator that adds them.

A command is a function of an ``Invocation`` and of its own options, and returns an exit status. Every field of ``CommonOptions`` is an option of the
program and of each command; what is given after the name rules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, get_type_hints

import typer

from seedcorn.cli.invocation import Invocation

__all__ = ["CommonOptions", "DryRun", "HostFilter", "PathFilter", "TagFilter", "add_command", "add_common_options", "new_app"]

DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be done, and do nothing.")]
HostFilter = Annotated[str | None, typer.Option("-H", "--host", metavar="NAME", help="Only snapshots of this host.")]
TagFilter = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Only snapshots with this tag (repeatable).")]
PathFilter = Annotated[list[str] | None, typer.Option("--path", metavar="PATH", help="Only snapshots of this path (repeatable).")]

Command = Callable[..., int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonOptions:
    """What every command takes."""

    repo: Annotated[str | None, typer.Option("-r", "--repo", metavar="PLACE", help="Directory, s3://…, gs://…, az://… [SEEDCORN_REPOSITORY]")] = None
    passphrase_file: Annotated[str | None, typer.Option("--passphrase-file", metavar="FILE", help="Read the passphrase from a file.")] = None
    passphrase_command: Annotated[str | None, typer.Option("--passphrase-command", metavar="COMMAND", help="Run this to get the passphrase.")] = None
    words_file: Annotated[str | None, typer.Option("--words-file", metavar="FILE", help="Read with the recovery words in a file instead.")] = None
    host_file: Annotated[str | None, typer.Option("--host-file", metavar="FILE", help="This machine's host file, if not at the usual place.")] = None
    connections: Annotated[int | None, typer.Option("--connections", metavar="N", help="Requests to the store at a time.")] = None
    ca_certificate: Annotated[str | None, typer.Option("--ca-certificate", metavar="FILE", help="Trust this certificate (PEM), too.")] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, show_default=False, help="Say more.")] = 0

    def over(self, before: CommonOptions) -> CommonOptions:
        """These, and where nothing was given, those of ``before``."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name) != field.default}
        return replace(before, **given)


_NAMES = frozenset(field.name for field in fields(CommonOptions))
_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def new_app(help_text: str | None = None, **settings: Any) -> typer.Typer:
    """A Typer application in our style: plain help (loads in no time), no traceback but our own."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **settings,
    )


def add_command(app: typer.Typer, name: str | None = None) -> Callable[[Command], Command]:
    """Make the decorated function a command of ``app``."""

    def add(function: Command) -> Command:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        def run(context: typer.Context, **values: Any) -> int:
            common = _common(context, values)
            with Invocation(common) as invocation:
                return function(invocation, **values)

        settings = {"help_option_names": ["-h", "--help"]}
        app.command(name or function.__name__, help=function.__doc__, context_settings=settings)(_with_signature(run, own))
        return function

    return add


def add_common_options(app: typer.Typer, *extra: inspect.Parameter) -> None:
    """Let a group of commands take the common options, too; ``extra`` ones act by their callbacks."""

    def run(context: typer.Context, **values: Any) -> None:
        context.obj = _common(context, values)

    app.callback()(_with_signature(run, list(extra)))


def _common(context: typer.Context, values: dict[str, Any]) -> CommonOptions:
    """Take the common options out of ``values``."""
    own = CommonOptions(**{name: values.pop(name) for name in _NAMES})
    return own.over(context.obj) if isinstance(context.obj, CommonOptions) else own


def _with_signature(function: Callable[..., Any], own: list[inspect.Parameter]) -> Callable[..., Any]:
    """``function`` as Typer is to see it: its own parameters and the common ones."""
    hints = get_type_hints(CommonOptions, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    common = [inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name]) for field in fields(CommonOptions)]
    parameters = [_CONTEXT, *(parameter.replace(kind=keyword) for parameter in own), *common]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # PEP 362 allows it on any callable
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function
