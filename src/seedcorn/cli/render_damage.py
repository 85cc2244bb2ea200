"""What is damaged and how it is put right: a repair's plan, what came of it, and what is lost of each snapshot, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from seedcorn.cli.output import Output, shown
from seedcorn.cli.render_json import SHORT_ID_DIGITS, time_text
from seedcorn.cli.render_text import count_text, local_time, size_text

if TYPE_CHECKING:  # rendering needs their fields, and no command should load what it does not use
    from seedcorn.ops.browse import Snapshot
    from seedcorn.ops.check.check import SnapshotDamage
    from seedcorn.ops.check.repair import RepairResult
    from seedcorn.ops.check.repair_plan import PackRepair, RepairPlan

__all__ = ["damage_fields", "damage_line", "emit_plan", "emit_repair", "plan_lines", "repair_lines"]

_IF_UNKNOWN = {  # by room, what becomes of a damaged object that nobody puts back; of snapshots and sweeps it is said below
    "checkpoints": "it goes with a later `seedcorn prune`",
    "forget": "until it is back nothing is forgotten or pruned",
    "gc": "it stops nobody",
    "hosts": "until it is back that host's snapshots are hidden, and it can not back up",
    "receipts": "its snapshot is kept until it is forgotten",
    "relocations": "until it is back nothing is pruned",
    "verified": "`seedcorn check --read-data --publish` says it anew",
}


def damage_fields(damage: SnapshotDamage, snapshot: Snapshot) -> dict[str, Any]:
    """What one snapshot has lost."""
    owner = snapshot.owner
    return {
        "snapshot_id": snapshot.id.hex(),
        "host": owner.host_name,
        "time": time_text(owner.start_ns),
        "paths": damage.paths,
        "directories": damage.directories,
        "lost_bytes": damage.lost_bytes,
    }


def damage_line(damage: SnapshotDamage, snapshot: Snapshot) -> str:
    """The same for a person."""
    name = f"{snapshot.id.hex()[:SHORT_ID_DIGITS]} of {shown(snapshot.owner.host_name)}, {local_time(snapshot.owner.start_ns)}"
    lost = [f"{size_text(damage.lost_bytes)} of file content lost"] if damage.lost_bytes else []
    if damage.directories:
        lost.append(f"of them {count_text(damage.directories, 'directory')} with all that was below")
    return f"Snapshot {name}: {count_text(damage.paths, 'path')} can not be restored whole, {', '.join(lost)}"


def plan_lines(plan: RepairPlan) -> Iterator[str]:
    """What is to be done, a line for each object."""
    yield "Nothing to put right" if plan.is_empty else "To be done:"
    for small in plan.put_back:
        yield f"  put again    {small.key} ({size_text(small.size_bytes)}), as this machine remembers it" + (
            ", in the place of what has been put again before and is damaged, too" if small.replaces_spare else ""
        )
    for pack in plan.list_again:
        yield f"  list again   {pack.key} ({size_text(pack.size_bytes)}, {count_text(pack.frames, 'frame')}): it is good, and in no segment"
    for pack in plan.move:
        yield f"  move         {count_text(pack.frames, 'good frame')} of {pack.key} to a new pack; {count_text(pack.lost_frames, 'frame')} lost"
    for pack in plan.give_up:
        yield f"  give up      {pack.key}: {count_text(pack.lost_frames, 'frame')} lost"
    for key in plan.replace_segments:
        yield f"  replace      {key}, which lists packs that are not as it says"
    for key in plan.remove_segments:
        yield f"  remove       {key}, which is damaged"
    for key in plan.delete_packs:
        yield f"  delete       {key}, which is damaged"
    for key in plan.swept:
        yield f"  leave alone  {key}, which no snapshot needs: it is for `seedcorn prune` to delete"
    for key in plan.unknown:
        yield f"  not known    {key}, which is damaged and not remembered here: {_if_unknown(key)}"
    if plan.unknown:
        yield "What is not known may be on another machine: run the same there, or put the object back from a version or a copy"


def _if_unknown(key: str) -> str:
    """What becomes of a damaged object that nobody puts back."""
    if key.startswith("snapshots/"):
        return f"`seedcorn forget {key}` gives it up"
    if key.endswith(".sweep"):
        return "until it is back nothing is pruned, and hosts that have not read it do not back up"
    return _IF_UNKNOWN[key.partition("/")[0]]


def emit_plan(output: Output, plan: RepairPlan) -> None:
    """The plan for a program."""
    output.emit(
        "repair_plan",
        put_back=[{"object": small.key, "size_bytes": small.size_bytes, "replaces_spare": small.replaces_spare} for small in plan.put_back],
        list_again=[_pack_fields(pack) for pack in plan.list_again],
        move=[_pack_fields(pack) for pack in plan.move],
        give_up=[_pack_fields(pack) for pack in plan.give_up],
        replace_segments=list(plan.replace_segments),
        remove_segments=list(plan.remove_segments),
        delete_packs=list(plan.delete_packs),
        swept=list(plan.swept),
        unknown=list(plan.unknown),
    )


def _pack_fields(pack: PackRepair) -> dict[str, Any]:
    return {"object": pack.key, "size_bytes": pack.size_bytes, "frames": pack.frames, "lost_frames": pack.lost_frames}


def repair_lines(result: RepairResult) -> Iterator[str]:
    """What has been done."""
    put = f"put {count_text(len(result.new_packs), 'pack')} and {count_text(len(result.new_segments), 'index segment')}"
    removed = f"removed {count_text(len(result.removed_segments), 'index segment')} and {count_text(len(result.removed_packs), 'damaged pack')}"
    again = f"put {count_text(len(result.put_back), 'object')} again, " if result.put_back else ""
    yield f"Repaired: {again}{put}, {removed}"
    if result.new_segments or result.removed_segments:
        yield "The next backup of each host stores again what its sources still have of what is lost"


def emit_repair(output: Output, result: RepairResult) -> None:
    """What has been done, for a program."""
    output.emit(
        "repair",
        put_back=list(result.put_back),
        new_packs=list(result.new_packs),
        new_segments=list(result.new_segments),
        removed_segments=list(result.removed_segments),
        removed_packs=list(result.removed_packs),
        collected_meanwhile=result.collected_meanwhile,
    )
