"""Every damage against every kind of object: found, named, and nothing else lost.

A client that has seen the repository before (warm) must find it as surely as one that sees it for the first time (fresh).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from seedcorn.errors import CredentialError, IntegrityError, RepositoryNotFoundError
from seedcorn.events import SystemClock, VoidMonitor
from seedcorn.ops import access
from seedcorn.ops.browse import Browser, open_browser
from seedcorn.ops.check.check import CheckOptions, CheckResult, check
from seedcorn.ops.restore.restore import RestoreOptions, restore
from seedcorn.repo.roots.collections import Collections
from seedcorn.repo.roots.forgetting import ForgetLog
from seedcorn.repo.roots.receipts import Receipts
from seedcorn.repo.roots.roots import Roots
from seedcorn.store.api import Store
from seedcorn.testing.damage import DAMAGES, OBJECT_KINDS, Damage, Pristine, apply_damage, copy_store
from seedcorn.testing.repositories import read_file

PACKS = ("data pack", "listing pack")
STORED = ("data pack", "listing pack", "segment", "snapshot")
CUT = {"cut in half", "cut off one byte", "cut off the first byte", "keep the first 17 bytes", "empty it"}
BREAKS_THE_FORM = CUT | {"add one byte", "add itself once more"}
VISIBLE_IN_A_LIST = {"cut in half", "keep the first 17 bytes", "add itself once more", "empty it", "delete it"}

NOTHING = Roots((), (), Collections((), (), {}, 1), Receipts(frozenset(), frozenset()), ForgetLog({}, 1), {}, (), ())

MATRIX = [(kind, damage) for kind, damage in product(OBJECT_KINDS, DAMAGES) if not (damage.needs_same and kind == "header")]


def run_check(browser: Browser, *, read_data: bool) -> CheckResult:
    return check(browser, CheckOptions(read_data=read_data), SystemClock(), VoidMonitor())


def open_views(pristine: Pristine, damaged: Store) -> list[Browser]:
    """The damaged store as a client sees it that knew it before, and as a new one does."""
    repository = pristine.repository
    warm = repository.new_state()
    open_browser(repository.owner(), warm)
    return [open_browser(repository.owner(damaged), state) for state in (warm, repository.new_state())]


@pytest.mark.parametrize(("kind", "damage"), [cell for cell in MATRIX if cell[0] in STORED], ids=str)
def test_check_finds_and_names_it_and_the_rest_can_be_read(kind: str, damage: Damage, pristine: Pristine) -> None:
    damaged = copy_store(pristine.store)
    key = apply_damage(damage, damaged, kind, of=pristine.repository.first.host_file.key.host.hex())
    for browser in open_views(pristine, damaged):
        result = run_check(browser, read_data=True)
        assert result.exit_code == 13
        assert any(_names(problem, key) for problem in result.problems), result.problems
        if kind not in PACKS or damage.name in VISIBLE_IN_A_LIST:
            structure = run_check(browser, read_data=False)
            assert any(_names(problem, key) for problem in structure.problems), structure.problems
        _the_rest_can_be_read(pristine, browser, result)
        if kind == "snapshot":
            assert not result.affected
            assert len(browser.snapshots) >= len(pristine.trees) - (2 if damage.needs_same else 1)


def _names(problem: IntegrityError, key: str) -> bool:
    """What is deleted can not always be named itself: a snapshot leaves a hole in its host's history, a segment leaves snapshots without frames."""
    name = problem.object_name
    if key.startswith("snapshots/"):
        return name in (key, key.rpartition("/")[0])
    return name == key or (key.startswith("index/") and name.startswith("snapshots/") and "index does not have" in problem.message)


def _the_rest_can_be_read(pristine: Pristine, browser: Browser, result: CheckResult) -> None:
    for snapshot in browser.snapshots:
        affected = {path.path for path in result.affected if path.snapshot == snapshot.id}
        expected = pristine.trees[snapshot.key]
        whole = {path for path, content in expected.items() if content is not None and not affected & set(_with_parents(path))}
        read = {
            entry.path: read_file(browser, entry.node) for entry in browser.walk(browser.entry(snapshot, b"/"), VoidMonitor()) if entry.path in whole
        }
        assert read == {path: expected[path] for path in whole}


def _with_parents(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:end]) or b"/" for end in range(1, len(parts) + 1)]


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_restore_names_the_files_that_a_damaged_data_pack_takes_and_restores_the_rest(damage: Damage, pristine: Pristine, tmp_path: Path) -> None:
    damaged = copy_store(pristine.store)
    apply_damage(damage, damaged, "data pack")
    browser = open_views(pristine, damaged)[1]
    affected = {(path.snapshot, path.path) for path in run_check(browser, read_data=True).affected}
    for number, snapshot in enumerate(browser.snapshots):
        target = tmp_path / str(number)
        result = restore(browser, snapshot, b"/", RestoreOptions(target), VoidMonitor())
        lost = {path for owner, path in affected if owner == snapshot.id}
        assert result.exit_code == (13 if lost else 0)
        for path in lost:
            assert any(path.decode() in str(error) for error in result.errors)
        for path, content in pristine.trees[snapshot.key].items():
            if content is not None and path not in lost:
                assert (target / path.decode().lstrip("/")).read_bytes() == content


# -- the objects that come before any snapshot -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if not damage.needs_same], ids=str)
def test_a_damaged_header_is_refused_and_found(damage: Damage, pristine: Pristine) -> None:
    damaged = copy_store(pristine.store)
    key = apply_damage(damage, damaged, "header")
    if damaged.objects.get(key, b"").strip() == pristine.store.objects[key].strip():
        pristine.repository.owner(damaged)
        return
    with pytest.raises((RepositoryNotFoundError, IntegrityError, CredentialError)):  # another repository id or owner key in it is a wrong credential
        pristine.repository.owner(damaged)
    owner = replace(pristine.repository.owner(), store=damaged)
    browser = Browser(owner, pristine.repository.new_state(), access.registry(owner), (), (), NOTHING)
    assert [problem.object_name for problem in run_check(browser, read_data=False).problems] == ["seedcorn.json"]


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_key_slot_takes_only_its_own_passphrase(damage: Damage, pristine: Pristine) -> None:
    for which in range(2):
        damaged = copy_store(pristine.store)
        key = apply_damage(damage, damaged, "slot", which=which)
        opened = [passphrase for passphrase in pristine.passphrases if _opens(damaged, passphrase)]
        assert len(opened) == (0 if "swap" in damage.name else 1)
        if damage.name not in BREAKS_THE_FORM:  # what is sealed in a slot opens to its passphrase only: a check can not see into it
            continue
        (browser, _) = open_views(pristine, damaged)
        problems = run_check(browser, read_data=False).problems
        assert any(problem.object_name == key for problem in problems), problems


def _opens(store: Store, passphrase: str) -> bool:
    try:
        access.open_owner(store, passphrase)
    except (CredentialError, IntegrityError):
        return False
    return True


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_host_record_takes_only_its_own_host(damage: Damage, pristine: Pristine) -> None:
    for which in range(2):
        damaged = copy_store(pristine.store)
        key = apply_damage(damage, damaged, "host record", which=which)
        host = key.split("/")[1]
        for browser in open_views(pristine, damaged):
            problems = run_check(browser, read_data=False).problems
            named = {problem.object_name for problem in problems}
            assert key in named or (damage.name == "delete it" and any(host in name for name in named)), problems
            if not damage.needs_same:
                assert {snapshot.key for snapshot in browser.snapshots} >= {name for name in pristine.trees if host not in name}
