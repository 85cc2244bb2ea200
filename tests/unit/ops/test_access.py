"""What the printed policy lets a host do."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from seedcorn.format.header import HostPublic, HostState
from seedcorn.ids import HostId
from seedcorn.ops.access import host_policy
from seedcorn.repo.hosts import EnrolledHost

OWN, OTHER = HostId(b"o" * 16), HostId(b"x" * 16)


@pytest.mark.parametrize("prefix", ["", "backups/all"])
def test_a_host_may_list_what_it_writes_and_no_packs_of_others(prefix: str) -> None:
    host = EnrolledHost(HostPublic(bytes(16), OWN, 1, HostState.ENROLLED, bytes(32), 0), "web")
    statements = host_policy(host, "bucket", prefix)["Statement"]
    assert isinstance(statements, list)
    (patterns,) = [one["Condition"]["StringLike"]["s3:prefix"] for one in statements if one["Action"] == "s3:ListBucket"]
    base = f"{prefix}/" if prefix else ""

    def may_list(folder: str) -> bool:
        return any(fnmatchcase(base + folder, pattern) for pattern in patterns)

    for room in ("packs", "receipts", "checkpoints"):
        assert may_list(f"{room}/{OWN.hex()}/")
        assert not may_list(f"{room}/") and not may_list(f"{room}/{OTHER.hex()}/")
    assert may_list("gc/") and may_list("snapshots/") and not may_list("keys/")
