"""A repository with its hosts, its owner and its maintainers in one store, and what must hold there.

Owns the processes of actors, what has been promised (``confirmed``), and when the invariants are asked. A run adds actors with ``act``, whose bodies
call jobs: ``hosts``, ``owner`` and ``maintainers`` have them.
"""

from __future__ import annotations

import enum
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from seedcorn.errors import SeedcornError
from seedcorn.format.names import parse_numbered_key, snapshot_key
from seedcorn.format.pack import NO_SESSION
from seedcorn.ids import RepositoryId, SnapshotId
from seedcorn.ops import access
from seedcorn.ops.access import OwnerRepository, Store
from seedcorn.ops.backup.backup import BackupResult
from seedcorn.ops.browse import Browser, open_browser
from seedcorn.testing.simulation.connection import Connection, CrashPoint, Suspension
from seedcorn.testing.simulation.faults import FaultPlan, Faults, Verb
from seedcorn.testing.simulation.founding import founding
from seedcorn.testing.simulation.machines import Host, LocalState, Maintainer
from seedcorn.testing.simulation.process import Process, Purpose
from seedcorn.testing.simulation.scheduler import Actor, Crash, Scheduler
from seedcorn.testing.simulation.source import Tree
from seedcorn.testing.simulation.store import Operation, SimulatedStore
from seedcorn.testing.simulation.surroundings import seeded
from seedcorn.testing.simulation.truth import Frames, Truth, session_of_put

__all__ = ["Confirmed", "Invariant", "InvariantViolationError", "Moment", "World", "WorldOptions", "open_world", "scratch_parent"]


class InvariantViolationError(AssertionError):
    """Something has happened that must never happen."""


class Moment(enum.Enum):
    """When an invariant is asked: after each store operation (it must be cheap), after a removal of objects, when a promise is made, when
    a collector has decided what to delete, at the end of the run."""

    CONFIRMED = enum.auto()
    DECIDED = enum.auto()
    OPERATION = enum.auto()
    REMOVAL = enum.auto()
    END = enum.auto()


@dataclass(frozen=True, slots=True)
class Invariant:
    """``check`` raises InvariantViolationError. ``is_weak_too``: it is claimed of eventually consistent stores as well."""

    name: str
    moments: frozenset[Moment]
    check: Callable[[World], None]
    is_weak_too: bool = True


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A snapshot that a host has been told is safe, and what it must give back."""

    snapshot: SnapshotId
    key: str
    host: Host
    tree: Tree
    needed: Frames = field(default_factory=dict, compare=False)

    @property
    def receipt_key(self) -> str:
        return self.key.replace("snapshots/", "receipts/", 1)


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """What a world consists of. ``domains``: hosts of two dedup domains. ``wall`` chooses other wall clocks for the same run: nothing may depend on
    them."""

    seed: str
    hosts: int = 2
    maintainers: int = 2
    trust_hosts: bool = False
    domains: bool = False
    faults: Faults = field(default_factory=Faults.none)
    wall: int = 0


def scratch_parent() -> Path | None:
    """Where worlds keep their files: in memory if there is such a place, because what is synced there need not survive anything."""
    memory = Path("/dev/shm")  # noqa: S108  # the folders made in it are private
    return memory if memory.is_dir() else None


@contextmanager
def open_world(options: WorldOptions, invariants: Sequence[Invariant]) -> Iterator[World]:
    """A world whose files are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="seedcorn-world-", dir=scratch_parent()) as folder, World(Path(folder), options, invariants) as world:
        yield world


