"""Hosts with much in common in one repository: what they share is stored once, as far as the owner has verified it, and a liar harms nobody."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.acceptance.workshop import Workshop, open_workshop, scratch

from seedcorn.events import RecordingMonitor
from seedcorn.ops.check.check import CheckOptions, check

HOSTS = 8
COMMON_FILES, OWN_FILES = 90, 10
FILE_BYTES = 20_000
SHARE_OF_FIRST = 0.12  # that each further host may store


def host_tree(folder: Path, host: int) -> Path:
    """Nine tenths are the same on every host."""
    for number in range(COMMON_FILES + OWN_FILES):
        seed = number if number < COMMON_FILES else 1000 * (host + 1) + number
        path = folder / f"d{number % 10}/f{number:03}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(seed).randbytes(FILE_BYTES))
    return folder


def publish(workshop: Workshop) -> None:
    repository = workshop.repository
    result = check(repository.browser(), CheckOptions(read_data=True, publish=True), repository.clock, RecordingMonitor())
    assert not result.problems


@pytest.mark.parametrize("trust_hosts", [False, True], ids=["verified", "trust-hosts"])
def test_each_further_host_stores_little(trust_hosts: bool) -> None:
    with scratch() as folder, open_workshop(folder, trust_hosts=trust_hosts) as workshop:
        first = workshop.backup(host_tree(folder / "host-0", 0)).requests.put_bytes
        if not trust_hosts:
            publish(workshop)
        for host in range(1, HOSTS):
            machine = workshop.repository.machine(f"host-{host}")
            tree = host_tree(folder / f"host-{host}", host)
            assert workshop.backup(tree, machine=machine).requests.put_bytes <= SHARE_OF_FIRST * first
        browser = workshop.repository.browser(fresh=True)
        assert not browser.problems
        assert len(browser.snapshots) == HOSTS
        assert not check(browser, CheckOptions(read_data=True), workshop.repository.clock, RecordingMonitor()).problems


def test_what_nobody_has_verified_is_stored_again() -> None:
    with scratch() as folder, open_workshop(folder) as workshop:
        first = workshop.backup(host_tree(folder / "host-0", 0)).requests.put_bytes
        second = workshop.backup(host_tree(folder / "host-1", 1), machine=workshop.repository.machine("second")).requests.put_bytes
        assert second > 0.9 * first
