"""Which dedup domain a host is put in, by what the owner says. Pure.

docs/format.md, sections "Keys" and "Host record"; docs/guide/keys-and-hosts.md says it to users.
"""

from __future__ import annotations

from seedcorn.errors import SeedcornError, UsageError
from seedcorn.ids import HostId
from seedcorn.repo.hosts import HostRegistry

__all__ = ["NEW_DOMAIN", "choose_domain", "refuse_shared"]

NEW_DOMAIN = "new"


def choose_domain(registry: HostRegistry, wanted: str | None) -> int:
    """The number of the domain that is meant: of one that there is, or ``new``; None means the one that all hosts are in which may back up.

    Raises:
        UsageError: there is no such domain, or nothing is said and there are several.
        IntegrityError: a new one is wanted, and a host record is damaged: its host may be in the very domain that would come next.
    """
    if wanted == NEW_DOMAIN:
        for problem in registry.problems:
            raise problem
        return max(registry.domains, default=-1) + 1
    if wanted is None:
        used = {host.domain for host in registry.hosts.values() if not host.revoked} or registry.domains or {0}
        if len(used) > 1:
            numbers = ", ".join(map(str, sorted(used)))
            raise UsageError(f"there are hosts in domains {numbers}: say with --domain which one is meant, or `--domain new`")
        return next(iter(used))
    if not wanted.isdecimal() or int(wanted) not in registry.domains:
        raise UsageError(f"there is no domain {wanted!r}: `seedcorn host list` shows those that there are, and `--domain new` begins another one")
    return int(wanted)


def refuse_shared(registry: HostRegistry, made: HostId, name: str, domain: int) -> None:
    """Whether the ``domain`` that a host has begun is its own, by records that were listed after its record had been put. Two owners who choose at
    the same moment choose the same number, and one of them at least sees the other here: each puts and then looks.

    Raises:
        SeedcornError: another host is in it.
        IntegrityError: a host record is damaged, and nobody knows which domain it names.
    """
    for problem in registry.problems:
        raise problem
    if any(domain in other.domains for host, other in registry.hosts.items() if host != made):
        raise SeedcornError(
            f"domain {domain} is not new: somebody else has begun it at the same moment. Host {name} has no host file for it: make one in a domain "
            f"of its own with `seedcorn host move {name} --domain new --out FILE`"
        )
