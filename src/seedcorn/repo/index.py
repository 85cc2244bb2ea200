"""Index segments: sealing and putting one, opening one, and bringing the local state up to date with those in the store.

docs/format.md, section "Index segment". Invariants: a segment gets into the state only verified: hash, signature of its host or of a maintainer,
sessions of its host alone, seal, shape; and one whose domain's key is not at hand is never taken for one that lists nothing: the state remembers
that it was not opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from seedcorn import compression
from seedcorn.crypto import primitives
from seedcorn.crypto.frames import Sealer
from seedcorn.errors import AlteredError, CredentialError, ForeignSessionError, IntegrityError, ObjectNotFoundError
from seedcorn.format.codec import SUITE, Envelope, Magic, decode, encode
from seedcorn.format.names import NumberedKey, following_number, parse_numbered_key, segment_key
from seedcorn.format.pack import KeyRow, PackEntry, SegmentPublic, check_frames, check_sessions
from seedcorn.ids import OBJECT_ID_BYTES, HostId, RepositoryId, SegmentId, SessionId, belongs_to
from seedcorn.repo.bindings import segment_binding
from seedcorn.repo.hosts import HostRegistry
from seedcorn.repo.records import seal_envelope
from seedcorn.repo.repository import HostRepository
from seedcorn.repo.state.state import State
from seedcorn.store.api import ObjectInfo, Store

__all__ = [
    "IndexKey",
    "OpenedSegment",
    "VerifiedSegment",
    "build_segment",
    "is_out_of_date",
    "next_segment_number",
    "open_segment",
    "seal_segment",
    "shares_index",
    "sync_state",
    "verify_segment",
]

IndexKey = Callable[[int], bytes | None]  # of a domain; None if that domain is not one's own, and so its chunks are of no use

SEGMENT_RAW_LIMIT_BYTES = 128 << 20  # four and a half times that when decoded; a host writes 20 MiB at most, and a few that compress well are small
_LISTING_TRIES = 20  # each of them loads all that is still there, so that the next has only what is newer


class OpenedSegment:
    """A verified segment, and what it lists."""

    __slots__ = ("packs", "public")

    def __init__(self, public: SegmentPublic, packs: list[PackEntry]) -> None:
        self.public = public
        self.packs = packs


def build_segment(repository: HostRepository, session: SessionId, number: int, row: KeyRow, packs: Sequence[PackEntry]) -> tuple[str, bytes]:
    """(store key, bytes) of a signed segment that lists ``packs``."""
    secrets = repository.key.secrets
    public = SegmentPublic(repository.repository, repository.host, session, number, secrets.domain, tuple(entry.pack for entry in packs), (row,))
    return seal_segment(public, packs, secrets.index_key, repository.key.sign)


def seal_segment(public: SegmentPublic, packs: Sequence[PackEntry], index_key: bytes, sign: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    """(store key, bytes) of a segment, signed by a host or a maintainer.

    Raises:
        IntegrityError: it would be longer than anybody reads.
    """
    public_part, entries = encode(public), encode(list(packs))
    if len(entries) > SEGMENT_RAW_LIMIT_BYTES:
        raise IntegrityError(f"a segment of {len(entries)} bytes is not put: nobody would read more than {SEGMENT_RAW_LIMIT_BYTES}")
    sealed = Sealer(index_key, "segment").seal(compression.compress(entries), segment_binding(public_part))
    data = seal_envelope(Magic.SEGMENT, [public_part, sealed], sign)
    return segment_key(HostId(public.host), public.number, SegmentId(primitives.object_hash(data))), data


class VerifiedSegment:
    """A segment that is what its name says and was signed by who may, as everybody sees it."""

    __slots__ = ("_public_part", "_sealed", "public")

    def __init__(self, public: SegmentPublic, public_part: bytes, sealed: bytes) -> None:
        self.public = public
        self._public_part = public_part
        self._sealed = sealed

    def open(self, index_key: bytes) -> OpenedSegment:
        """What it lists. ``index_key`` is that of its domain.

        Raises:
            IntegrityError: it does not open, or is malformed.
        """
        public = self.public
        plain = Sealer(index_key, "segment").open(self._sealed, segment_binding(self._public_part))
        packs = decode(compression.decompress_bounded(plain, limit_bytes=SEGMENT_RAW_LIMIT_BYTES), list[PackEntry])
        if tuple(entry.pack for entry in packs) != public.packs:
            raise IntegrityError("lists other packs inside than outside")
        if any(len(pack) != OBJECT_ID_BYTES for pack in public.packs):
            raise IntegrityError("has a pack id of the wrong length")
        if unknown := {row.suite for row in public.key_rows} - {SUITE}:
            raise IntegrityError(f"has a session key of suite {min(unknown)}, which is not known to this program; a newer seedcorn may read it")
        sessions = {row.session for row in public.key_rows}
        for entry in packs:
            check_frames(entry.frames)
            if unknown_sessions := {frame.session for frame in entry.frames} - sessions:
                if not all(belongs_to(session, public.host) for session in unknown_sessions):
                    raise ForeignSessionError("has frames of another host's session: it counts for nothing")
                raise IntegrityError("has frames of a session whose key it does not carry")
        return OpenedSegment(public, packs)


def verify_segment(data: bytes, name: NumberedKey, repository: RepositoryId, registry: HostRegistry) -> VerifiedSegment:
    """Verify a segment's bytes, without the key of its domain.

    Raises:
        IntegrityError: with what is wrong.
    """
    if primitives.object_hash(data) != name.object_id:
        raise AlteredError("its bytes do not match the hash in its name")
    envelope = Envelope.parse(Magic.SEGMENT, data)
    registry.verify_segment(name.host, envelope)
    public_part, sealed = envelope.parts
    public = decode(public_part, SegmentPublic)
    if public.repository != repository or public.host != name.host or public.number != name.number:
        raise IntegrityError("belongs to another repository or host, or has been moved")
    check_sessions(name.host, public.session, public.key_rows)
    registry.check_domain(name.host, public.domain)
    return VerifiedSegment(public, public_part, sealed)


def open_segment(data: bytes, name: NumberedKey, repository: RepositoryId, index_key: IndexKey, registry: HostRegistry) -> OpenedSegment:
    """Verify and open a segment's bytes.

    Raises:
        IntegrityError: with what is wrong.
        CredentialError: it is of a domain whose key is not at hand.
    """
    verified = verify_segment(data, name, repository, registry)
    key = index_key(verified.public.domain)
    if key is None:
        raise CredentialError(f"segment {name.object_id.hex()[:12]} is of domain {verified.public.domain}, whose key is not at hand")
    return verified.open(key)


def sync_state(
    store: Store, state: State, repository: RepositoryId, index_key: IndexKey, registry: HostRegistry, *, only: HostId | None
) -> list[IntegrityError]:
    """Load every segment that the store lists (of one host, or of all) and that the state does not have yet; forget those that are gone.

    Segments of domains of which ``index_key`` has no key are left to whoever has it: not opened, and not fetched more than once. Damaged ones are
    returned, not raised: what they list is simply not found.
    """
    sync = _Sync(store, state, repository, cache(index_key), registry)
    for _ in range(_LISTING_TRIES):
        try:
            return sync.run(only)
        except ObjectNotFoundError as error:  # a maintainer has just rewritten it, and the list is another one now
            gone = error
    raise gone


def shares_index(state: State, own: HostId, domain: int) -> bool:
    """Whether a segment of another host of one's domain is loaded."""
    return bool(_foreign_segments(state, own, domain))


