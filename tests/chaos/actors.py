"""Machines that run the program again and again, and are killed and suspended while they do. One thread drives all of them, step by step.

Owns processes and signals. Invariant: whatever an actor did not expect is a finding; a run that was killed is never taken for one that ended.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.ground import Ground
from tests.chaos.trees import HostTree

from seedcorn.errors import EXIT_INTEGRITY
from seedcorn.testing.machine import Finished
from seedcorn.testing.trees import Entry, describe

__all__ = ["Actor", "Chances", "Host", "Journal", "Maintainer", "Owner", "Promise", "Relocator", "Tree", "Verifier", "story"]

Tree = dict[bytes, Entry]

GRACE = "5s"
KEEP_LAST = 2
_FIRST_GUESS_SECONDS = 2.0  # how long a run takes, before any has ended
_LOST_STATE_CHANCE = 0.03
_UNDELETE_CHANCE = 0.4  # each time that something can be taken back
_TAKEN_BACK_KEPT = 3  # that are not forgotten again
_TOLD_CHARACTERS, _TOLD_ERRORS = 1500, 20
_SNAPSHOT_LINE = re.compile(r"^Snapshot +([0-9a-f]{64})$", re.MULTILINE)
_REDONE = "a collection has removed data that this backup was about to reuse"
_GAVE_UP = "times a collection has removed what this backup relied on"
_OVERTAKEN = "a collection is taking what has just been written"
_TOO_LATE = ("can not be taken back: a collection has begun to remove", "no snapshot has an id that starts with")

_COUNTED = (
    "backups_attempted", "backups_confirmed", "backups_killed", "backups_redone", "backups_given_up", "states_lost",
    "forgets_attempted", "forgets_done", "forgets_killed", "snapshots_forgotten",
    "undeletes_attempted", "undeletes_done", "undeletes_too_late", "undeletes_killed", "snapshots_taken_back",
    "prunes_attempted", "prunes_done", "prunes_killed", "deleted_packs", "repacked_packs", "kept_packs", "deleted_snapshots",
    "checks_done", "checks_alarmed", "verifications_done", "verifications_killed", "verifications_alarmed", "packs_published",
    "deep_prunes_done", "deep_prunes_overtaken", "deep_prunes_killed", "frames_written_anew", "kills", "stops",
)  # fmt: skip


@dataclass(frozen=True)
class Chances:
    """How likely a run is to be killed, or to be stopped for up to ``stop_seconds`` and go on."""

    kill: float = 0.0
    stop: float = 0.0
    stop_seconds: float = 10.0


@dataclass(frozen=True)
class Promise:
    """A backup that has ended with exit status 0."""

    host: str
    attempt: str
    snapshot: str


@dataclass
class Journal:
    """What has happened: counted, told line by line in a file, and what should not have."""

    path: Path
    begun: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_COUNTED, 0)))
    findings: list[str] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    taken_back: dict[str, str] = field(default_factory=dict)  # snapshot -> attempt, of what is not to be forgotten again
    trees: dict[str, Tree] = field(default_factory=dict)  # by attempt

    def tell(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic() - self.begun:8.2f} {text}\n")

    def find(self, text: str) -> None:
        """A violation."""
        self.tell(f"VIOLATION {text}")
        self.findings.append(text)


class Actor:
    """One machine. ``step`` is called often: it starts a run, sends a signal that is due, or looks how a run has ended."""

    def __init__(self, name: str, ground: Ground, journal: Journal, rng: random.Random, chances: Chances, rest_seconds: float) -> None:
        self.name = name
        self._ground, self._journal, self._rng, self._chances, self._rest_seconds = ground, journal, rng, chances, rest_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._signals: list[tuple[float, signal.Signals]] = []
        self._begun = 0.0
        self._usual_seconds = _FIRST_GUESS_SECONDS
        self._rest_until = time.monotonic() + rng.uniform(0, rest_seconds)
        self._out, self._err = (ground.folder / f"{name}.{stream}" for stream in ("out", "err"))

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def step(self, now: float, *, may_start: bool) -> None:
        """Do what is due."""
        if self._process is None:
            if may_start and now >= self._rest_until:
                self._start(now, self.prepare())
        elif self._process.poll() is not None:
            self._end(now)
        elif self._signals and now >= self._signals[0][0]:
            self._send(self._signals.pop(0)[1])

    def prepare(self) -> list[str | Path]:
        """The next command."""
        raise NotImplementedError

    def ended(self, finished: Finished) -> None:
        """It has ended by itself."""
        raise NotImplementedError

    def killed(self) -> None:
        """It was killed, as its chances allow."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it now, whatever it does: the harness gives up."""
        if self._process is not None:
            self._send(signal.SIGKILL)
            self._process.wait()

    def unexpected(self, what: str, finished: Finished) -> None:
        self._journal.find(f"{self.name}: {what} ended with {finished.code}: {story(finished)}")

    def _start(self, now: float, command: list[str | Path]) -> None:
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                self._ground.command(*command),
                env=self._ground.environment(self.name),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._begun = now
        self._signals = self._plan_signals(now)

    def _plan_signals(self, now: float) -> list[tuple[float, signal.Signals]]:
        """Any moment of a run is as likely as any other."""
        rng, chances = self._rng, self._chances
        moment = now + rng.uniform(0, 1.1 * self._usual_seconds)
        fate = rng.random()
        if fate < chances.kill:
            return [(moment, signal.SIGKILL)]
        if fate < chances.kill + chances.stop:
            return [(moment, signal.SIGSTOP), (moment + rng.uniform(1, chances.stop_seconds), signal.SIGCONT)]
        return []

    def _send(self, which: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, which)
        if which is not signal.SIGCONT:
            self._journal.counts["kills" if which is signal.SIGKILL else "stops"] += 1
        self._journal.tell(f"{self.name} {which.name}")

    def _end(self, now: float) -> None:
        assert self._process is not None
        code, self._process, seconds = self._process.returncode, None, now - self._begun
        self._rest_until = now + self._rng.uniform(0, 2 * self._rest_seconds)
        if code == -signal.SIGKILL:
            self.killed()
            return
        if len(self._signals) == 0:
            self._usual_seconds += 0.3 * (seconds - self._usual_seconds)
        self.ended(Finished(code, self._out.read_text(errors="replace"), self._err.read_text(errors="replace")))


