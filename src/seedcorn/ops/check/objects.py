"""The objects that say what is where: header, key slots, host records, index segments, snapshots. Read from the store anew, whatever the local state
has kept, because the question is whether the store would serve a machine that has nothing.

docs/format.md, sections "Header" to "Host record", "Index segment" and "Snapshot".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from seedcorn.crypto import primitives
from seedcorn.errors import IntegrityError, ObjectNotFoundError, RepositoryNotFoundError
from seedcorn.format.codec import Magic
from seedcorn.format.header import HEADER_KEY
from seedcorn.format.names import pack_key, parse_numbered_key
from seedcorn.format.pack import PackEntry, SegmentPublic
from seedcorn.ids import HostId, PackId, SnapshotId
from seedcorn.ops.browse import Browser, Standing
from seedcorn.ops.check.findings import Findings
from seedcorn.ops.parallel import work_ahead
from seedcorn.repo.hosts import HostRegistry, load_registry
from seedcorn.repo.index import OpenedSegment, open_segment
from seedcorn.repo.keyslots import read_slots
from seedcorn.repo.packs import entries_digest, plausible_sizes
from seedcorn.repo.records import fetch_spare
from seedcorn.repo.repository import read_header
from seedcorn.repo.roots.standings import way_out

__all__ = ["IndexedPack", "IndexedPacks", "ObjectCheck"]

_GIVEN_UP = (Standing.FORGOTTEN, Standing.EXPIRED)  # a machine that has never read such a one does not miss it either


@dataclass(frozen=True, slots=True)
class PackListing:
    """What a segment says of a pack: enough to recognise it, little enough to keep for all."""

    digest: bytes
    frame_count: int
    sizes: range  # plausible lengths of the pack in bytes


@dataclass(frozen=True, slots=True)
class IndexedPack:
    """A pack, and each way in which segments list it. There is one way, unless whoever has the host's key lies."""

    host: HostId
    pack: PackId
    listings: tuple[PackListing, ...]

    @property
    def key(self) -> str:
        return pack_key(self.host, self.pack)

    @property
    def frame_count(self) -> int:
        return max(listing.frame_count for listing in self.listings)

    @property
    def is_disputed(self) -> bool:
        return len(self.listings) > 1

    def listed_as(self, digest: bytes) -> bool:
        """Whether a segment says just that of it."""
        return any(listing.digest == digest for listing in self.listings)

    def may_be_of(self, size_bytes: int) -> bool:
        """Whether the pack may have this length, by what any segment says."""
        return any(size_bytes in listing.sizes for listing in self.listings)


@dataclass(frozen=True, slots=True)
class IndexedPacks:
    """Every pack that a good segment lists, by store key; the segments that list it; and the segments of which nothing can be believed."""

    packs: dict[str, IndexedPack] = field(default_factory=dict)
    listed_in: dict[str, list[str]] = field(default_factory=dict)
    good: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)

    def add(self, segment_key: str, host: HostId, pack: PackId, listing: PackListing) -> None:
        """A good segment lists a pack."""
        key = pack_key(host, pack)
        known = self.packs.get(key)
        if known is None:
            self.packs[key] = IndexedPack(host, pack, (listing,))
        elif not known.listed_as(listing.digest):
            self.packs[key] = IndexedPack(host, pack, (*known.listings, listing))
        self.listed_in.setdefault(key, []).append(segment_key)


