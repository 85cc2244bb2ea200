"""Small wrong changes of a module's source, one at a time: what tests that mean something notice. Pure.

Owns which changes there are: operators, conditions, constants, results, and statements that are left out. A change is made in the syntax tree, and
the source is written from that. Left alone is what only people read (docstrings, texts with spaces in them) and what has no say in what the program
does (annotations, decorators, bases, imports, assertions).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Mutant", "mutants_of"]

_SHOWN_CHARACTERS = 160
_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_OPPOSITES = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)  # their exchange is a negation
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_CONDITIONS = {(ast.If, "test"), (ast.IfExp, "test"), (ast.comprehension, "ifs")}
_FIELDS_LEFT_ALONE = {"annotation", "returns", "decorator_list", "bases", "format_spec"}
_TYPE_MAKERS = ("NewType", "TypeVar")


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change: what stands in ``line`` of the module, and what stands there in its place."""

    line: int
    was: str
    now: str
    _module: ast.Module = field(repr=False)
    _place: _Place = field(repr=False)
    _node: ast.AST = field(repr=False)

    def source(self) -> str:
        """The whole module with this change."""
        return self._place.exchanged(self._node, self._module)


class _Place(NamedTuple):
    """Where a node hangs in the tree: in a field of its parent, which may be a list."""

    parent: ast.AST
    field: str
    at: int | None

    def exchanged(self, node: ast.AST, shown: ast.AST) -> str:
        """The source of ``shown``, in which this place is, as it would be with ``node`` here."""
        before = getattr(self.parent, self.field)
        if self.at is None:
            after: Any = node
        else:
            after = [*before]
            after[self.at] = node
        setattr(self.parent, self.field, after)
        try:
            return ast.unparse(shown)
        finally:
            setattr(self.parent, self.field, before)


def mutants_of(source: str) -> list[Mutant]:
    """Every change of a module that is known here, in the order of its text."""
    module = ast.parse(source)
    found = []
    for place, node, line in _places(module, 1):
        is_part = type(node) in _OPERATORS  # means something only together with what stands beside it
        shown = place.parent if is_part else node
        for new in _alternatives(place, node):
            now = place.exchanged(new, shown) if is_part else ast.unparse(new)
            found.append(Mutant(line, _short(ast.unparse(shown)), _short(now), module, place, new))
    return found


def _short(source: str) -> str:
    text = " ".join(source.split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _places(parent: ast.AST, line: int) -> Iterator[tuple[_Place, ast.AST, int]]:
    """Every node below ``parent`` that may be changed, with its line (within a formatted string, that of the string)."""
    for name, value in ast.iter_fields(parent):
        if name in _FIELDS_LEFT_ALONE or (name == "keywords" and isinstance(parent, ast.ClassDef)):
            continue
        for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST) and not _is_left_alone(node):
                here = max(line, getattr(node, "lineno", line))
                yield _Place(parent, name, at), node, here
                yield from _places(node, here)


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name.startswith("__")
        case ast.Call(func=ast.Name(id=name)):
            return name in _TYPE_MAKERS
    return False


def _alternatives(place: _Place, node: ast.AST) -> Iterator[ast.AST]:
    if type(node) in _OPERATORS:
        yield _OPERATORS[type(node)]()
    if (type(place.parent), place.field) in _CONDITIONS and isinstance(node, ast.expr) and not _is_negated_elsewhere(node):
        yield ast.UnaryOp(ast.Not(), node)
    match node:
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=value):
            yield from _other_constants(value)
        case ast.Name(id=name, ctx=ast.Load()) if name in _NAMES:
            yield ast.Name(_NAMES[name], ast.Load())
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case (
            ast.Raise()
            | ast.AugAssign()
            | ast.Delete()
            | ast.Continue()
            | ast.Break()
            | ast.Expr()
            | ast.Assign(targets=[ast.Attribute() | ast.Subscript()])
            | ast.AnnAssign(target=ast.Attribute(), value=ast.expr())
        ):
            yield ast.Pass()


def _is_negated_elsewhere(node: ast.expr) -> bool:
    match node:
        case ast.Compare(ops=[operator]):
            return isinstance(operator, _OPPOSITES)
        case ast.UnaryOp(op=ast.Not()):
            return True
    return False


def _other_constants(value: object) -> Iterator[ast.AST]:
    match value:
        case bool():
            yield ast.Constant(not value)
        case int() | float():
            yield ast.Constant(value + 1)
        case bytes():
            yield ast.Constant(value + b"?")
        case str() if " " not in value:  # with spaces it is for people
            yield ast.Constant(value + "?")
