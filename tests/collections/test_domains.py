"""Forget, prune and undelete over several dedup domains, with states that hosts, owner and maintainers share; and hosts that are moved meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.collections.garden import NOW, Garden, noise, open_garden
from tests.collections.interrupted import BeforePutStore

from seedcorn.errors import CredentialError, SeedcornError
from seedcorn.events import RecordingMonitor
from seedcorn.jobs.maintain_session import MaintainSession
from seedcorn.ops import access
from seedcorn.ops.gc.sweep import Collector
from seedcorn.ops.retention.policy import Newest, Policy
from seedcorn.repo.maintenance import MaintainFile
from seedcorn.repo.roots.roots import Standing
from seedcorn.repo.state.state import State
from seedcorn.testing.repositories import Machine


@pytest.fixture
def garden() -> Iterator[Garden]:
    with open_garden() as made:
        yield made


@pytest.fixture
def customer(garden: Garden) -> Machine:
    """A host of domain 1."""
    return garden.repository.machine("customer", domain="new")


def packs_of(garden: Garden, machine: Machine) -> set[str]:
    return {key for key in garden.keys("packs") if machine.host_file.key.host.hex() in key}


def collector(garden: Garden, file: MaintainFile, state: State) -> Collector:
    """A machine that has a maintain file and no passphrase."""
    return Collector(access.open_maintainer(garden.store, file), state, NOW, RecordingMonitor())


@pytest.mark.parametrize("whose", ["alpha's", "the customer's", "its own"])
def test_one_maintainer_collects_in_all_domains(garden: Garden, customer: Machine, whose: str) -> None:
    """Whoever has filled the state of its machine, and with what keys: nothing needed goes, in whatever domain, and nothing else stays."""
    alpha = garden.repository.first
    both = {"a": noise(1), "b": noise(2, 3_000_000), "c": noise(3, 2_000_000)}
    gone = [garden.back_up(both, machine=machine) for machine in (alpha, customer)]
    assert sum(len(garden.store.objects[key]) for key in garden.keys("packs")) > 10_000_000  # everything twice
    for machine in (alpha, customer):
        garden.back_up({"c": noise(3, 2_000_000), "d": noise(4)}, machine=machine)
    garden.forget(*gone)
    state = {"alpha's": alpha.state, "the customer's": customer.state, "its own": garden.state()}[whose]
    file = access.maintain_file(garden.repository.owner())
    own = collector(garden, file, state)
    plan = own.plan()
    assert {host for host, _ in plan.repack} == {machine.host_file.key.host for machine in (alpha, customer)}
    own.carry_out(plan)
    garden.assert_whole()
    again = collector(garden, file, state)
    again.carry_out(again.plan())
    garden.assert_whole()
    garden.assert_clean()
    rest = sum(len(garden.store.objects[key]) for key in garden.keys("packs"))
    assert rest < 7_000_000  # frames are moved whole
    for machine in (alpha, customer):
        garden.back_up({"c": noise(3, 2_000_000), "d": noise(4), "e": noise(5)}, machine=machine)
    assert sum(len(garden.store.objects[key]) for key in garden.keys("packs")) < rest + 100_000  # what was moved is known where it is
    garden.assert_whole()


def test_garbage_of_one_domain_is_judged_without_the_other(garden: Garden, customer: Machine) -> None:
    """Equal content in another domain needs nothing and spares nothing."""
    gone = garden.back_up({"a": noise(1)}, machine=customer)
    garden.back_up({"a": noise(1)})
    kept = packs_of(garden, garden.repository.first)
    garden.back_up({"b": noise(2)}, machine=customer)
    before = packs_of(garden, customer)
    garden.forget(gone)
    garden.prune()
    assert packs_of(garden, garden.repository.first) == kept
    assert packs_of(garden, customer) < before
    garden.assert_whole()


def test_back_again_in_a_domain_that_the_state_did_not_know(garden: Garden, customer: Machine) -> None:
    snapshot = garden.back_up({"a": noise(1)}, machine=customer)
    garden.back_up({"b": noise(2)}, machine=customer)
    files = garden.expected[snapshot]
    garden.forget(snapshot)
    garden.undelete(snapshot, files)
    garden.prune(state=garden.repository.first.state)
    garden.assert_whole()


# -- a maintain file that is too old ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knows", ["nothing", "all segments"])
@pytest.mark.parametrize("is_empty", [True, False], ids=["empty domain", "domain in use"])
def test_a_maintain_file_from_before_a_domain_was_made_is_refused(garden: Garden, knows: str, is_empty: bool) -> None:
    """Before anything is decided or put, also on a machine whose owner has loaded the index of that domain."""
    file = access.maintain_file(garden.repository.owner())
    gone = garden.back_up({"a": noise(1)})
    garden.back_up({"b": noise(2)})
    customer = garden.repository.machine("customer", domain="new")
    if not is_empty:
        garden.back_up({"b": noise(2)}, machine=customer)
    garden.forget(gone)
    state = garden.repository.owner_state() if knows == "all segments" else garden.state()
    before = dict(garden.store.objects)
    session = MaintainSession(access.open_maintainer(garden.store, file), state, garden.repository.clock)
    attempts: list[Callable[[], object]] = [
        lambda: session.prune(grace_seconds=0, allow_large=True),
        lambda: session.plan_forget(Policy((Newest(1),))),
        lambda: session.plan_forget([gone.hex()]),
        lambda: session.undelete([gone.hex()]),
    ]
    for attempt in attempts:
        with pytest.raises(CredentialError, match=r"domain 1.*key export-maintain"):
            attempt()
    after = {key: data for key, data in garden.store.objects.items() if not key.startswith("gc/probe")}
    assert after == before
    newer = collector(garden, access.maintain_file(garden.repository.owner()), state)
    newer.carry_out(newer.plan())
    garden.assert_whole()


def test_a_domain_that_is_made_while_a_collection_runs_stops_it(garden: Garden) -> None:
    file = access.maintain_file(garden.repository.owner())
    gone = garden.back_up({"a": noise(1)})
    garden.back_up({"b": noise(2)})
    garden.forget(gone)
    packs = garden.keys("packs")
    store = BeforePutStore(garden.store, ".sweep", lambda: garden.repository.machine("customer", domain="new"))
    own = Collector(access.open_maintainer(store, file), garden.state(), NOW, RecordingMonitor())
    plan = own.plan()
    with pytest.raises(CredentialError, match="key export-maintain"):
        own.carry_out(plan)
    assert garden.keys("packs") == packs
    garden.prune()
    garden.assert_whole()
    assert len(garden.keys("packs")) < len(packs)


# -- hosts that are moved --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loses_state", [False, True])
def test_a_moved_host_stores_anew_and_goes_on(garden: Garden, loses_state: bool) -> None:
    alpha, files = garden.repository.first, {"a": noise(1, 400_000), "b": noise(2)}
    old = [garden.back_up(files), garden.back_up(files | {"c": noise(3)})]
    before = packs_of(garden, alpha)
    garden.repository.move(alpha, "new")
    if loses_state:
        alpha.forget_state()
    garden.back_up(files)
    new = packs_of(garden, alpha) - before
    assert sum(len(garden.store.objects[key]) for key in new) > 400_000
    after = packs_of(garden, alpha)
    garden.back_up(files | {"d": noise(4)})
    assert sum(len(garden.store.objects[key]) for key in packs_of(garden, alpha) - after) < 20_000  # against what it has in its domain
    garden.assert_whole()
    assert sorted(snapshot.public.seq for snapshot in garden.browser().snapshots) == [1, 2, 3, 4]

    session = MaintainSession(garden.maintainer(), garden.repository.owner_state(), garden.repository.clock)
    plan = session.plan_forget(Policy((Newest(2),), trust_store_times=True))  # one group, before and after
    assert {ref.snapshot for ref in plan.chosen} == set(old)
    session.forget(plan)
    for snapshot in old:
        garden.expected.pop(snapshot)
    garden.prune(state=alpha.state)
    assert not packs_of(garden, alpha) & before
    garden.prune()
    garden.assert_whole()
    garden.assert_clean()
    garden.back_up(files | {"e": noise(5)})
    garden.assert_whole()


def test_segments_of_a_host_that_was_moved_are_merged_domain_by_domain(garden: Garden) -> None:
    alpha = garden.repository.first
    for number in range(5):
        garden.back_up({"a": noise(number)})
    garden.repository.move(alpha, "new")
    for number in range(5):
        garden.back_up({"a": noise(number)})
    assert len(garden.keys("index")) == 10
    garden.prune()
    assert len(garden.keys("index")) == 2
    garden.assert_whole()
    before = sum(len(garden.store.objects[key]) for key in garden.keys("packs"))
    garden.back_up({"a": noise(4)})  # finds what is its own now in a segment that a maintainer has signed
    assert sum(len(garden.store.objects[key]) for key in garden.keys("packs")) < before + 4_000
    garden.assert_whole()


def test_a_backup_counts_that_was_under_way_when_its_host_was_moved(garden: Garden) -> None:
    """It has told its user that it succeeded."""
    alpha = garden.repository.first
    old_file = alpha.host_file
    garden.back_up({"a": noise(1)})
    alpha.store = BeforePutStore(garden.store, "packs/", lambda: garden.repository.move(alpha, "new"))
    snapshot = garden.back_up({"b": noise(2)})
    (standing,) = [one.standing for one in garden.browser().snapshots if one.id == snapshot]
    assert standing is Standing.CONFIRMED
    garden.assert_whole()
    garden.prune()
    garden.assert_whole()

    new_file, alpha.host_file = alpha.host_file, old_file
    before = dict(garden.store.objects)
    with pytest.raises(CredentialError, match=r"domain 1: bring the file that `seedcorn host move` wrote"):
        garden.back_up({"c": noise(3)})
    assert garden.store.objects == before
    alpha.host_file = new_file
    garden.back_up({"c": noise(3)})
    garden.assert_whole()


def test_a_moved_host_that_is_revoked(garden: Garden) -> None:
    """All of its keys are: what any of them signs after the last number that counts is nobody's."""
    stolen = garden.repository.machine("stolen")
    old_file = stolen.host_file
    garden.back_up({"a": noise(1)}, machine=stolen)
    garden.repository.move(stolen, "new")
    garden.back_up({"a": noise(1)}, machine=stolen)
    garden.assert_whole()
    garden.repository.revoke("stolen")
    for file in (stolen.host_file, old_file):
        stolen.host_file = file
        with pytest.raises(SeedcornError, match="has been revoked"):
            garden.back_up({"a": noise(2)}, machine=stolen)
    garden.prune()
    garden.assert_whole()
