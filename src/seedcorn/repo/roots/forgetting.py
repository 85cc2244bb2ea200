"""Forget records: which snapshots the owner or a maintainer has forgotten, and which of those were taken back.

Invariant: only what a maintainer signed counts, and of all records that name a snapshot the last one, by (number, record id). docs/format.md, section
"Forget record".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from seedcorn.crypto.keys import PublicKeys
from seedcorn.crypto.primitives import object_hash
from seedcorn.errors import IntegrityError
from seedcorn.format.codec import Magic
from seedcorn.format.collection import ForgetRecord, SnapshotRef
from seedcorn.format.names import RecordName, forget_key, parse_record_key
from seedcorn.ids import RepositoryId
from seedcorn.repo.records import build_record, open_record, read_small
from seedcorn.repo.state.state import State
from seedcorn.store.api import Store

__all__ = ["ForgetLog", "build_forget", "open_forget", "read_forget_log"]


@dataclass(frozen=True, slots=True)
class ForgetLog:
    """``forgotten`` are the snapshots that are forgotten now, and when the store got the record that says so."""

    forgotten: dict[SnapshotRef, int]
    next_number: int
    problems: tuple[IntegrityError, ...] = ()


def read_forget_log(store: Store, state: State, repository: RepositoryId, public: PublicKeys) -> ForgetLog:
    """One LIST, and a GET for each record that the state does not have. A damaged record is a problem: nobody can say then what is forgotten."""
    forgotten: dict[SnapshotRef, int] = {}
    problems: list[IntegrityError] = []
    listed = sorted(((name, info) for info in store.list("forget/") if (name := parse_record_key(info.key))), key=lambda pair: pair[0])
    for name, info in listed:
        try:
            record = read_small(store, state, info, Magic.FORGET, partial(open_forget, name, repository, public))
        except IntegrityError as error:
            problems.append(error)
            continue
        for ref in record.taken_back:
            forgotten.pop(ref, None)
        forgotten.update(dict.fromkeys(record.forgotten, info.modified_ns))
    return ForgetLog(forgotten, listed[-1][0].number + 1 if listed else 1, tuple(problems))


def build_forget(record: ForgetRecord, sign: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    """(store key, bytes) of a signed record."""
    data = build_record(Magic.FORGET, record, sign)
    return forget_key(record.number, object_hash(data)), data


def open_forget(name: RecordName, repository: RepositoryId, public: PublicKeys, data: bytes) -> ForgetRecord:
    """Verify and open one record.

    Raises:
        IntegrityError: with what is wrong.
    """
    if object_hash(data) != name.record:
        raise IntegrityError("its bytes do not match the hash in its name")
    record = open_record(Magic.FORGET, data, ForgetRecord, public.maintain_sign)
    if record.repository != repository or record.number != name.number:
        raise IntegrityError("belongs to another repository, or has been moved")
    return record
