"""cli/render_retention.py: a plan as a table and as fields."""

from __future__ import annotations

import json
from datetime import UTC

from tests.unit.ops.candidates import made

from seedcorn.cli.render_retention import decision_fields, group_text, retention_lines
from seedcorn.cli.render_text import local_time
from seedcorn.ids import HostId, SnapshotId
from seedcorn.ops.retention.plan import GroupBy, plan_retention
from seedcorn.ops.retention.policy import Newest, Period, Policy

OLD = made("2026-11-22 03:00", id=SnapshotId(b"\1" * 32), tags=("a", "\x1b[2J"))
LATE = made("2026-11-24 03:00", id=SnapshotId(b"\2" * 32))
OTHER = made("2026-11-23 03:00", id=SnapshotId(b"\3" * 32), host=HostId(b"\xff" * 16), confirmed=False)
PLAN = plan_retention([OLD, LATE, OTHER], Policy((Newest(1), Newest(1, Period.DAILY))), zone=UTC)
FREES_BYTES = {OLD.id: 5 << 20, LATE.id: 0}


def test_a_table_for_each_group() -> None:
    old, late, other = (local_time(candidate.time_ns) for candidate in (OLD, LATE, OTHER))
    assert retention_lines(PLAN, FREES_BYTES) == [
        "host 484848484848, paths 474747474747: keep 1, remove 1",
        "Action  ID            Time                 Tags         Frees  Reasons",
        f"remove  010101010101  {old}  a,\\x1b[2J  5.00 MB  no rule keeps it",
        f"keep    020202020202  {late}             0 bytes  last 1; daily 2026-11-24",
        "",
        "host ffffffffffff, paths 474747474747: keep 1, remove 0",
        "Action  ID            Time                 Tags  Frees  Reasons",
        f"keep    030303030303  {other}               unconfirmed",
    ]


def test_groups_are_called_as_the_caller_knows_them() -> None:
    assert retention_lines(PLAN, {}, lambda group: f"web /etc {group.decisions[0].candidate.id[0]}")[0] == "web /etc 1: keep 1, remove 1"


def test_what_a_group_has_in_common() -> None:
    by_tags = plan_retention([OLD, LATE], Policy((Newest(1),)), zone=UTC, grouping={GroupBy.TAGS})
    assert [group_text(group) for group in by_tags.groups] == ["untagged", "tags \\x1b[2J,a"]
    assert group_text(plan_retention([OLD], Policy((Newest(1),)), zone=UTC, grouping=()).groups[0]) == "all snapshots"


def test_fields() -> None:
    first, second = PLAN.groups[0].decisions
    assert json.loads(json.dumps(decision_fields(first, FREES_BYTES))) == {
        "id": "01" * 32,
        "short_id": "01" * 6,
        "action": "remove",
        "reasons": ["no rule keeps it"],
        "frees_bytes": 5 << 20,
        "stored_time": "2026-11-22T03:00:00Z",
        "host_id": "48" * 16,
        "group": "47" * 16,
        "tags": ["a", "\x1b[2J"],
        "flagged": False,
        "confirmed": True,
        "complete": True,
    }
    assert decision_fields(second, {})["action"] == "keep"
    assert decision_fields(second, {})["frees_bytes"] is None
