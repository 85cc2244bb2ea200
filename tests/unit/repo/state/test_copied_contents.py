"""What is remembered of copied content: for one source, by kind, depth and records; and that it never grows for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedcorn.format.tree import Extra, Kind, Node, with_content
from seedcorn.ids import RepositoryId
from seedcorn.repo.state import copied_contents
from seedcorn.repo.state.copied_contents import CopiedContent
from seedcorn.repo.state.state import FrameSet, State

HERE, SOURCE, ANOTHER = (RepositoryId(bytes([number]) * 16) for number in range(3))
FILE = Node(b"name", Kind.FILE, 0o644, 0, 0, 0, 0, 0, 0, 10, b"r" * 28)
COPIED = CopiedContent(b"s" * 28, 0, 10, FrameSet([7]).serialize())


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state", HERE)


def test_by_source_kind_depth_and_records(state: State) -> None:
    contents = state.copied_contents(SOURCE, 0)
    contents.put(FILE, COPIED)
    assert contents.get(FILE) == COPIED  # before it is written
    contents.flush()
    again = state.copied_contents(SOURCE, 0)
    renamed = Node(b"another name", Kind.FILE, 0o600, 1, 1, 5, 5, 5, 5, 10, FILE.content, Extra(link_count=2))
    assert again.get(FILE) == again.get(renamed) == COPIED
    assert state.copied_contents(ANOTHER, 0).get(FILE) is None
    assert state.copied_contents(SOURCE, 1).get(FILE) is None  # of another domain of this repository: it would be stored under other ids
    assert again.get(Node(b"name", Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 0, 0, 1, FILE.content)) is None
    assert again.get(with_content(FILE, FILE.content, 1, 10)) is None
    state.close()


def test_when_there_are_too_many_it_begins_anew(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied_contents, "_ROWS_LIMIT", 1)
    contents = state.copied_contents(SOURCE, 0)
    nodes = [with_content(FILE, bytes([number]) * 28, 0, 10) for number in range(3)]
    for node in nodes[:2]:
        contents.put(node, COPIED)
    contents.flush()
    assert [contents.get(node) for node in nodes] == [COPIED, COPIED, None]
    contents.put(nodes[2], COPIED)
    contents.flush()
    assert [contents.get(node) for node in nodes] == [None, None, COPIED]
    state.close()


def test_frames_have_to_be_there(state: State) -> None:
    assert state.may_rely_on_all(FrameSet())
    assert not state.may_rely_on_all(FrameSet([7]))
    state.close()
