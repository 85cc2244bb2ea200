"""What this machine remembers of a repository between runs: where chunks lie, the host's last listings, and small facts.

Never authoritative: losing it costs a re-read of the sources, not a re-upload. A cached listing counts only if every frame it needs is in the index,
so a killed run can leave nothing that lies; and a state that was damaged is begun anew, once that has been said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from seedcorn.ids import RepositoryId
from seedcorn.repo.state.chunk_table import ChunkPlace
from seedcorn.repo.state.copied_contents import CopiedContents
from seedcorn.repo.state.database import Database
from seedcorn.repo.state.file_lock import file_lock
from seedcorn.repo.state.indexed import FramePlace, FrameSet, PackRecord, SessionRecord, frame_ordinal
from seedcorn.repo.state.listings import CachedListing, ListingCache
from seedcorn.repo.state.local_index import LocalIndex
from seedcorn.repo.state.verifications import Verifications

__all__ = ["ChunkPlace", "FramePlace", "FrameSet", "PackRecord", "SessionRecord", "State", "frame_ordinal"]

_SCHEMA = b"12"


class State(LocalIndex):
    """One repository's state directory: its index, and what else is remembered. Several processes may have it open."""

    def __init__(self, folder: Path, repository: RepositoryId) -> None:
        """Open or make the state in ``folder`` (made with mode 0700). One of another repository or schema is thrown away and begun anew.

        Raises:
            SeedcornError: the folder can not be used; or the state in it was damaged, and the next try begins anew. Not without a word: with it
                is gone by what one would notice that the store was set back.
        """
        self.folder = folder
        database = Database(folder, _SCHEMA + repository)
        super().__init__(database)
        self._heads = database.table(b"listings", is_cache=True)  # directory key -> CachedListing
        self._parts = database.table(b"listing-parts")  # directory key, session number, part -> CachedPart
        self._objects = database.table(b"objects", is_cache=True)  # store key -> small immutable objects, as stored
        self._verified = database.table(b"verified", is_cache=True)  # pack id -> when it was verified, and as what
        self._copied = database.table(b"copied-contents", is_cache=True)  # content of another repository -> what it has become in this one
        self._complete = {number for number, record in self.sessions().items() if record.complete}

    def close(self) -> None:
        self._database.close()

    @property
    def discard_writes(self) -> bool:
        """For a dry run: nothing that is learned is kept."""
        return self._database.discard_writes

    @discard_writes.setter
    def discard_writes(self, discard: bool) -> None:
        self._database.discard_writes = discard

    # -- listings ----------------------------------------------------------------------------------------------------------------------------

    def listings(self, domain: int) -> ListingCache:
        """What the last runs on this machine, by hosts of a dedup domain, have seen."""
        return ListingCache(self._database, self._heads, self._parts, domain, self._believes_listing)

    def forget_listings(self) -> None:
        """Drop all that runs have seen, of files and of other repositories: it costs one reading."""
        with self._database.writing() as txn:
            for table in (self._heads, self._parts, self._copied):
                table.clear(txn)

    def complete_session(self, number: int) -> None:
        super().complete_session(number)
        self._complete.add(number)

    def _believes_listing(self, cached: CachedListing) -> bool:
        """What a listing of this epoch and of a run that ended well needs is in the index; of any other one every frame is looked up. But what
        another host has stored may have got another place since then."""
        if cached.epoch == self.epoch and cached.session_number in self._complete:
            return self.trusts_all_frames or self.may_trust_all(FrameSet.deserialize(cached.frames))
        return self.may_rely_on_all(FrameSet.deserialize(cached.frames))

    # -- other repositories, packs, small facts ----------------------------------------------------------------------------------------------

    def copied_contents(self, source: RepositoryId, domain: int) -> CopiedContents:
        """What content that hosts of a dedup domain have copied from the repository ``source`` has become here."""
        return CopiedContents(self._database, self._copied, source, domain)

    def verifications(self) -> Verifications:
        """When this machine has verified which pack."""
        return Verifications(self._database, self._verified)

    def fact(self, name: str) -> bytes | None:
        """A remembered value (heads seen, names of users)."""
        with self._database.reading() as txn:
            return self._database.meta.get(txn, b"fact/" + name.encode())

    def remember(self, name: str, value: bytes) -> None:
        """Keep a value, in place of the one before."""
        with self._database.writing() as txn:
            self._database.meta.put(txn, b"fact/" + name.encode(), value)

    def cached_object(self, key: str) -> bytes | None:
        """A small immutable object as it is in the store (still sealed, its signature still to be verified)."""
        with self._database.reading() as txn:
            return self._objects.get(txn, key.encode("ascii"))

    def cache_object(self, key: str, data: bytes) -> None:
        """Keep one, which has been verified."""
        if self.cached_object(key) != data:  # a look costs next to nothing, a transaction waits for the disk
            with self._database.writing() as txn:
                self._objects.put(txn, key.encode("ascii"), data)

    # -- the number of a snapshot ------------------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclusive among the processes of this machine, for the moment in which a snapshot gets its number.

        Raises:
            SeedcornError: the folder can not be written any more.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self.folder / "commit.lock"))
            except OSError as error:
                raise self._database.unwritable(error) from error
            yield
