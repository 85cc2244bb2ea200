"""One run: all actors, step by step, until the time is over; then the verdict; then what it comes to."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.actors import Actor, Chances, Host, Journal, Maintainer, Owner, Relocator, Verifier
from tests.chaos.ground import Ground, open_ground
from tests.chaos.verdict import judge

__all__ = ["ChaosOptions", "Report", "run_chaos"]

_STEP_SECONDS = 0.02
_LAST_RUNS_SECONDS = 300  # until what still runs when the time is over must have ended
_HOSTS_CHANCES = Chances(kill=0.25, stop=0.2, stop_seconds=40)  # long enough for a mark and a sweep
_MAINTAINERS_CHANCES = Chances(kill=0.15, stop=0.1)


@dataclass(frozen=True)
class ChaosOptions:
    """How long, how many, and by which chance. ``server``: on SeaweedFS and not in a directory. ``files``: of each host. ``trust_hosts``: they share
    what any of them has stored; else only what the owner has verified."""

    seconds: float = 600
    hosts: int = 8
    seed: int = 1
    server: bool = True
    files: int = 300
    trust_hosts: bool = False


@dataclass(frozen=True)
class Report:
    """What a run comes to."""

    options: ChaosOptions
    seconds: float
    counts: dict[str, int]
    violations: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The figures for docs/reliability.md."""
        options = self.options
        head = {
            "seed": options.seed,
            "hosts": options.hosts,
            "hosts_share": "whatever is stored" if options.trust_hosts else "what is verified",
            "store": "SeaweedFS" if options.server else "directory",
            "seconds": round(self.seconds),
            "chaos_seconds": round(options.seconds),
        }
        return {**head, **dict(sorted(self.counts.items())), "violations": list(self.violations)}


def run_chaos(folder: Path, options: ChaosOptions) -> Report:
    """Run it all in ``folder``, which holds the whole story afterwards."""
    begun = time.monotonic()
    hosts = [f"host-{number}" for number in range(options.hosts)]
    with open_ground(folder, hosts, server=options.server, trust_hosts=options.trust_hosts) as ground:
        journal = Journal(folder / "journal.txt")
        actors = _actors(ground, journal, hosts, options)
        try:
            _drive(actors, journal, options.seconds)
        finally:
            for actor in actors:
                actor.kill()
        judge(ground, journal)
    return Report(options, time.monotonic() - begun, dict(journal.counts), tuple(journal.findings))


def _actors(ground: Ground, journal: Journal, hosts: Sequence[str], options: ChaosOptions) -> list[Actor]:
    def chance(name: str) -> random.Random:
        return random.Random(f"{options.seed} {name}")

    backing_up: list[Actor] = [Host(name, ground, journal, chance(name), _HOSTS_CHANCES, 0.5, files=options.files) for name in hosts]
    return [
        *backing_up,
        Maintainer("maintainer", ground, journal, chance("maintainer"), _MAINTAINERS_CHANCES, 0.2, forgets=True),
        Maintainer("other-maintainer", ground, journal, chance("other"), _MAINTAINERS_CHANCES, 10, forgets=False),
        Owner("owner", ground, journal, chance("owner"), Chances(), 10),
        Verifier("verifier", ground, journal, chance("verifier"), _MAINTAINERS_CHANCES, 2),
        Relocator("relocator", ground, journal, chance("relocator"), _MAINTAINERS_CHANCES, 5),
    ]


def _drive(actors: Sequence[Actor], journal: Journal, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        now = time.monotonic()
        for actor in actors:
            actor.step(now, may_start=now < end)
        if now >= end and not any(actor.is_running for actor in actors):
            return
        if now >= end + _LAST_RUNS_SECONDS:
            names = ", ".join(actor.name for actor in actors if actor.is_running)
            journal.find(f"still running {_LAST_RUNS_SECONDS} s after the end: {names}")
            return
        time.sleep(_STEP_SECONDS)
