"""When this machine has verified a pack: remembered, per description of it, and lost with the state."""

from __future__ import annotations

from seedcorn.ids import PackId
from seedcorn.testing.repositories import SmallRepository

PACK, OTHER = PackId(b"p" * 32), PackId(b"q" * 32)
DIGEST = b"d" * 32


def test_the_last_time_counts_and_only_for_the_same_entries(repository: SmallRepository) -> None:
    seen = repository.owner_state().verifications()
    assert seen.verified_ns(PACK, DIGEST) is None
    seen.note([(PACK, DIGEST)], 5)
    seen.note([(PACK, DIGEST), (OTHER, DIGEST)], 8)
    assert seen.verified_ns(PACK, DIGEST) == 8
    assert seen.verified_ns(PACK, b"e" * 32) is None
    assert repository.new_state().verifications().verified_ns(PACK, DIGEST) is None


def test_a_dry_run_remembers_nothing(repository: SmallRepository) -> None:
    state = repository.owner_state()
    state.discard_writes = True
    state.verifications().note([(PACK, DIGEST)], 5)
    assert state.verifications().verified_ns(PACK, DIGEST) is None
