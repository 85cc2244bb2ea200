"""A machine with a repository and two snapshots in it, made once and copied for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedcorn.testing.fixtures import ministack as ministack
from seedcorn.testing.machine import Machine


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("template") / "machine")
    machine.found()
    (machine.source / "sub").mkdir()
    (machine.source / "file").write_bytes(b"content\n" * 1000)
    (machine.source / "sub" / "other").write_bytes(b"other")
    (machine.source / "link").symlink_to("file")
    (machine.source / "evil\n\x1b[31mname").touch()
    assert machine.back_up("source", "--tag", "first").code == 0
    (machine.source / "file").write_bytes(b"content\n" * 1000 + b"and more")
    assert machine.back_up("source", "--tag", "second").code == 0
    return machine


@pytest.fixture
def machine(template: Machine, tmp_path: Path) -> Machine:
    """The stored paths are those of the template; everything else is this machine's own."""
    return template.copy(tmp_path / "machine")


@pytest.fixture
def empty_machine(tmp_path: Path) -> Machine:
    """A home and nothing else."""
    machine = Machine(tmp_path / "machine")
    machine.home.mkdir(parents=True)
    machine.source.mkdir()
    (machine.source / "file").write_bytes(b"content")
    return machine
