"""Revoking a host: up to which snapshot it counts, what that leaves out, and what makes it doubtful.

Owns the choice of the last snapshot that counts: the newest that the host has signed and that can be read, unless the owner names an earlier one.
Only they can know: whoever has stolen a host file signs as well as the host does. Invariant: where the chain is not as it should be, or something
comes after it, nothing is chosen for the owner. docs/threat-model.md, "What a host can stop".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from seedcorn.errors import UsageError
from seedcorn.events import Clock
from seedcorn.ops.access import EnrolledHost, OwnerRepository, State, host_called, maintained_by_owner, registry
from seedcorn.repo.hosts import revoke_host
from seedcorn.repo.roots.roots import Roots, RootsReader, Standing

__all__ = ["Revocation", "plan_revocation", "revoke"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Revocation:
    """``last_seq`` is the number of the last snapshot that will count, 0 if none; ``kept`` how many do. ``left_out`` are the keys of snapshots that
    will not, be they good or not. ``doubts`` say in words why that number need not be the right one; none if the owner has chosen it."""

    host: EnrolledHost
    last_seq: int
    kept: int
    left_out: tuple[str, ...]
    doubts: tuple[str, ...]


def plan_revocation(owner: OwnerRepository, state: State, name_or_id: str, *, last_seq: int | None = None) -> Revocation:
    """What revoking a host would leave of it. ``last_seq``: what the owner has chosen.

    Raises:
        UsageError: there is no such host, or no good snapshot of that number; or nothing was chosen and the host has been revoked already.
    """
    known = registry(owner, state)
    host = host_called(name_or_id, known)
    if host.revoked and last_seq is None:
        raise UsageError(f"host {host.name} has been revoked already; to have less of it count, say which snapshot is the last with --last-seq")
    roots = RootsReader(maintained_by_owner(owner), state, checkpoints=False).read(known)
    own = sorted((one for one in roots.objects if one.ref.host == host.host), key=lambda one: one.ref)
    good = sorted({root.ref.seq for root in roots.snapshots if root.ref.host == host.host})
    last = max(good, default=0) if last_seq is None else last_seq
    if last and last not in good:
        shown = ", ".join(map(str, good[-_SHOWN:])) or "none at all"
        raise UsageError(f"host {host.name} has no good snapshot numbered {last}; of good ones it has, at the end, {shown} (0: nothing of it counts)")
    left_out = tuple(one.key for one in own if one.ref.seq > last)
    kept = sum(root.ref.host == host.host and root.ref.seq <= last for root in roots.snapshots)
    return Revocation(host, last, kept, left_out, tuple(_doubts(roots, host, left_out)) if last_seq is None else ())


def _doubts(roots: Roots, host: EnrolledHost, left_out: Iterable[str]) -> Iterable[str]:
    room = f"snapshots/{host.host.hex()}"
    after = {one.key: one for one in roots.unreadable if one.standing is Standing.UNREADABLE}
    for key in left_out:
        if key in after:
            yield f"{key} can not be read ({after[key].reason}): what the store has damaged, or what somebody has put there"
    for error in (*roots.problems, *roots.oddities):
        name = error.object_name
        if name == room or (name.startswith(f"{room}/") and name not in after):
            yield str(error)


def revoke(owner: OwnerRepository, revocation: Revocation, clock: Clock) -> None:
    """From now on nothing of this host counts that comes after its last snapshot; the rest stays.

    Raises:
        UsageError: which one is the last is in doubt.
    """
    if revocation.doubts:
        name, last = revocation.host.name, revocation.last_seq
        raise UsageError(f"what {name} has backed up is in doubt: say up to which number its snapshots count, as in --last-seq {last}")
    revoke_host(owner, revocation.host, created_ns=clock.now_ns(), last_seq=revocation.last_seq)
