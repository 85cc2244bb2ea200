"""The chain that each host's snapshots form, by names and public parts alone: gaps, twins, wrong links, and heads that have moved back.

Owns what this machine remembers of the newest snapshots. docs/format.md, section "Snapshot"; docs/threat-model.md, "Rollback".
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from seedcorn.errors import IntegrityError
from seedcorn.format.codec import encode
from seedcorn.format.collection import SnapshotRef
from seedcorn.format.names import NumberedKey, parse_numbered_key
from seedcorn.format.snapshot import Head, SnapshotPublic
from seedcorn.ids import HostId
from seedcorn.repo.roots.standings import key_of, way_out
from seedcorn.repo.state.state import State
from seedcorn.store.api import Store

__all__ = [
    "WITNESSED_LIMIT",
    "Gaps",
    "Heads",
    "HistoryNames",
    "Link",
    "check_gaps",
    "check_links",
    "check_overtaken",
    "check_rollback",
    "check_twins",
    "check_witnesses",
    "find_gaps",
    "list_heads",
    "ref_of",
    "remember_heads",
    "remembered_heads",
    "witnessed",
]

Heads = dict[HostId, Head]
Gaps = dict[HostId, list[range]]  # the numbers that are lacking
HistoryNames = Mapping[HostId, Sequence[NumberedKey]]  # of the snapshots that are listed, by number
WITNESSED_LIMIT = 64  # heads in a snapshot, 60 bytes each: with those of all others snapshots would grow with the number of hosts
_HEADS = "heads"
_GAPS_SHOWN = 10
_SHORT_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Link:
    """One snapshot of a chain."""

    key: str
    public: SnapshotPublic


def ref_of(head: Head) -> SnapshotRef:
    """The snapshot that was the newest of its host."""
    return SnapshotRef(head.host, head.seq, head.snapshot)


def list_heads(store: Store, seen: Heads | None = None) -> Heads:
    """The newest snapshot of every host by the names in the store, nothing verified. Of several with one number the one that has been ``seen``
    before: whoever may put objects into the room of a host can add another one."""
    heads: Heads = {}
    for info in store.list("snapshots/"):
        name = parse_numbered_key(info.key)
        if name is None:
            continue
        known = heads.get(name.host)
        if known is None or known.seq < name.number or (known.seq == name.number and known != (seen or {}).get(name.host)):
            heads[name.host] = Head(name.host, name.number, name.object_id)
    return heads


def remembered_heads(state: State) -> Heads:
    """The newest heads that this machine has ever seen."""
    packed = state.fact(_HEADS)
    return {HostId(head.host): head for head in msgspec.msgpack.decode(packed, type=list[Head])} if packed else {}


def remember_heads(state: State, heads: Heads) -> None:
    """Keep the newer of what is remembered and ``heads``."""
    newest = remembered_heads(state)
    changed = {host: head for host, head in heads.items() if host not in newest or newest[host].seq < head.seq}
    if changed:
        state.remember(_HEADS, encode(list((newest | changed).values())))


def witnessed(heads: Heads, host: HostId) -> tuple[Head, ...]:
    """The heads that a snapshot of ``host`` records: of the hosts whose ids follow its own, round and round, so that each has as many witnesses."""
    others = sorted(heads.keys() - {host})
    begin = bisect(others, host)
    return tuple(heads[other] for other in sorted((others[begin:] + others[:begin])[:WITNESSED_LIMIT]))


def check_rollback(remembered: Heads, heads: Heads) -> list[IntegrityError]:
    """One problem for each host whose newest snapshot is older than, or other than, one that has been seen."""
    problems = []
    for host, seen in remembered.items():
        now = heads.get(host)
        where = f"snapshots/{host.hex()}"
        if now is None or now.seq < seen.seq:
            found = f"now ends at {now.seq}" if now else "has none now"
            message = f"was seen with snapshot {seen.seq}, and {found}: the store has been rolled back; {_way_out(seen)}"
            problems.append(IntegrityError(message, object_name=where))
        elif now.seq == seen.seq and now.snapshot != seen.snapshot:
            message = f"snapshot {seen.seq} is another one than was seen before; {_way_out(seen)}"
            problems.append(IntegrityError(message, object_name=where))
    return problems


def check_overtaken(remembered: Heads, names: HistoryNames, known: Collection[SnapshotRef]) -> dict[HostId, IntegrityError]:
    """Hosts that have gone on from before the snapshot that this machine has seen of them, as one does whose state was lost when the store was
    rolled back: the newest number alone does not tell. ``known`` are the snapshots that are listed, or known to be gone."""
    problems = {}
    for host, seen in remembered.items():
        later = any(name.number > seen.seq for name in names.get(host, []))
        if later and ref_of(seen) not in known:
            message = f"lacks snapshot {seen.seq} as this machine has seen it: it has been deleted or replaced, or the store has been rolled back"
            problems[host] = IntegrityError(f"{message}; {_way_out(seen)}", object_name=f"snapshots/{host.hex()}")
    return problems


def _way_out(head: Head) -> str:
    return way_out(key_of(ref_of(head)))


def check_twins(names: HistoryNames) -> list[IntegrityError]:
    """One problem for each number that a host has used more than once."""
    return [
        IntegrityError(f"has {count} snapshots numbered {number}: the host has been cloned or forked", object_name=f"snapshots/{host.hex()}")
        for host, own in names.items()
        for number, count in sorted(Counter(name.number for name in own).items())
        if count > 1
    ]


def find_gaps(newest: Mapping[HostId, int], known: Iterable[SnapshotRef]) -> Gaps:
    """The numbers up to its ``newest`` that each host lacks; ``known`` are the snapshots that are listed or known to be gone."""
    numbers: dict[bytes, set[int]] = defaultdict(set)
    for ref in known:
        numbers[ref.host].add(ref.seq)
    gaps: Gaps = {}
    for host, last in newest.items():
        given = [0, *sorted(number for number in numbers[host] if 0 < number <= last), last + 1]
        lacking = [range(before + 1, after) for before, after in pairwise(given) if after > before + 1]
        if lacking:
            gaps[host] = lacking
    return gaps


def check_gaps(gaps: Gaps) -> list[IntegrityError]:
    """One problem for each host that lacks snapshots."""
    problems = []
    for host, lacking in gaps.items():
        shown = [str(one[0]) if len(one) == 1 else f"{one[0]}-{one[-1]}" for one in lacking[:_GAPS_SHOWN]]
        more = " …" if len(lacking) > _GAPS_SHOWN else ""
        command = " ".join(["seedcorn forget", *(f"{host.hex()[:_SHORT_DIGITS]}:{numbers}" for numbers in shown)])
        message = f"lacks the snapshots numbered {', '.join(shown)}{more}: they have been deleted or are not listed"
        message += f"; if they can not be brought back, `{command}` gives them up"
        problems.append(IntegrityError(message, object_name=f"snapshots/{host.hex()}"))
    return problems


def check_witnesses(missing: Iterable[SnapshotRef]) -> list[IntegrityError]:
    """One problem for each of these snapshots, which another host has seen, and which are neither listed nor known to be gone."""
    return [
        IntegrityError(
            f"lacks snapshot {ref.seq} as another host has seen it: it has been deleted or replaced, or that host lies; {way_out(key_of(ref))}",
            object_name=f"snapshots/{ref.host.hex()}",
        )
        for ref in sorted(missing)
    ]


def check_links(links: Sequence[Link], names: HistoryNames) -> list[IntegrityError]:
    """One problem for each snapshot that names another one before it than is there."""
    ids: dict[tuple[HostId, int], set[bytes]] = {}
    for host, own in names.items():
        for name in own:
            ids.setdefault((host, name.number), set()).add(name.object_id)
    problems = []
    for link in links:
        public = link.public
        before = ids.get((HostId(public.host), public.seq - 1), set())
        if (before and public.previous not in before) or (public.seq == 1 and public.previous):
            problems.append(IntegrityError("does not follow the snapshot before it: one of the two has been replaced", object_name=link.key))
    return problems
