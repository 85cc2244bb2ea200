"""The tree of exceptions is the one that is drawn, and what they say is fit for a terminal and for another process."""

from __future__ import annotations

import re

import pytest

from seedcorn import errors
from seedcorn.errors import IntegrityError, SeedcornError, SourceError, StoreError, TargetError, printable


def drawn() -> dict[str, tuple[str, int]]:
    """(parent, exit code) of each class in the picture of the module's docstring."""
    found: dict[str, tuple[str, int]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+Error) +(\d+)", line)
        if match:
            depth = len(match[1]) // 4
            found[match[2]] = (above[depth - 1] if depth else "Exception", int(match[3]))
            above[depth:] = [match[2]]
    return found


def test_the_picture_of_the_tree_is_true() -> None:
    classes = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SeedcornError)}
    assert drawn() == {name: (kind.__bases__[0].__name__, kind.exit_code) for name, kind in classes.items()}
    assert classes.keys() == {name for name in errors.__all__ if name.endswith("Error")}


def test_an_integrity_failure_gets_its_name_once() -> None:
    named = IntegrityError("is cut short").named("packs/1")
    assert (str(named), named.message, named.object_name) == ("packs/1: is cut short", "is cut short", "packs/1")
    assert named.named("packs/2") is named


@pytest.mark.parametrize("error", [SourceError(b"/a\x1b", "is gone"), TargetError(b"/a\x1b", "is gone")])
def test_a_path_is_kept_as_it_is_and_shown_without_control_characters(error: SourceError | TargetError) -> None:
    assert (error.path, error.message, str(error)) == (b"/a\x1b", "is gone", r"/a\x1b: is gone")


def test_a_failure_of_the_store_names_the_key_if_there_is_one() -> None:
    assert [str(StoreError("refused", key=key)) for key in ("", "packs/1")] == ["refused", "packs/1: refused"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain name", "plain name"),
        ("süß 日本".encode(), "süß 日本"),
        (b"", ""),
        (b"\x1b[2J", r"\x1b[2J"),
        (b"two\nlines\r", r"two\nlines\r"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("a\u202eb".encode(), r"a\u202eb"),  # turns the direction of what follows
        ("\U000e0001".encode(), r"\U000e0001"),
        (b"\xed\xb3\xbf", r"\xed\xb3\xbf"),  # a surrogate in what only looks like UTF-8
    ],
)
def test_names_on_a_terminal(name: bytes, shown: str) -> None:
    assert printable(name) == shown
