"""Which domain is meant by what the owner says."""

from __future__ import annotations

import pytest

from seedcorn.errors import IntegrityError, SeedcornError, UsageError
from seedcorn.format.header import FormerKey, HostPublic, HostState
from seedcorn.ids import HostId
from seedcorn.ops.domains import choose_domain, refuse_shared
from seedcorn.repo.hosts import EnrolledHost, HostRegistry


def registry(*hosts: tuple[list[int], bool], problems: tuple[IntegrityError, ...] = ()) -> HostRegistry:
    """Hosts by the domains that they have been in, the last one being theirs, and whether they are revoked."""
    enrolled = {}
    for number, (domains, revoked) in enumerate(hosts):
        state = HostState.REVOKED if revoked else HostState.ENROLLED
        former = tuple(FormerKey(bytes(32), domain) for domain in domains[:-1])
        host = HostId(bytes([number]) * 16)
        enrolled[host] = EnrolledHost(HostPublic(bytes(16), host, 1, state, bytes(32), 0, domain=domains[-1], former=former), "")
    return HostRegistry(enrolled, b"", problems=problems)


@pytest.mark.parametrize(
    ("hosts", "wanted", "domain"),
    [
        ([([0], False)], None, 0),
        ([([0], False), ([0], False)], "new", 1),
        ([([0], False), ([0, 5], False)], "new", 6),
        ([([4, 0], False)], "new", 5),  # nobody is in 4 any more, and what is stored in it is there
        ([([0], False), ([1], False)], "1", 1),
        ([([0], False), ([0, 1], False)], "0", 0),
        ([([0], True), ([0, 1], False), ([0, 1], False)], None, 1),  # after a theft: not where the thief is
        ([([0], True)], None, 0),
        ([([0], True)], "new", 1),
        ([], None, 0),
        ([], "new", 0),
    ],
)
def test_what_is_meant(hosts: list[tuple[list[int], bool]], wanted: str | None, domain: int) -> None:
    assert choose_domain(registry(*hosts), wanted) == domain


@pytest.mark.parametrize("wanted", ["2", "-1", "newest", "", "0x0", "99999999999999999999"])
def test_a_domain_that_is_not_there(wanted: str) -> None:
    with pytest.raises(UsageError, match="--domain new"):
        choose_domain(registry(([0], False), ([1], False)), wanted)


@pytest.mark.parametrize("hosts", [[([0], False), ([0, 2], False)], [([0, 2], True)]])
def test_nothing_is_guessed(hosts: list[tuple[list[int], bool]]) -> None:
    with pytest.raises(UsageError, match="domains 0, 2: say with --domain"):
        choose_domain(registry(*hosts), None)


def test_no_new_domain_while_a_host_record_can_not_be_read() -> None:
    damaged = registry(([0], False), problems=(IntegrityError("is damaged"),))
    assert choose_domain(damaged, "0") == 0
    with pytest.raises(IntegrityError, match="is damaged"):
        choose_domain(damaged, "new")


@pytest.mark.parametrize(
    ("others", "shared"), [([([0], False)], False), ([([1], False)], True), ([([1, 0], False)], True), ([([0, 1], True)], True), ([], False)]
)
def test_a_domain_that_two_have_begun_at_once(others: list[tuple[list[int], bool]], shared: bool) -> None:
    known = registry(([0, 1], False), *others)
    made = next(iter(known.hosts))
    if not shared:
        refuse_shared(known, made, "web", 1)
        return
    with pytest.raises(SeedcornError, match="host move web --domain new"):
        refuse_shared(known, made, "web", 1)
