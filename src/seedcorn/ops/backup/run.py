"""One attempt at a backup, from the list of collections to the confirmed snapshot.

Invariant: ``commit`` returns a result only for a confirmed snapshot: it and its receipt are in the store, and the sweeps listed after that leave
all that the snapshot needs. docs/format.md, "Order of writing and reading".
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import msgspec

from seedcorn.errors import EXIT_DONE, EXIT_INTEGRITY, EXIT_SOURCE_ERRORS, CredentialError, IntegrityError, SeedcornError, SourceError, UsageError
from seedcorn.events import Clock, Monitor
from seedcorn.format.codec import NUMBER_LIMIT
from seedcorn.format.collection import CheckpointMaintain, SnapshotRef
from seedcorn.format.names import LAST_NUMBER, pack_key
from seedcorn.format.pack import PackKind
from seedcorn.format.snapshot import Head, SnapshotMaintain, SnapshotOwner, SnapshotPublic, Statistics
from seedcorn.format.tree import Node
from seedcorn.fs.owners import group_names, user_names
from seedcorn.ids import HostId, SessionId, SnapshotId
from seedcorn.ops.backup.commit import is_torn, read_base
from seedcorn.ops.backup.entries import Tally
from seedcorn.repo.content.writer import Writer, WriterOptions
from seedcorn.repo.hosts import HostRegistry, load_registry
from seedcorn.repo.index import is_out_of_date, shares_index, sync_state
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.roots.chains import check_rollback, list_heads, remember_heads, remembered_heads, witnessed
from seedcorn.repo.roots.checkpoints import build_checkpoint
from seedcorn.repo.roots.collections import Pack
from seedcorn.repo.roots.needed import needed_frames
from seedcorn.repo.roots.receipts import build_receipt
from seedcorn.repo.roots.snapshots import build_snapshot, group_of
from seedcorn.repo.roots.verified import read_verified
from seedcorn.repo.state.state import FrameSet, State
from seedcorn.store.api import Requests
from seedcorn.version import PROGRAM

__all__ = ["ATTEMPTS", "ERRORS_LIMIT", "BackupOptions", "BackupResult", "BackupRun"]

ATTEMPTS = 5  # each loses to a collection that began after it; a collection takes what is old, and each attempt stores anew what was taken
ERRORS_LIMIT = 10_000
_CHECKPOINT_SECONDS = 30 * 60
_OWNERS = "owners"
_LOST = "lost-packs"


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What is to be backed up and how. Patterns are those of docs/guide; ``host_name`` is what snapshots call this machine.

    Raises:
        UsageError: the host's name, or a tag, is not UTF-8: snapshots hold them as text.
    """

    host_name: str
    excludes: tuple[str, ...] = ()
    exclude_caches: bool = False
    one_file_system: bool = False
    force: bool = False
    dry_run: bool = False  # keep nothing in the state; the store has to be one that makes no puts
    tags: tuple[str, ...] = ()
    writer: WriterOptions = field(default_factory=WriterOptions)

    def __post_init__(self) -> None:
        for what, text in ("host name", self.host_name), *(("tag", tag) for tag in self.tags):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise UsageError(f"{what} {text!r}: is not UTF-8, and a snapshot holds it as text: give another one") from error


@dataclass(frozen=True, slots=True)
class BackupResult:
    """What came of it. ``snapshot`` is None after a dry run; sizes in bytes, times in nanoseconds; ``requests`` without those that opened the
    repository."""

    snapshot: SnapshotId | None
    seq: int
    statistics: Statistics
    start_ns: int
    end_ns: int
    elapsed_ns: int
    requests: Requests
    errors: tuple[SourceError, ...]
    problems: tuple[IntegrityError, ...]

    @property
    def exit_code(self) -> int:
        if self.problems:
            return EXIT_INTEGRITY
        return EXIT_SOURCE_ERRORS if self.errors else EXIT_DONE


