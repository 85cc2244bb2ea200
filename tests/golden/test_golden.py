"""Every repository that a released format version has written can still be read, whole."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from seedcorn.events import RecordingMonitor, SystemClock
from seedcorn.format.codec import VERSION
from seedcorn.ops import access
from seedcorn.ops.browse import open_browser
from seedcorn.ops.check import CheckOptions, check
from seedcorn.ops.restore import RestoreOptions, restore
from seedcorn.store.local import LocalStore
from seedcorn.testing.tree_state import describe, differences

GOLDEN = Path(__file__).parent
VERSIONS = ["1"]


def _tree_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_tree", GOLDEN / "tree.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_version_is_forgotten() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir() if path.is_dir() and path.name.isdigit()) == VERSIONS
    assert str(VERSION) in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("secret", ["passphrase", "words"])
def test_restores(version: str, secret: str, tmp_path: Path) -> None:
    secrets = json.loads((GOLDEN / version / "secrets.json").read_text())
    shutil.copytree(GOLDEN / version / "repository", tmp_path / "repository")
    store = LocalStore(tmp_path / "repository")
    opener = access.open_owner if secret == "passphrase" else access.open_owner_with_words
    owner = opener(store, secrets[secret])
    state = access.open_state(tmp_path / "state", owner.repository)
    browser = open_browser(owner, state)
    assert browser.problems == ()
    assert len(browser.snapshots) == len(secrets["snapshots"])
    monitor = RecordingMonitor()
    for number, (snapshot, expected) in enumerate(zip(browser.snapshots, secrets["snapshots"], strict=True)):
        target = tmp_path / f"restored-{number}"
        result = restore(browser, snapshot, os.fsencode(secrets["path"]), RestoreOptions(target), monitor)
        assert result.errors == ()
        before = _tree_module().from_json(json.loads((GOLDEN / version / expected).read_text()))
        assert differences(before, describe(target), owners=os.geteuid() == 0) == []
    assert check(browser, CheckOptions(read_data=True), SystemClock(), monitor).problems == ()
    state.close()
