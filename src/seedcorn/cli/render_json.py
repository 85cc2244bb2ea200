"""Values as JSON: the contract of docs/guide/scripting.md. Times are ISO 8601 in UTC, sizes bytes, ids hexadecimal."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from seedcorn.errors import IntegrityError, SeedcornError, SourceError, StoreError, TargetError

if TYPE_CHECKING:  # rendering needs their fields, and no command should load what it does not use
    from seedcorn.format.snapshot import SnapshotOwner, Statistics
    from seedcorn.ops.backup.backup import Requests
    from seedcorn.ops.browse import Entry, Snapshot

__all__ = [
    "SHORT_ID_DIGITS",
    "entry_fields",
    "error_fields",
    "path_fields",
    "paths_fields",
    "requests_fields",
    "snapshot_fields",
    "statistics_fields",
    "time_text",
]

SHORT_ID_DIGITS = 12
KIND_NAMES = {1: "file", 2: "directory", 3: "symlink", 4: "fifo", 5: "char_device", 6: "block_device"}


def time_text(time_ns: int) -> str:
    """A time to the microsecond; the nearest that can be written for one outside the years 1 to 9999."""
    try:
        moment = datetime.fromtimestamp(time_ns // 10**9, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.min.replace(tzinfo=UTC) if time_ns < 0 else datetime.max.replace(tzinfo=UTC)
    return moment.replace(microsecond=time_ns // 1000 % 10**6).isoformat().replace("+00:00", "Z")


def path_fields(path: bytes, name: str = "path") -> dict[str, str]:
    """A path as text; one that is not UTF-8 also in base64, because the text then has U+FFFD where it is not."""
    try:
        return {name: path.decode("utf-8")}
    except UnicodeDecodeError:
        return {name: path.decode("utf-8", "replace"), f"{name}_base64": base64.b64encode(path).decode("ascii")}


def paths_fields(paths: Sequence[bytes]) -> dict[str, list[str]]:
    """Several paths; all of them also in base64 if one is not UTF-8."""
    fields = {"paths": [path.decode("utf-8", "replace") for path in paths]}
    if any("path_base64" in path_fields(path) for path in paths):
        fields["paths_base64"] = [base64.b64encode(path).decode("ascii") for path in paths]
    return fields


def error_fields(error: SeedcornError) -> dict[str, Any]:
    """An error that the run survived, or would have survived."""
    fields: dict[str, Any] = {"kind": type(error).__name__, "message": str(error), "code": error.exit_code}
    if isinstance(error, SourceError | TargetError):
        fields |= path_fields(error.path)
    elif isinstance(error, IntegrityError) and error.object_name:
        fields["object"] = error.object_name
    elif isinstance(error, StoreError) and error.key:
        fields["object"] = error.key
    return fields


def statistics_fields(statistics: Statistics) -> dict[str, int]:
    """Every figure of a backup under its own name."""
    return {name: getattr(statistics, name) for name in statistics.__struct_fields__}


def requests_fields(requests: Requests) -> dict[str, int]:
    """How often a store was asked, by verb."""
    return {verb: getattr(requests, verb) for verb in ("put", "get", "list", "head", "delete")}


def snapshot_fields(snapshot: Snapshot) -> dict[str, Any]:
    """One snapshot."""
    owner = snapshot.owner
    return {
        "id": snapshot.id.hex(),
        "short_id": snapshot.id.hex()[:SHORT_ID_DIGITS],
        "time": time_text(owner.start_ns),
        "end_time": time_text(owner.end_ns),
        "stored_time": time_text(snapshot.stored_ns),
        "host": owner.host_name,
        "host_id": snapshot.host.hex(),
        "number": snapshot.public.seq,
        **paths_fields(owner.paths),
        "tags": list(owner.tags),
        "source": owner.source,
        "complete": snapshot.maintain.complete,
        "standing": snapshot.standing.value,
        "error_count": owner.error_count,
        "excludes": list(owner.excludes),
        "program": owner.program,
        "statistics": statistics_fields(owner.statistics),
        **_copied_from_fields(owner),
    }


def _copied_from_fields(owner: SnapshotOwner) -> dict[str, dict[str, str]]:
    source = owner.copied_from
    return {"copied_from": {"repository": source.repository.hex(), "snapshot": source.snapshot.hex()}} if source else {}


def entry_fields(entry: Entry) -> dict[str, Any]:
    """One entry of a tree."""
    node = entry.node
    fields: dict[str, Any] = {
        **path_fields(entry.path),
        "type": KIND_NAMES[node.kind],
        "mode": f"{node.mode:04o}",
        "uid": node.uid,
        "gid": node.gid,
        "size": node.size,
        "mtime": time_text(node.mtime_ns),
        "mtime_ns": node.mtime_ns,
    }
    if node.extra:
        if node.extra.target is not None:
            fields |= path_fields(node.extra.target, "target")
        if node.extra.link_count > 1:
            fields["links"] = node.extra.link_count
        if node.extra.changed:
            fields["changed_while_read"] = True
    return fields