class World:
    """One run. A context manager: production code in it draws its randomness from the seed."""

    def __init__(self, folder: Path, options: WorldOptions, invariants: Sequence[Invariant]) -> None:
        self.options = options
        self.folder = folder
        self.scheduler = Scheduler(self.random("turns"), self.random(f"wall {options.wall}"))
        self.plan = FaultPlan(options.faults, self.random("faults"))
        self.store = SimulatedStore(self.scheduler, self.plan)
        self.store.after_operation = self._after_operation
        self.store.after_removal = lambda: self.ask(Moment.REMOVAL)
        self.store.on_rollback = self._on_rollback
        made = founding(trust_hosts=options.trust_hosts, domains=options.domains)
        for key, data in made.objects.items():
            self.store.contents.put(key, data)
        self.other_founding = founding(trust_hosts=not options.trust_hosts)  # of a second repository; made out here, where nothing is seeded yet
        repository = made.host_files[0].key.repository
        self.maintain_file = made.maintain_file
        self.truth = Truth(self.store.contents.objects, made.maintain_file)
        self.processes: dict[str, Process] = {}  # by actor
        self.owner_state = LocalState(folder / "owner", repository)
        names = [f"maintainer-{number + 1}" for number in range(options.maintainers)]
        self.maintainers = [Maintainer(name, folder / name, repository) for name in names]
        self.liar = Host(made.host_files[-1], folder / "liar", self.random("liar"))
        self.lies: set[str] = set()  # keys that the lying host has put without being entitled to
        self.hosts = [Host(file, folder / file.name, self.random(file.name)) for file in made.host_files[: options.hosts]]
        self.confirmed: dict[SnapshotId, Confirmed] = {}
        self.forgotten: dict[SnapshotId, Confirmed] = {}  # was promised, and a forget record has named it since
        self.written: dict[str, bytes] = {}  # what each key was put with first
        self.outcomes: Counter[str] = Counter()
        self.last_error: SeedcornError | None = None  # of the attempt that failed last
        self.crash_points: dict[str, CrashPoint] = {}  # by actor, for its next process
        self.suspensions: dict[str, Suspension] = {}  # the same
        self.calls = 0  # of the process that ended last
        self._words = made.words
        self._invariants: dict[Moment, list[Invariant]] = {moment: [] for moment in Moment}
        for invariant in invariants:
            if invariant.is_weak_too or not options.faults.is_weak:
                for moment in invariant.moments:
                    self._invariants[moment].append(invariant)
        self._seeded = seeded(self.random("bytes"))
        self._more_states: list[LocalState] = []
        self._judge_state = LocalState(folder / "judge", repository)
        self._judge: Browser | None = None
        self._judged = 0  # operations that the judge knows of
        self._folders = 0
        self.claims_end = False  # a rollback has hit a process that removes, lists anew or takes back: what it saw is not so any more
        self.torn_sessions: set[bytes] = set()  # a rollback has taken back some of what they had put, and they went on
        self.overtaken: set[str] = set()  # keys of puts that were on their way, and given up, when a rollback took away what they rest on
        self.taken_back: set[str] = set()  # keys of confirmed snapshots that a rollback has removed
        self.seen_by_owner: set[str] = set()  # keys of snapshots that the owner's state knows of

    def __enter__(self) -> World:
        self._seeded.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        states = [*(host.state for host in (*self.hosts, self.liar)), *(maintainer.state for maintainer in self.maintainers)]
        for state in (self.owner_state, self._judge_state, *states, *self._more_states):
            state.close()
        self._seeded.__exit__(None, None, None)

    def random(self, purpose: str) -> random.Random:
        """A generator of its own for each purpose, so that a choice more of one kind shifts none of another."""
        return random.Random(f"{self.options.seed}/{purpose}")

    def local_state(self, name: str, repository: RepositoryId) -> LocalState:
        """That of one machine more; closed at the end of the run."""
        self._more_states.append(LocalState(self.folder / name, repository))
        return self._more_states[-1]

    def new_folder(self, name: str) -> Path:
        """A path that nobody has used in this run."""
        self._folders += 1
        return self.folder / f"{name}-{self._folders}"

    # -- running -----------------------------------------------------------------------------------------------------------------------------------

    def lose_owner_state(self) -> None:
        """The owner goes on with a machine that has never seen the repository."""
        self.owner_state.lose()
        self.seen_by_owner.clear()

    def act(self, name: str, body: Callable[[Actor], None]) -> None:
        """One more actor of the next ``run``."""
        self.scheduler.add(name, body)

    def run(self) -> None:
        """Let all actors run to their ends.

        Raises:
            InvariantViolationError: and the run is over.
        """
        self.scheduler.run()

    def end(self) -> None:
        """Ask what must hold at the end."""
        self.ask(Moment.END)

    @contextmanager
    def process(self, actor: Actor, state: LocalState, purpose: Purpose) -> Iterator[Connection]:
        """A process of ``actor`` from its start to its end, and its way to the store.

        Raises:
            Crash: it has been killed.
        """
        crash, suspension = self.crash_points.pop(actor.name, None), self.suspensions.pop(actor.name, None)
        connection = Connection(self.store, actor, crash=crash, suspension=suspension)
        self.processes[actor.name] = Process(purpose, connection)
        try:
            yield connection
            connection.finish()
        except Crash:
            state.close()
            raise
        finally:
            self.calls = connection.calls
            del self.processes[actor.name]

    def attempt(self, what: str, job: Callable[[], object]) -> bool:
        """Run a job and note what came of it; whether it ended. Failures that the program reports are no violations; anything else is.

        Raises:
            Crash: the process has been killed.
        """
        try:
            job()
        except SeedcornError as error:
            self.outcomes[f"{what}: {type(error).__name__}"] += 1
            self.last_error = error
            return False
        except Crash:
            self.outcomes[f"{what}: crash"] += 1
            raise
        self.outcomes[f"{what}: done"] += 1
        return True

    def owner(self, store: Store) -> OwnerRepository:
        """The repository as its owner opens it, through a connection or on what the store really holds."""
        return access.open_owner_with_words(store, self._words)

    # -- promises ------------------------------------------------------------------------------------------------------------------------------------

    def promise(self, host: Host, result: BackupResult, tree: Tree, process: Process) -> None:
        """A process has told its host that ``tree`` is safe.

        Raises:
            InvariantViolationError: it is not.
        """
        assert result.snapshot is not None
        key = snapshot_key(host.host_file.key.host, result.seq, result.snapshot)
        if key not in process.connection.acknowledged:
            raise InvariantViolationError(f"I2: {host.name} reported snapshot {result.seq} as done, and the store never said that it had it")
        if process.is_rolled_back or self.claims_end:
            return
        if key not in self.store.contents.objects:
            raise InvariantViolationError(f"I1: {key} is gone before it was confirmed")
        confirmed = Confirmed(result.snapshot, key, host, tree, self.truth.needed_by(key))
        if self.torn_sessions.isdisjoint(confirmed.needed):
            is_forgotten = result.snapshot in self.truth.forgotten()
            (self.forgotten if is_forgotten else self.confirmed)[result.snapshot] = confirmed
            self.ask(Moment.CONFIRMED)

    def _end_promises(self, forgotten: Collection[SnapshotId]) -> None:
        for snapshot in forgotten:
            if snapshot in self.confirmed:
                self.forgotten[snapshot] = self.confirmed.pop(snapshot)

    def promise_again(self, snapshots: Iterable[SnapshotId]) -> None:
        """Somebody has been told that these are taken back."""
        forgotten = self.truth.forgotten()
        for snapshot in snapshots:
            if snapshot in self.forgotten and snapshot not in forgotten and not self.claims_end:
                self.confirmed[snapshot] = self.forgotten.pop(snapshot)
        self.ask(Moment.CONFIRMED)

    def end_promises_after(self, host: Host, last_seq: int) -> None:
        """The owner has revoked a host, of which nothing counts any more after this number."""
        for snapshot, confirmed in [*self.confirmed.items(), *self.forgotten.items()]:
            name = parse_numbered_key(confirmed.key)
            if confirmed.host is host and name is not None and name.number > last_seq:
                self.confirmed.pop(snapshot, None)
                self.forgotten.pop(snapshot, None)

    def _on_rollback(self, gone: frozenset[str]) -> None:
        """What the provider takes back is no promise any more; what was whole before still is, unless somebody was about to remove or rewrite."""
        self.truth.follow_rollback(gone)
        self.taken_back |= {confirmed.key for confirmed in self.confirmed.values()} & gone
        for snapshot, confirmed in [*self.confirmed.items(), *self.forgotten.items()]:
            if confirmed.key in gone or confirmed.receipt_key in gone:
                self.confirmed.pop(snapshot, None)
                self.forgotten.pop(snapshot, None)
        self._end_promises(self.truth.forgotten())
        for process in self.processes.values():
            process.is_rolled_back = True
            self.claims_end |= process.purpose.writes and process.purpose.name != "backup"
            for operation in process.log:
                self._tear(operation.key, operation.content)
        for key, content in self.store.late_puts:
            self.overtaken.add(key)
            self._tear(key, content)
        if self.claims_end:
            self.confirmed.clear()
            self.forgotten.clear()

    def _tear(self, key: str, content: bytes | None) -> None:
        """Others may rely on the session of this put, of which something has been taken back while the rest was still to come."""
        session = session_of_put(key, content) if content is not None else None
        if session is not None:
            self.torn_sessions.add(session)
            self.claims_end |= session == NO_SESSION

    # -- judging -----------------------------------------------------------------------------------------------------------------------------------

    def judge(self) -> Browser:
        """What an owner with a fresh machine sees of what the store really holds now, without a step of the run."""
        if self._judged != len(self.store.log) or self._judge is None:
            if self._judge is not None:
                self._judge_state.lose()
            self._judge = open_browser(self.owner(self.store.contents), self._judge_state.opened)
            self._judged = len(self.store.log)
        return self._judge

    def _after_operation(self, operation: Operation) -> None:
        process = self.processes.get(operation.actor)
        if process is not None:
            process.log.append(operation)
            if operation.key == "gc/" and process.begins_listing("gc/"):
                process.bases.append((len(process.log), self.truth.dead()))
        self.truth.follow(operation)
        self.outcomes["snapshots taken back by their hosts"] += operation.verb is Verb.PUT and operation.is_done and operation.key.endswith(".void")
        if operation.verb is Verb.PUT and operation.key.startswith("forget/"):
            self._end_promises(self.truth.forgotten())
        self.ask(Moment.OPERATION)

    def ask(self, moment: Moment) -> None:
        """Let the invariants of this moment look."""
        for invariant in self._invariants[moment]:
            invariant.check(self)