def is_out_of_date(store: Store, state: State, own: HostId, domain: int) -> bool:
    """Whether a segment of another host of one's domain is loaded and no longer in the store. Costs a listing only where any is loaded."""
    foreign = _foreign_segments(state, own, domain)
    return bool(foreign) and not foreign <= _list_segments(store, None).keys()


def _foreign_segments(state: State, own: HostId, domain: int) -> set[str]:
    domains = state.segment_domains()
    return {key for key in state.segments() if not key.startswith(_room(own)) and domains.get(key) == domain}


def _list_segments(store: Store, only: HostId | None) -> dict[str, ObjectInfo]:
    return {info.key: info for info in store.list(_room(only)) if parse_numbered_key(info.key)}


def _room(only: HostId | None) -> str:
    return f"index/{only.hex()}/" if only else "index/"


@dataclass(frozen=True, slots=True)
class _Sync:
    """What it takes to bring a state up to date. ``key_of`` gives the index key of a domain, if it is at hand."""

    store: Store
    state: State
    repository: RepositoryId
    key_of: IndexKey
    registry: HostRegistry

    def run(self, only: HostId | None) -> list[IntegrityError]:
        """One try; what is damaged.

        Raises:
            ObjectNotFoundError: a segment that was listed is gone. All others are loaded.
        """
        # Before the listing: what another process adds to the state meanwhile is not gone.
        known = {key: domain for key, domain in self.state.segment_domains().items() if key.startswith(_room(only))}
        loaded = self.state.segments()
        listed = _list_segments(self.store, only)
        problems: list[IntegrityError] = []
        vanished: ObjectNotFoundError | None = None
        for key in sorted(listed.keys() - loaded):
            name = parse_numbered_key(key)
            assert name is not None
            if not self._is_worth_fetching(key, name.host, known):
                continue
            try:
                self._load(name, listed[key])
            except ObjectNotFoundError as error:
                vanished = error
            except IntegrityError as error:
                problems.append(error.named(key))
        if vanished:
            raise vanished
        # Only now: what has been rewritten is never unknown in between. And what one could not load again is left to who can.
        gone = {key for key, domain in known.items() if key not in listed and (key not in loaded or self.key_of(domain) is not None)}
        if gone:
            self.state.remove_segments(gone)
        return problems

    def _load(self, name: NumberedKey, info: ObjectInfo) -> None:
        if info.size_bytes > Magic.SEGMENT.limit_bytes:
            raise IntegrityError("is larger than a segment may be")
        verified = verify_segment(self.store.get(info.key), name, self.repository, self.registry)
        domain = verified.public.domain
        index_key = self.key_of(domain)
        if index_key is None:
            self.state.note_closed_segment(info.key, domain)
        else:
            opened = verified.open(index_key)
            self.state.add_segment(info.key, name.host, domain, opened.public.key_rows, opened.packs)

    def _is_worth_fetching(self, key: str, host: HostId, known: Mapping[str, int]) -> bool:
        """Its domain, or one in which its host has been, is one's own. What no enrolled host has put is looked at."""
        if key in known:
            return self.key_of(known[key]) is not None
        enrolled = self.registry.hosts.get(host)
        return enrolled is None or any(self.key_of(domain) is not None for domain in enrolled.domains)


def next_segment_number(state: State, host: HostId) -> int:
    """A number above all of the known segments of ``host``."""
    numbers = [name.number for key in state.segment_domains() if (name := parse_numbered_key(key)) and name.host == host]
    return following_number(max(numbers, default=0))
