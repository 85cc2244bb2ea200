"""What the printed policy lets a host do."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from seedcorn.format.header import HostPublic, HostState
from seedcorn.format.names import spare_key
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

    assert not may_list("spares/")
    for room in ("packs", "receipts", "checkpoints"):
        assert may_list(f"{room}/{OWN.hex()}/")
        assert not may_list(f"{room}/") and not may_list(f"{room}/{OTHER.hex()}/")
    assert may_list("gc/") and may_list("snapshots/") and not may_list("keys/")


def test_a_host_may_read_the_spares_of_what_it_reads_and_of_nothing_else() -> None:
    host = EnrolledHost(HostPublic(bytes(16), OWN, 1, HostState.ENROLLED, bytes(32), 0), "web")
    statements = host_policy(host, "bucket", "all")["Statement"]
    assert isinstance(statements, list)
    (patterns,) = [one["Resource"] for one in statements if one["Action"] == "s3:GetObject"]

    def may_read(key: str) -> bool:
        return any(fnmatchcase(f"arn:aws:s3:::bucket/all/{key}", pattern) for pattern in patterns)

    assert all(may_read(key) and may_read(spare_key(key)) for key in ("gc/a.sweep", f"hosts/{OTHER.hex()}/000001", "verified/a"))
    assert not any(may_read(key) or may_read(spare_key(key)) for key in (f"snapshots/{OWN.hex()}/a", "forget/a", "relocations/a"))


@pytest.mark.parametrize("header", ["server-side-encryption-customer-algorithm", "server-side-encryption-aws-kms-key-id", "storage-class"])
def test_a_host_may_put_nothing_that_the_owner_can_not_fetch(header: str) -> None:
    """Encrypted by the store under a key of the host's, or archived: one such index segment would keep everybody from reading the index."""
    host = EnrolledHost(HostPublic(bytes(16), OWN, 1, HostState.ENROLLED, bytes(32), 0), "web")
    statements = host_policy(host, "bucket", "all")["Statement"]
    assert isinstance(statements, list)
    (condition,) = [one["Condition"] for one in statements if one["Action"] == "s3:PutObject"]
    assert condition["Null"]["s3:if-none-match"] == "false" and condition["Null"].get(f"s3:x-amz-{header}") == "true"