class Host(Actor):
    """Changes its tree and backs it up. Each run has a tag of its own, by which its tree is found again, whether it was promised or not."""

    def __init__(self, name: str, ground: Ground, journal: Journal, rng: random.Random, chances: Chances, rest_seconds: float, *, files: int) -> None:
        super().__init__(name, ground, journal, rng, chances, rest_seconds)
        self.tree = HostTree(ground.folder / "trees" / name, name, rng, files=files)
        self._attempts = 0

    @property
    def _attempt(self) -> str:
        return f"{self.name}-{self._attempts}"

    def prepare(self) -> list[str | Path]:
        if self._attempts:
            self.tree.change()
        if self._rng.random() < _LOST_STATE_CHANCE:
            shutil.rmtree(self._ground.state(self.name), ignore_errors=True)
            self._journal.counts["states_lost"] += 1
        self._attempts += 1
        self._journal.counts["backups_attempted"] += 1
        self._journal.trees[self._attempt] = describe(self.tree.folder)
        return ["backup", "-v", "--tag", self._attempt, "--host-file", self._ground.host_file(self.name), self.tree.folder]

    def ended(self, finished: Finished) -> None:
        counts = self._journal.counts
        counts["backups_redone"] += finished.err.count(_REDONE)
        snapshot = _SNAPSHOT_LINE.search(finished.out)
        if finished.code == 0 and snapshot:
            counts["backups_confirmed"] += 1
            self._journal.promises.append(Promise(self.name, self._attempt, snapshot[1]))
            self._journal.tell(f"{self._attempt} promised {snapshot[1][:12]}")
        elif finished.code == 1 and _GAVE_UP in finished.err:
            counts["backups_given_up"] += 1
            self._journal.tell(f"{self._attempt} gave up")
        else:
            self.unexpected(f"backup {self._attempt}", finished)

    def killed(self) -> None:
        self._journal.counts["backups_killed"] += 1


