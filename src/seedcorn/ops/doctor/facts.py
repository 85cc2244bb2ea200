"""The words of the conformance probe: its experiments, and the facts that come of them. Gathered by ``doctor.probe``, read by ``doctor.findings``."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from seedcorn.errors import StoreError
from seedcorn.ops.doctor.latency import Latency

__all__ = ["WANTED_BYTES", "Check", "Observed"]

WANTED_BYTES = 100  # of the range that is asked for


class Check(enum.StrEnum):
    """The experiments, in the order in which they are reported. Values are the words of the JSON output."""

    CREATE_ONLY = "create_only"
    RACE = "race"
    READ_AFTER_WRITE = "read_after_write"
    FRESH_LISTING = "fresh_listing"
    PREFIX_LISTING = "prefix_listing"
    RANGE = "range"
    CHECKSUM = "checksum"
    OVERWRITE = "overwrite"
    DELETE = "delete"
    VERSIONS = "versions"
    READ_PACKS = "read_packs"
    READ_SNAPSHOTS = "read_snapshots"
    CLOCK = "clock"


@dataclass(slots=True)
class Observed:
    """The facts. None: it was not tried, or could not be; then ``stopped`` may say why."""

    remote: bool = False  # whether it can have versions and be sent checksums
    refused_by_store: bool = True  # False: it is this program that looks before it puts
    create_only: bool | None = None
    racers: int = 0
    winners: int | None = None
    reads_fresh: bool | None = None
    fresh_listings: int = 0
    unlisted: int | None = None  # of that many
    lists_by_prefix: bool | None = None
    range_is_right: bool | None = None
    range_bytes: int = 0  # that came for a range of ``WANTED_BYTES``
    takes_wrong_checksum: bool | None = None
    may_overwrite: bool | None = None
    may_delete: bool | None = None
    keeps_versions: bool | None = None
    may_read_packs: bool | None = None
    may_read_snapshots: bool | None = None
    clock_offset_seconds: float | None = None  # how far the store's clock is ahead of this machine's; stores round to a second
    stopped: dict[Check, StoreError] = field(default_factory=dict)
    latencies: tuple[Latency, ...] = ()
    left: tuple[str, ...] = ()  # keys of the objects that could not be deleted
