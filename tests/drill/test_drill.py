"""The stolen-host drill on real servers: nothing is read, nothing is deleted, and what is overwritten comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.workshop import scratch
from tests.drill.drill import DrillReport, drill

from seedcorn.testing.servers import S3Server


@pytest.fixture(params=["ministack", "seaweedfs"])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    return found


def steal(server: S3Server, *, condition: bool, versions: bool) -> DrillReport:
    with scratch() as folder:
        report = drill(server, Path(folder), condition=condition, versions=versions)
    assert report.is_harmless
    assert report.decryptions_tried > 5_000
    assert set(report.reads_accepted) == {"seedcorn.json", "hosts", "index", "verified", "gc"}
    assert set(report.reads_refused) == {"packs", "snapshots", "receipts", "forget", "keys"}
    assert report.objects == report.overwrites_tried == report.conditional_overwrites_tried
    assert report.deletes_tried > report.objects and report.bucket_changes_tried == 4
    assert report.snapshots == 4
    return report


def test_the_policy_as_it_is_printed(server: S3Server) -> None:
    """These servers do not know its condition: they refuse every put, and so the thief's and the host's own."""
    report = steal(server, condition=True, versions=False)
    assert report.overwrites_accepted == 0
    assert report.restored_at_once == 4
    assert not report.backup_works


def test_without_the_condition_versions_bring_back_what_the_host_had(server: S3Server) -> None:
    """A plain put overwrites what lies where the host writes, and nothing else; the snapshots of the other host do not notice."""
    report = steal(server, condition=False, versions=True)
    assert report.overwrites_accepted == report.own_objects
    assert report.restored_at_once == 2
    assert report.backup_works


HARM = ("decrypted", "conditional_overwrites_accepted", "others_changed", "deletes_accepted", "objects_gone", "bucket_changes_accepted", "snapshots")


def test_the_verdict_of_the_program_is_about_all_that_matters() -> None:
    for harm in ("", *HARM):
        report = DrillReport("a server", condition=False, versions=True, overwrites_accepted=3, snapshots=4, restored_at_once=2, restored=4)
        if harm:
            setattr(report, harm, 5)
        assert report.is_harmless is (harm == "")