class BackupRun:
    """One backup from opening the index to the commit."""

    def __init__(
        self, repository: HostRepository, state: State, paths: Sequence[bytes], options: BackupOptions, clock: Clock, monitor: Monitor
    ) -> None:
        self._paths = paths
        self._repository = repository
        self._state = state
        self._options = options
        self._clock = clock
        self._monitor = monitor
        state.discard_writes = options.dry_run
        self._begun_ns = clock.elapsed_ns()
        self._requests_before = dataclasses.replace(repository.store.requests)
        self.start_ns = clock.now_ns()
        self._base = read_base(repository, state)
        self._registry = _check_enrolled(repository, state)
        self.problems = list(self._registry.problems)
        self._load_index()
        remembered = remembered_heads(state)
        self._heads = list_heads(repository.store, remembered)
        self.problems += check_rollback(remembered, self._heads)
        for problem in self.problems:
            monitor.error(problem)
        # A dry run's packs never reach the index, so its chunks are only known as long as no checkpoint hands them over.
        writing = (
            dataclasses.replace(options.writer, checkpoint_packs=sys.maxsize, checkpoint_seconds=sys.maxsize) if options.dry_run else options.writer
        )
        self.writer = Writer(repository, state, writing, clock, monitor)
        self._group = group_of(repository.repository, options.host_name, paths)
        self._checkpoint_ns = self._begun_ns
        self._checkpoints = 0

    def _load_index(self) -> None:
        """H1. What may be relied on: what this host (under ``trust-hosts`` anybody) has stored, and, once something is missing, what is verified."""
        repository, state = self._repository, self._state
        only = None if repository.header.trust_hosts else repository.host
        for problem in sync_state(repository.store, state, repository.repository, repository.key.index_key, self._registry, only=only):
            self._add_index_problem(problem)
        if only is not None:
            state.trust_only(only)
        self._base = dataclasses.replace(self._base, packs=self._base.packs | self._lost_packs(only))
        state.avoid(self._base.packs)
        if only is not None:
            if is_out_of_date(repository.store, state, only, repository.key.secrets.domain):  # what earlier runs have left may rely on what is gone
                self._note(self._load_others())
            if shares_index(state, only, repository.key.secrets.domain):  # ... or on what is only said to be there
                self._note(self._trust_verified(load=False))
            state.before_first_miss(self._load_verified)

    def _load_verified(self) -> None:
        """Bring in what other hosts have stored and the owner has verified. Only when something is new: most runs need nothing of it."""
        self._note(self._trust_verified(load=True))

    def _trust_verified(self, *, load: bool) -> list[IntegrityError]:
        repository, state = self._repository, self._state
        store, public = repository.store, repository.key.public
        verified = read_verified(store, state, repository.repository, public)
        problems = list(verified.problems)
        if verified.digests:
            problems += self._load_others() if load else []
            state.trust_only(repository.host, lambda pack: verified.believes(pack.host, pack.pack, pack.digest))
        return problems

    def _load_others(self) -> list[IntegrityError]:
        """Bring the index of all hosts up to date."""
        repository, state = self._repository, self._state
        everybody = load_registry(repository.store, repository.repository, repository.key.public, state=state)
        problems = sync_state(repository.store, state, repository.repository, repository.key.index_key, everybody, only=None)
        state.avoid(self._base.packs)
        return problems

    def _add_index_problem(self, problem: IntegrityError) -> None:
        if problem.object_name.startswith(f"index/{self._repository.host.hex()}/"):
            self.problems.append(problem)
        else:
            self._note([problem])

    def _note(self, problems: Iterable[IntegrityError]) -> None:
        """Of objects of others: this backup is whole without them."""
        for problem in problems:
            self._monitor.note(f"{problem}: what it lists can not be reused")

    def _lost_packs(self, only: HostId | None) -> set[Pack]:
        """What the store lacked when it was last looked for, which is done with ``force``: nothing is believed then, not even that what the index
        lists is there, and what lost packs held is stored again. The index goes on listing them: one listing is no proof, and others who use this
        state decide by it what nobody needs."""
        packed = self._state.fact(_LOST)
        lost = set(msgspec.msgpack.decode(packed, type=list[Pack])) if packed else set()
        if not self._options.force:
            return lost
        prefix = f"packs/{only.hex()}/" if only else "packs/"
        indexed = {(record.host, record.pack) for record in self._state.packs()}  # before the listing: another process here may be adding packs
        present = {info.key for info in self._repository.store.list(prefix)}
        found = {(host, pack) for host, pack in indexed if (only is None or host == only) and pack_key(host, pack) not in present}
        if found:
            self._monitor.note(
                f"{len(found)} packs that the index lists are missing from the store: what the sources still have of them is stored again"
            )
        if found != lost:
            self._state.remember(_LOST, msgspec.msgpack.encode(sorted(found)))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            with suppress(SeedcornError):  # so that the next run need not send the finished packs again
                self.writer.checkpoint()
        self.writer.close()
        self._state.discard_writes = False

    def heartbeat(self, frames: FrameSet) -> None:
        """To be called often. Every half hour, what has been stored and ``frames`` are put down as needed, so that a collection keeps them."""
        now_ns = self._clock.elapsed_ns()
        if now_ns - self._checkpoint_ns < _CHECKPOINT_SECONDS * 10**9 or self._options.dry_run:
            return
        self._checkpoint_ns = now_ns
        self._checkpoints += 1
        self.writer.checkpoint()
        needed = needed_frames(frames | self.writer.indexed_frames, self._session_of)
        maintain = CheckpointMaintain(self._clock.now_ns(), self._group, needed)
        self.writer.put(*build_checkpoint(self._repository, self.writer.session, self._checkpoints, maintain))

    def commit(self, root: Node, frames: FrameSet, tally: Tally, *, source: str) -> BackupResult | None:
        """Finish the writer, put the snapshot and confirm it. None if it was torn: it is void now."""
        self.writer.finish()
        statistics = _statistics(tally, self.writer, self._requests().put_bytes)
        end_ns = self._clock.now_ns()
        users, groups = self._owner_names(tally)
        owner = SnapshotOwner(
            host_name=self._options.host_name,
            paths=tuple(self._paths),
            tags=self._options.tags,
            root=root,
            start_ns=self.start_ns,
            end_ns=end_ns,
            statistics=statistics,
            errors=tuple((error.path, error.message) for error in tally.errors[:ERRORS_LIMIT]),
            error_count=len(tally.errors),
            excludes=tuple(pattern.encode(errors="backslashreplace").decode() for pattern in self._options.excludes),
            program=PROGRAM,
            users=users,
            groups=groups,
            source=source,
        )
        committed = self.commit_snapshot(owner, frames)
        if committed is None:
            return None
        snapshot, seq = committed
        requests = self._requests()
        return BackupResult(
            snapshot=None if self._options.dry_run else snapshot,
            seq=seq,
            statistics=msgspec.structs.replace(statistics, total_destination_size_change=requests.put_bytes),
            start_ns=self.start_ns,
            end_ns=self._clock.now_ns(),
            elapsed_ns=self._clock.elapsed_ns() - self._begun_ns,
            requests=requests,
            errors=tuple(tally.errors),
            problems=tuple(self.problems),
        )

    def commit_snapshot(self, owner: SnapshotOwner, frames: FrameSet) -> tuple[SnapshotId, int] | None:
        """Put a snapshot and confirm it, once the writer is finished: its id and number. None if it was torn: it is void now."""
        snapshot, seq = self._put_snapshot(owner, frames)
        if not self._options.dry_run and not self._confirm(snapshot, seq, frames):
            return None
        return snapshot, seq

    def _put_snapshot(self, owner: SnapshotOwner, frames: FrameSet) -> tuple[SnapshotId, int]:
        repository, state = self._repository, self._state
        with state.locked():  # two runs on one machine must not take the same number
            newest = _newest(self._heads.get(repository.host), remembered_heads(state).get(repository.host))
            seq = newest.seq + 1 if newest else 1
            if seq > LAST_NUMBER:
                raise SeedcornError(
                    f"host {repository.host_name} has a snapshot numbered {LAST_NUMBER}, the last that there is: somebody has put it there. "
                    "Ask the owner to revoke this host and to enrol it anew"
                )
            public = SnapshotPublic(
                repository.repository, repository.host, seq, newest.snapshot if newest else b"", self.writer.session, repository.key.secrets.domain
            )
            maintain = SnapshotMaintain(
                time_ns=owner.start_ns,
                group=self._group,
                tags=owner.tags,
                complete=owner.error_count == 0,
                needed=needed_frames(frames, self._session_of),
                heads=witnessed(self._heads, repository.host),
            )
            key, snapshot, data = build_snapshot(repository, public, maintain, owner)
            self.writer.put(key, data)
            if not self._options.dry_run:
                remember_heads(state, self._heads | {repository.host: Head(repository.host, seq, snapshot)})
        return snapshot, seq

    def _confirm(self, snapshot: SnapshotId, seq: int, frames: FrameSet) -> bool:
        """H6 and H7. Whether the snapshot is whole; if not, it is declared void."""
        self.writer.put(*build_receipt(self._repository, seq, snapshot))
        if is_torn(self._repository, self._state, self._base, SnapshotRef(self._repository.host, seq, snapshot), frames):
            self.writer.put(*build_receipt(self._repository, seq, snapshot, void=True))
            return False
        self._state.complete_session(self.writer.session_number)
        return True

    def _requests(self) -> Requests:
        """The requests of this run so far."""
        return self._repository.store.requests.since(self._requests_before)

    def _session_of(self, number: int) -> SessionId:
        return self.writer.session if number == self.writer.session_number else self._state.session(number).session

    def _owner_names(self, tally: Tally) -> tuple[dict[int, str], dict[int, str]]:
        """Names for the owners met now and in the runs whose listings are still in use."""
        packed = self._state.fact(_OWNERS)
        users, groups = msgspec.msgpack.decode(packed, type=tuple[dict[int, str], dict[int, str]]) if packed else ({}, {})
        found = users | user_names(tally.users), groups | group_names(tally.groups)
        if found != (users, groups):
            self._state.remember(_OWNERS, msgspec.msgpack.encode(found))
        return found