class ObjectCheck:
    """Checks them kind by kind. Each method goes on after a damaged object."""

    def __init__(self, browser: Browser, findings: Findings, connections: int) -> None:
        self._repository = browser.repository
        self._store = browser.repository.store
        self._browser = browser
        self._findings = findings
        self._connections = connections

    def header(self) -> None:
        try:
            signed = read_header(self._store)
            signed.verify(self._repository.key.public)
        except IntegrityError as error:
            self._findings.problem(error.named(HEADER_KEY))
        except RepositoryNotFoundError:
            self._findings.problem(IntegrityError("is missing from the store", object_name=HEADER_KEY))
        else:
            self._findings.checked(len(signed.payload))

    def key_slots(self) -> None:
        """Their form only: what is sealed in them opens to their passphrases alone."""
        listed = list(self._store.list("keys/"))
        for problem in read_slots(self._store, self._repository.repository, self._repository.key.public.owner_sign, listed=listed)[1]:
            self._findings.problem(problem)
        if not listed:
            self._findings.problem(IntegrityError("holds no key slot: only the recovery words can open this repository", object_name="keys/"))
        for info in listed:
            self._findings.checked(info.size_bytes)

    def hosts(self) -> HostRegistry:
        """Every host whose records are good; the browser has just listed them."""
        owner = self._repository
        registry = load_registry(self._store, owner.repository, owner.key.public, reader=owner, listed=self._browser.hosts.listed)
        for problem in registry.problems:
            self._findings.problem(problem)
        for info in registry.listed:
            self._findings.checked(info.size_bytes)
        return registry

    def snapshots(self) -> None:
        """That the store still has, byte for byte, every snapshot that the history was read from and nobody has given up."""
        names = {snapshot.key: snapshot.id for snapshot in self._browser.all_snapshots if snapshot.standing not in _GIVEN_UP}
        for key, data in self._fetch(names):
            if data is None:
                self._is_missing(key)
                continue
            if primitives.object_hash(data) != names[key] and not self._has_spare(key, names[key]):  # what this machine has kept is good
                self._findings.problem(IntegrityError(f"its bytes do not match the hash in its name; {way_out(key)}", object_name=key))
            self._findings.checked(len(data))

    def _has_spare(self, key: str, snapshot: SnapshotId) -> bool:
        spare = fetch_spare(self._store, key, Magic.SNAPSHOT)
        return spare is not None and primitives.object_hash(spare) == snapshot

    def segments(self, registry: HostRegistry) -> IndexedPacks:
        """The browser has just listed them: what is good it has loaded, what is not is among its problems."""
        index = IndexedPacks()
        named = {problem.object_name for problem in self._browser.problems}
        index.damaged.update(key for key in named if key.startswith("index/") and parse_numbered_key(key))
        loaded = self._browser.state.segments()
        gone = self._open_segments(loaded, registry, index)
        if gone:
            fresh = {info.key for info in self._store.list("index/") if parse_numbered_key(info.key)} - loaded - index.damaged
            gone = (
                self._open_segments(fresh, registry, index) if fresh else gone
            )  # if there are new ones, a maintainer has put them in the place of others
        for key in sorted(gone):
            self._is_missing(key)
        return index

    def _open_segments(self, keys: Iterable[str], registry: HostRegistry, index: IndexedPacks) -> set[str]:
        """Take what they list into ``index``; the keys of those that are not there."""
        gone: set[str] = set()
        for key, data in self._fetch(sorted(keys)):
            if data is None:
                gone.add(key)
                continue
            try:
                opened = self._open_segment(key, data, registry)
                for entry in opened.packs:
                    index.add(key, HostId(opened.public.host), PackId(entry.pack), _listing(opened.public, entry))
                index.good.add(key)
            except IntegrityError as error:
                self._findings.problem(error.named(key))
                index.damaged.add(key)
            self._findings.checked(len(data))
        return gone

    def _open_segment(self, key: str, data: bytes, registry: HostRegistry) -> OpenedSegment:
        name = parse_numbered_key(key)
        assert name is not None
        return open_segment(data, name, self._repository.repository, self._repository.key.index_key, registry)

    def _fetch(self, keys: Iterable[str]) -> Iterable[tuple[str, bytes | None]]:
        """Each object with its bytes, None if it is gone."""

        def fetch(key: str) -> tuple[str, bytes | None]:
            try:
                return key, self._store.get(key)
            except ObjectNotFoundError:
                return key, None

        return work_ahead(fetch, keys, threads=self._connections)

    def _is_missing(self, key: str) -> None:
        self._findings.problem(IntegrityError("is missing from the store", object_name=key))


def _listing(public: SegmentPublic, entry: PackEntry) -> PackListing:
    return PackListing(entries_digest(public.domain, entry.kind, entry.frames, public.key_rows), len(entry.frames), plausible_sizes(entry.frames))
