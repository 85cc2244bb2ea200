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

from tests.chaos.ground import Finished, Ground
from tests.chaos.trees import HostTree

from seedcorn.errors import EXIT_INTEGRITY
from seedcorn.testing.trees import Entry, describe

__all__ = ["Actor", "Chances", "Host", "Journal", "Maintainer", "Owner", "Promise", "Tree", "story"]

Tree = dict[bytes, Entry]

GRACE = "5s"
KEEP_LAST = 2
_FIRST_GUESS_SECONDS = 2.0  # how long a run takes, before any has ended
_LOST_STATE_CHANCE = 0.03
_TOLD_CHARACTERS, _TOLD_ERRORS = 1500, 20
_SNAPSHOT_LINE = re.compile(r"^Snapshot +([0-9a-f]{64})$", re.MULTILINE)
_REDONE = "a collection has removed data that this backup was about to reuse"
_GAVE_UP = "times a collection has removed what this backup relied on"

_COUNTED = (
    "backups_attempted", "backups_confirmed", "backups_killed", "backups_redone", "backups_given_up", "states_lost",
    "forgets_attempted", "forgets_done", "forgets_killed", "snapshots_forgotten",
    "prunes_attempted", "prunes_done", "prunes_killed", "deleted_packs", "repacked_packs", "kept_packs", "deleted_snapshots",
    "checks_done", "checks_alarmed", "kills", "stops",
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
    """Forgets and prunes, in turns, with a maintain file; or prunes only."""

    def __init__(
        self, name: str, ground: Ground, journal: Journal, rng: random.Random, chances: Chances, rest_seconds: float, *, forgets: bool
    ) -> None:
        super().__init__(name, ground, journal, rng, chances, rest_seconds)
        self._forgets = forgets
        self._verb = "prune"

    def prepare(self) -> list[str | Path]:
        self._verb = "forget" if self._forgets and self._verb == "prune" else "prune"
        self._journal.counts[f"{self._verb}s_attempted"] += 1
        unused = self._rng.choice(("0%", "5%"))
        how = ["--keep-last", str(KEEP_LAST)] if self._verb == "forget" else ["--grace", GRACE, "--allow-large", "--max-unused", unused]
        return [self._verb, *how, "--json", "--maintain-file", self._ground.maintain_file]

    def ended(self, finished: Finished) -> None:
        if finished.code:
            self.unexpected(self._verb, finished)
            return
        counts, summary = self._journal.counts, json.loads(finished.out.splitlines()[-1])
        if self._verb == "forget":
            counts["forgets_done"] += 1
            counts["snapshots_forgotten"] += len(summary["forgotten"])
            return
        counts["prunes_done"] += 1
        names = ("deleted_packs", "repacked_packs", "kept_packs", "deleted_snapshots")
        counts.update({name: summary[name] for name in names})
        self._journal.tell(f"{self.name} pruned: " + ", ".join(f"{summary[name]} {name}" for name in names))

    def killed(self) -> None:
        self._journal.counts[f"{self._verb}s_killed"] += 1


class Owner(Actor):
    """Checks, all the time.

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


def story(finished: Finished) -> str:
    """What a run has to say for itself."""
    return "\n".join(filter(None, [finished.err.strip()[-_TOLD_CHARACTERS:], _messages(finished.out) or finished.out[-_TOLD_CHARACTERS:]]))


def _messages(out: str) -> str:
    """The errors among lines of JSON."""
    errors = [json.loads(line) for line in out.splitlines() if line.startswith('{"message_type":"error"')]
    return "\n".join(error["message"] for error in errors[:_TOLD_ERRORS])
