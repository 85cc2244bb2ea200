"""reliability.mutants: which changes are made, that each can be run, and what is left alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from reliability.mutants import mutants_of

PACKAGE = Path(__file__).parents[2] / "src" / "seedcorn"


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("x = a < b", {"x = a <= b"}),
        ("x = a == b", {"x = a != b"}),
        ("x = a in b", {"x = a not in b"}),
        ("x = a is b", {"x = a is not b"}),
        ("x = a < b < c", {"x = a <= b < c", "x = a < b <= c"}),
        ("x = a and b", {"x = a or b"}),
        ("x = a + b * c", {"x = a - b * c", "x = a + b // c"}),
        ("a += b", {"a -= b", "pass"}),
        ("x = not a", {"x = a"}),
        ("x = 5", {"x = 6"}),
        ("x = -0.5", {"x = 0.5", "x = -1.5"}),
        ("x = True", {"x = False"}),
        ("x = ''", {"x = '?'"}),
        ("x = b'ab'", {"x = b'ab?'"}),
        ("x = f'packs/{a:010d}'", {"x = f'packs/?{a:010d}'"}),
        ("x = min(a)", {"x = max(a)"}),
        ("x = a if b else c", {"x = a if not b else c"}),
        ("x = [a for a in b if a]", {"x = [a for a in b if not a]"}),
        ("if a == b: c", {"if a != b:\n    c", "if a == b:\n    pass"}),
        ("if a: c", {"if not a:\n    c", "if a:\n    pass"}),
        ("f(a)", {"pass"}),
        ("raise a", {"pass"}),
        ("del a", {"pass"}),
        ("a.b = c", {"pass"}),
        ("a.b: int = c", {"pass"}),
        ("a[0] = c", {"pass", "a[1] = c"}),
        ("for a in b: continue", {"for a in b:\n    pass"}),
        ("def f(): return a", {"def f():\n    return None"}),
        ("def f(): yield a", {"def f():\n    pass"}),
        ("def f(a=1): pass", {"def f(a=2):\n    pass"}),
    ],
)
def test_changes(source: str, changed: set[str]) -> None:
    assert {mutant.source() for mutant in mutants_of(source)} == changed


@pytest.mark.parametrize(
    "source",
    [
        "'''What it is.'''",
        "def f() -> int | None:\n    '''What it does.'''",
        "def f(a: 'int' = b) -> 'str': ...",
        "x: dict[str, 'int'] = y",
        "x = 'a sentence'",
        "import a",
        "from a import b as c",
        "assert a < 5, 'because'",
        "__all__ = ['a', 'b']",
        "X = NewType('X', bytes)",
        "x = f'{a:08x}'",
        "@dataclass(frozen=True)\nclass A: ...",
        "class A(msgspec.Struct, frozen=True): ...",
        "def f(): return None",
    ],
)
def test_what_is_left_alone(source: str) -> None:
    assert [(mutant.was, mutant.now) for mutant in mutants_of(source)] == []


def test_a_change_says_where_it_is_and_what_it_was() -> None:
    (mutant,) = mutants_of("def f(a):\n    g = (\n        a <\n        3 .real\n    )\n")[:1]
    assert (mutant.line, mutant.was, mutant.now) == (3, "a < 3 .real", "a <= 3 .real")


def test_a_long_one_is_cut() -> None:
    mutants = mutants_of(f"f({', '.join(f'argument_{number}' for number in range(90))})")
    assert [(len(mutant.was), mutant.was[-1], mutant.now) for mutant in mutants] == [(160, "…", "pass")]


@pytest.mark.parametrize("path", ["format/names.py", "ops/gc/judge.py", "compression.py"])
def test_of_real_modules_each_differs_and_is_python(path: str) -> None:
    source = (PACKAGE / path).read_text()
    written = [mutant.source() for mutant in mutants_of(source)]
    assert len(written) > 50
    assert len(set(written) | {ast.unparse(ast.parse(source))}) == len(written) + 1
    for text in written:
        ast.parse(text)
