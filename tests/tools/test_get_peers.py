"""tools/get_peers where nothing has to be fetched, or nothing can be."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "tools" / "get_peers"


def make_program(path: Path, says: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)


def get_peers(place: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path + os.environ["PATH"]}
    return subprocess.run([SCRIPT, place], env=environment, capture_output=True, text=True, check=False)


def test_nothing_is_fetched_when_all_are_there(tmp_path: Path) -> None:
    for name in ("restic/usr/bin/restic", "venv/bin/borg", "venv/bin/duplicity"):
        make_program(tmp_path / "the peers" / name, f"{Path(name).name} 1")
    found = get_peers(tmp_path / "the peers")
    assert (found.returncode, found.stdout) == (0, "restic 1\nborg 1\nduplicity 1\n")


def test_without_root_it_says_what_to_do_and_makes_nothing(tmp_path: Path) -> None:
    make_program(tmp_path / "bin" / "id", "1000")
    found = get_peers(tmp_path / "peers", f"{tmp_path}/bin:")
    assert found.returncode == 1
    assert "root" in found.stderr
    assert "make benchmark ONLY=seedcorn" in found.stderr
    assert not (tmp_path / "peers").exists()
