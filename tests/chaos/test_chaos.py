"""A few seconds of chaos in a directory, and a minute of it on a real server among the slow tests. ``make chaos`` is the real thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.acceptance.workshop import scratch
from tests.chaos.__main__ import main
from tests.chaos.actors import Journal
from tests.chaos.ground import Ground
from tests.chaos.run import ChaosOptions, Report, run_chaos
from tests.chaos.verdict import judge

from reliability.outputs import json_object


def run(options: ChaosOptions) -> Report:
    with scratch() as folder:
        report = run_chaos(folder / "chaos", options)
        assert not report.violations, "\n\n".join([*report.violations, (folder / "chaos" / "journal.txt").read_text()])
    assert json.loads(json.dumps(report.as_json()))["violations"] == []
    return report


def test_a_few_seconds_in_a_directory() -> None:
    report = run(ChaosOptions(seconds=6, hosts=2, server=False, files=40))
    assert report.counts["snapshots_restored"] >= report.counts["snapshots_left"]


def test_a_lost_pack_is_a_violation_and_so_is_a_snapshot_that_did_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without which the other tests would prove nothing."""

    def sabotage(ground: Ground, journal: Journal) -> None:
        for pack in Path(ground.address).glob("packs/*/*"):
            pack.unlink()
        journal.taken_back["5eed" * 16] = "host-0-1"
        judge(ground, journal)

    monkeypatch.setattr("tests.chaos.run.judge", sabotage)
    with scratch() as folder:
        report = run_chaos(folder / "chaos", ChaosOptions(seconds=1, hosts=1, server=False, files=10))
    assert any("is missing from the store" in violation for violation in report.violations)
    assert any(violation.startswith("restoring") for violation in report.violations)
    assert "5eed5eed5eed of host-0-1 was taken back, and is not confirmed any more" in report.violations


def test_what_the_program_leaves_is_read_as_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(ChaosOptions(), 1.5, {"kills": 3}, ())
    monkeypatch.setattr("tests.chaos.__main__.run_chaos", lambda folder, options: report)
    assert main(["--work", str(tmp_path), "--json", str(tmp_path / "out")]) == 0
    assert json_object((tmp_path / "out").read_text()) == report.as_json()


@pytest.mark.slow
@pytest.mark.parametrize("trust_hosts", [False, True], ids=["verified sets", "trusting hosts"])
def test_a_minute_on_a_server(trust_hosts: bool) -> None:
    counts = run(ChaosOptions(seconds=45, hosts=3, files=100, trust_hosts=trust_hosts)).counts
    assert counts["backups_confirmed"] >= 3
    assert counts["snapshots_restored"] >= 3
    assert counts["kills"] > 0
    assert counts["packs_published"] > 0
    assert counts["snapshots_sharing"] > 0
    assert counts["undeletes_attempted"] > 0
    assert counts["frames_written_anew"] > 0