class Maintainer(Actor):
    """Forgets and prunes, in turns, with a maintain file, and sometimes takes back what it has forgotten last; or prunes only."""

    def __init__(
        self, name: str, ground: Ground, journal: Journal, rng: random.Random, chances: Chances, rest_seconds: float, *, forgets: bool
    ) -> None:
        super().__init__(name, ground, journal, rng, chances, rest_seconds)
        self._forgets = forgets
        self._has_forgotten = False  # and is to prune next
        self._forgotten: list[str] = []  # what can be taken back
        self._verb = ""

    def prepare(self) -> list[str | Path]:
        self._verb, how = self._choose()
        self._journal.counts[f"{self._verb}s_attempted"] += 1
        return [self._verb, *how, "--json", "--maintain-file", self._ground.maintain_file]

    def _choose(self) -> tuple[str, list[str]]:
        """A verb and what it is told."""
        if self._forgotten and self._rng.random() < _UNDELETE_CHANCE:
            chosen, self._forgotten = self._rng.sample(self._forgotten, min(2, len(self._forgotten))), []
            return "undelete", chosen
        self._has_forgotten = self._forgets and not self._has_forgotten
        if self._has_forgotten:
            kept = [word for attempt in self._journal.taken_back.values() for word in ("--keep-tag", attempt)]
            return "forget", ["--keep-last", str(KEEP_LAST), *kept]
        return "prune", ["--grace", GRACE, "--allow-large", "--max-unused", self._rng.choice(("0%", "5%"))]

    def ended(self, finished: Finished) -> None:
        if self._verb == "undelete" and finished.code and any(text in finished.err for text in _TOO_LATE):
            self._journal.counts["undeletes_too_late"] += 1
        elif finished.code:
            self.unexpected(self._verb, finished)
        else:
            self._journal.counts[f"{self._verb}s_done"] += 1
            self._note(json.loads(finished.out.splitlines()[-1]))

    def _note(self, summary: dict[str, Any]) -> None:
        """What has been done."""
        counts, taken_back = self._journal.counts, self._journal.taken_back
        attempts = {promise.snapshot: promise.attempt for promise in self._journal.promises}
        if self._verb == "forget":
            counts["snapshots_forgotten"] += len(summary["forgotten"])
            self._forgotten = [snapshot for snapshot in summary["forgotten"] if snapshot in attempts]
        elif self._verb == "undelete":
            counts["snapshots_taken_back"] += len(summary["taken_back"])
            taken_back.update({snapshot: attempts[snapshot] for snapshot in summary["taken_back"]})
            self._journal.tell(f"{self.name} took back {', '.join(attempts[snapshot] for snapshot in summary['taken_back'])}")
            for snapshot in list(taken_back)[:-_TAKEN_BACK_KEPT]:
                del taken_back[snapshot]
        else:
            names = ("deleted_packs", "repacked_packs", "kept_packs", "deleted_snapshots")
            counts.update({name: summary[name] for name in names})
            self._journal.tell(f"{self.name} pruned: " + ", ".join(f"{summary[name]} {name}" for name in names))

    def killed(self) -> None:
        self._journal.counts[f"{self._verb}s_killed"] += 1


class Owner(Actor):
    """Checks everything, all the time.

    With such a grace a snapshot may be forgotten and gone before the check that has begun with it comes to it. So a check that complains is counted
    and is no violation: what is true is found out when all have stopped.
    """

    def prepare(self) -> list[str | Path]:
        return ["check", "--read-data", "--json", *self._ground.owners_secret]

    def ended(self, finished: Finished) -> None:
        if finished.code == EXIT_INTEGRITY:
            self._journal.counts["checks_alarmed"] += 1
            self._journal.tell(f"{self.name}: check: {_messages(finished.out)}")
        elif finished.code:
            self.unexpected("check", finished)
        self._journal.counts["checks_done"] += 1


class Verifier(Actor):
    """The owner again, on a machine of its own: reads some packs, all the time, and tells all hosts which are good. For its alarms the same holds."""

    def prepare(self) -> list[str | Path]:
        share = self._rng.choice(("20%", "50%", "100%"))
        recent: list[str | Path] = ["--max-age", "1h"] if self._rng.random() < 0.5 else []
        return ["check", "--read-data-subset", share, *recent, "--publish", "--json", *self._ground.owners_secret]

    def ended(self, finished: Finished) -> None:
        if finished.code not in (0, EXIT_INTEGRITY):
            self.unexpected("check --publish", finished)
            return
        self._journal.counts["verifications_done"] += 1
        self._journal.counts["verifications_alarmed"] += finished.code == EXIT_INTEGRITY
        self._journal.counts["packs_published"] += json.loads(finished.out.splitlines()[-1])["published_packs"]

    def killed(self) -> None:
        self._journal.counts["verifications_killed"] += 1


class Relocator(Actor):
    """The owner once more, on a third machine: writes the live chunks of frames anew that have many dead ones, and prunes.

    It repacks nothing: two that repack one pack at the same time leave two copies, which count as garbage in the verdict.
    """

    def prepare(self) -> list[str | Path]:
        shares = ["--max-dead", self._rng.choice(("5%", "30%")), "--max-unused", "unlimited"]
        return ["prune", "--deep", *shares, "--grace", GRACE, "--allow-large", "--json", *self._ground.owners_secret]

    def ended(self, finished: Finished) -> None:
        counts = self._journal.counts
        if finished.code == 1 and _OVERTAKEN in finished.err:
            counts["deep_prunes_overtaken"] += 1
            return
        if finished.code:
            self.unexpected("prune --deep", finished)
            return
        counts["deep_prunes_done"] += 1
        for line in map(json.loads, finished.out.splitlines()):
            if line["message_type"] == "deep":
                counts["frames_written_anew"] += line["frames"]

    def killed(self) -> None:
        self._journal.counts["deep_prunes_killed"] += 1


def story(finished: Finished) -> str:
    """What a run has to say for itself."""
    return "\n".join(filter(None, [finished.err.strip()[-_TOLD_CHARACTERS:], _messages(finished.out) or finished.out[-_TOLD_CHARACTERS:]]))


def _messages(out: str) -> str:
    """The errors among lines of JSON."""
    errors = [json.loads(line) for line in out.splitlines() if line.startswith('{"message_type":"error"')]
    return "\n".join(error["message"] for error in errors[:_TOLD_ERRORS])
