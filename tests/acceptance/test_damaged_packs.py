"""Packs that are damaged, cut short or gone: what needs them is named, everything else comes back, and a second copy is used where there is one."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.acceptance.workshop import Restored, Workshop, open_workshop

from seedcorn.errors import EXIT_INTEGRITY, IntegrityError
from seedcorn.testing.repositories import make_tree
from seedcorn.testing.trees import describe

_NOISE = {f"noise {number}": random.Random(number).randbytes(30_000) for number in range(10)}
_TEXT = {f"text {number}": b"the same line again, number %d\n" % number * 300 for number in range(10)}

Damage = Callable[[bytes], bytes | None]
_DAMAGE: dict[str, Damage] = {
    "a bit at the beginning of the frames": lambda data: _flipped(data, 1_700),
    "every byte of the frames": lambda data: data[:1_600] + bytes(len(data) - 1_600),
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut at the beginning": lambda data: data[:20],
    "empty": lambda data: b"",
    "gone": lambda data: None,
}


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def _damage(workshop: Workshop, keys: set[str], damage: Damage) -> None:
    for key in keys:
        damaged = damage(workshop.objects[key])
        if damaged is None:
            del workshop.objects[key]
        else:
            workshop.objects[key] = damaged


def _packs(workshop: Workshop) -> set[str]:
    return {key for key in workshop.objects if key.startswith("packs/")}


def _largest(workshop: Workshop, keys: set[str]) -> str:
    return max(keys, key=lambda key: len(workshop.objects[key]))


def _present(restored: Restored) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in restored.target.iterdir() if path.is_file()}


@pytest.mark.parametrize("damage", list(_DAMAGE.values()), ids=list(_DAMAGE))
def test_of_two_data_packs_one(workshop: Workshop, damage: Damage) -> None:
    make_tree(workshop.source, _TEXT)
    workshop.backup()
    sound = _packs(workshop)
    make_tree(workshop.source, _NOISE)
    run = workshop.backup()
    bad = _largest(workshop, _packs(workshop) - sound)
    _damage(workshop, {bad}, damage)

    restored = workshop.restore(run.id)
    assert restored.result.exit_code == EXIT_INTEGRITY
    assert restored.errors, "something is lost"
    files = {**_NOISE, **_TEXT}
    present = _present(restored)
    assert all(files[name] == content for name, content in present.items()), "whole or not at all"
    missing = files.keys() - present.keys()
    assert missing and missing <= _NOISE.keys()
    assert {os.path.basename(error.partition(": ")[0]) for error in restored.errors} == missing
    assert all(bad in error for error in restored.errors)
    assert set(os.listdir(restored.target)) == set(present), "no temporary file is left"


@pytest.mark.parametrize("damage", list(_DAMAGE.values()), ids=list(_DAMAGE))
def test_of_two_listings_one(workshop: Workshop, damage: Damage) -> None:
    make_tree(workshop.source, {f"one/{name}": content for name, content in _TEXT.items()})
    workshop.backup()
    sound = _packs(workshop)
    make_tree(workshop.source, {f"two/{name}": content for name, content in _TEXT.items()})
    run = workshop.backup()
    _damage(workshop, _packs(workshop) - sound, damage)
    first = workshop.repository.browser(fresh=True).snapshots[0]
    assert workshop.restore(first.id.hex()).errors == []
    with suppress(IntegrityError):  # the listing that leads to the path may itself be lost
        assert workshop.restore(run.id).result.exit_code == EXIT_INTEGRITY


@pytest.mark.parametrize("damage", list(_DAMAGE.values()), ids=list(_DAMAGE))
def test_a_second_copy_is_used(folder: Path, damage: Damage) -> None:
    """Two hosts that do not trust each other have stored the same; either's packs may be bad."""
    with open_workshop(folder, settled=True) as workshop:
        make_tree(workshop.source, {**_NOISE, **_TEXT})
        tree = describe(workshop.source)
        workshop.backup()
        first = _packs(workshop)
        run = workshop.backup(machine=workshop.repository.machine("beta"))
        second = _packs(workshop) - first
        whole = dict(workshop.objects)
        for copies in (first, second):
            _damage(workshop, {_largest(workshop, copies)}, damage)
            workshop.assert_restores(run.id, tree)
            workshop.objects.clear()
            workshop.objects.update(whole)


def test_the_next_backup_stores_again_what_a_repair_has_taken_out_of_the_index(workshop: Workshop) -> None:
    make_tree(workshop.source, {**_NOISE, **_TEXT})
    workshop.backup()
    for key in [key for key in workshop.objects if key.startswith(("packs/", "index/"))]:
        del workshop.objects[key]
    run = workshop.backup()
    assert run.result.exit_code == 0
    workshop.assert_restores(run.id, describe(workshop.source))
