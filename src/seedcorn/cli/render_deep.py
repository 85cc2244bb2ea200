"""What a deep prune would write anew and what it did, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedcorn.cli.output import Output, shown
from seedcorn.cli.render_json import SHORT_ID_DIGITS, time_text
from seedcorn.cli.render_text import count_text, local_time, size_text, table

if TYPE_CHECKING:
    from seedcorn.ops.deep.deep import DeepResult
    from seedcorn.ops.deep.plan import DeepPlan

__all__ = ["report_deep", "show_deep"]


def show_deep(output: Output, plan: DeepPlan, *, dry_run: bool) -> None:
    """The snapshots that need frames which are mostly dead, and what these come to."""
    rows = []
    for poor in plan.snapshots:
        snapshot = poor.snapshot
        owner = snapshot.owner
        output.emit(
            "poor_snapshot",
            id=snapshot.id.hex(),
            time=time_text(owner.start_ns),
            host=owner.host_name,
            frames=poor.frames,
            stored_bytes=poor.sealed_bytes,
        )
        name = snapshot.id.hex()[:SHORT_ID_DIGITS]
        rows.append([name, local_time(owner.start_ns), shown(owner.host_name), str(poor.frames), size_text(poor.sealed_bytes)])
    if rows:
        for line in table(["ID", "Time", "Host", " Poor frames", " As stored"], rows):
            output.plan(line, dry_run=dry_run)
    output.emit(
        "deep_plan",
        dry_run=dry_run,
        frames=len(plan.frames),
        packs=len(plan.packs),
        snapshots=len(plan.snapshots),
        read_bytes=plan.read_bytes,
        written_bytes=plan.written_bytes,
        freed_bytes=plan.freed_bytes,
        needed_bytes=plan.needed_bytes,
    )
    amount = f"{count_text(len(plan.frames), 'frame')} in {count_text(len(plan.packs), 'pack')}, of {size_text(plan.needed_bytes)} that are needed"
    output.plan(f"Mostly dead: {amount}", dry_run=dry_run)
    does = "Would read" if dry_run else "Reads"
    sizes = f"{does} {size_text(plan.read_bytes)}, write{'' if dry_run else 's'} about {size_text(plan.written_bytes)}"
    output.plan(f"{sizes}; about {size_text(plan.freed_bytes)} become free", dry_run=dry_run)


def report_deep(output: Output, result: DeepResult) -> None:
    """What was done."""
    output.emit(
        "deep",
        frames=result.frames,
        read_bytes=result.read_bytes,
        written_bytes=result.written_bytes,
        error_count=len(result.problems),
    )
    output.report(f"Wrote {size_text(result.written_bytes)} in place of {count_text(result.frames, 'frame')}")