def _check_enrolled(repository: HostRepository, state: State) -> HostRegistry:
    """Whose segments may be believed; and a host that the owner has revoked or moved learns of it here."""
    key = repository.key
    if repository.header.trust_hosts:
        registry = load_registry(repository.store, repository.repository, key.public, state=state)
    else:
        registry = load_registry(repository.store, repository.repository, key.public, state=state, only=repository.host)
    damaged = [problem for problem in registry.problems if problem.object_name.startswith(f"hosts/{repository.host.hex()}/")]
    if damaged:
        raise damaged[0]
    own = registry.hosts.get(repository.host)
    if own is None:
        raise SeedcornError(
            f"host {repository.host_name} is not enrolled in {repository.store.url}: its record is missing from the store. The owner puts "
            f"hosts/{repository.host.hex()}/ back from a copy, or enrols this machine anew with `seedcorn host add`"
        )
    if own.revoked:
        raise SeedcornError(f"host {repository.host_name} has been revoked in {repository.store.url}: ask the owner for a new host file")
    if own.public.sign_public != key.sign_public:
        raise CredentialError(
            f"the owner has given host {repository.host_name} another host file, for domain {own.domain}: bring the file that `seedcorn host move` "
            "wrote, and run `seedcorn host install FILE`; the one in use is refused"
        )
    return registry


def _newest(*heads: Head | None) -> Head | None:
    return max((head for head in heads if head is not None), key=lambda head: head.seq, default=None)


def _statistics(tally: Tally, writer: Writer, put_bytes: int) -> Statistics:
    """What the snapshot says of itself. Three files made of a hole can be larger together than any number in it."""
    return Statistics(
        source_files=tally.source_files,
        source_file_size=min(tally.source_file_size, NUMBER_LIMIT),
        new_files=tally.new_files,
        new_file_size=min(tally.new_file_size, NUMBER_LIMIT),
        deleted_files=tally.deleted_files,
        changed_files=tally.changed_files,
        changed_file_size=min(tally.changed_file_size, NUMBER_LIMIT),
        changed_delta_size=tally.changed_delta_size,
        delta_entries=tally.new_files + tally.changed_files + tally.deleted_files,
        raw_delta_size=writer.new_data_bytes,
        total_destination_size_change=put_bytes,
        errors=len(tally.errors),
        read_bytes=tally.read_bytes,
        deduplicated_bytes=tally.deduplicated_bytes,
        listing_bytes=writer.new_listing_bytes,
        data_packs=writer.packs[PackKind.DATA],
        listing_packs=writer.packs[PackKind.LISTING],
    )
