"""reliability.page: every figure has its command, conditions and limit; what is missing or failed is said to be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reliability.evidence import Evidence, load_all
from reliability.page import render

COUNTED = {"tests.a::test_every_store_call[first backup]": {"crashes": 60}, "tests.b::test_a_crash[before]": {"crashes": 40, "another": 1}}
TESTS = {"passed": 5, "failed": 0, "skipped": 0, "modules": {"tests.a": {"passed": 5}}}
ROBBED: dict[str, Any] = {
    "server": "Tempest",
    "condition": False,
    "versions": True,
    "objects": 80,
    "decryptions_tried": 9_000,
    "decrypted": 0,
    "backup_works": True,
    "reads_accepted": {"index": 20, "hosts": 5},
    "overwrites_tried": 80,
    "overwrites_accepted": 33,
    "conditional_overwrites_tried": 80,
    "conditional_overwrites_accepted": 0,
    "others_changed": 0,
    "deletes_tried": 240,
    "deletes_accepted": 1,
    "objects_gone": 0,
    "bucket_changes_tried": 4,
    "bucket_changes_accepted": 0,
    "snapshots": 4,
    "restored_at_once": 2,
    "restored": 4,
    "new_key": 1,
}
ROW = {"kind": "configuration", "name": "n", "meaning": "two hosts", "violation": None, "states": 468_344, "new_key": 1}
FIGURES: dict[str, dict[str, Any]] = {
    "simulation": {"runs": 2000, "failed": 0, "operations": 1234567, "faults": {"late apply": 77}, "outcomes": {"packs repacked": 8}, "new_key": {}},
    "simulation_weak": {"runs": 200, "failed": 0},
    "crash_points": TESTS | {"counted": COUNTED},
    "model": {"rows": [ROW, ROW | {"kind": "mutant", "violation": "I1"}, ROW | {"kind": "mutant"}]},
    "mutation": {
        "sample": 20,
        "modules": {
            "crypto.frames": {"mutants": 60, "tried": 20, "killed": 17, "timed_out": 1, "survivors": [{}, {}], "new_key": 1},
            "ops.backup.commit": {"mutants": 1030, "tried": 20, "killed": 20, "timed_out": 0, "survivors": []},
        },
    },
    "hostile_input": TESTS | {"counted": {"f": {"refused": 4321, "accepted": 9}, "b": {"peak_bytes": 5000, "bomb_bytes": 64 << 20}}},
    "every_byte": TESTS | {"counted": {"s": {"slot: detected": 1}, "all": {"slot: detected": 900, "header: harmless": 4}}},
    "sealing_keys": {"seals": 98765, "repeated": 0, "where": {}},
    "stolen_host": TESTS | {"counted": {"tests.c::test_grade_a": {"objects_decrypted": 0}}},
    "drill": {"rows": [ROBBED, ROBBED | {"condition": True, "versions": False, "backup_works": False}]},
    "chaos": {"kills": 31, "violations": ["a snapshot is gone"]},
    "overhead": {
        "source_bytes": 1 << 29,
        "stored_bytes": 1 << 28,
        "objects": 12,
        "safety_bytes": {"receipts": 500},
        "cpu_seconds_verified": [2.0, 2.5],
        "cpu_seconds_unverified": [1.5],
        "verification_cpu_seconds": 0.75,
    },
}


def evidence(name: str) -> Evidence:
    machine = {"cores": 2, "processor": "a processor", "kernel": "6.1", "python": "3.11.9"}
    return Evidence(name, f"python -m {name}", True, False, "abc1234", "2026-11-25", 61.0, machine, FIGURES[name])


ALL = {name: evidence(name) for name in FIGURES}


@pytest.mark.parametrize(
    "text",
    [
        "| operations | 1,234,567 |",
        "| late apply | 77 |",
        "| packs repacked | 8 |",
        "| frames written anew | 0 |",
        "| every store call[first backup] | 60 |",
        "| crashes in all | 100 |",
        "468,344 states, no violation",
        "| mutants killed | 1 of 2 |",
        "| crypto.frames | 18 of 20 noticed (90 %), 1 of them by taking too long; 60 are possible |",
        "| ops.backup.commit | 20 of 20 noticed (100 %); 1,030 are possible |",
        "| all | 38 of 40 noticed (95 %), 1 of them by taking too long; 1,090 are possible |",
        "| mutated objects: refused | 4,321 |",
        "bomb of 64 MiB is refused | 5,000 bytes |",
        "| slot | 900 detected, 0 harmless, 0 missed |",
        "| all | 900 detected, 4 harmless, 0 missed |",
        "| encryptions with AES-256-GCM | 98,765 |",
        "| grade a: objects decrypted | 0 |",
        "| Tempest, the policy without its condition, versions: decrypted | 0 of 9,000 |",
        "| Tempest, the policy without its condition, versions: objects that can be fetched | 25 of 80: hosts, index |",
        "| Tempest, the policy without its condition, versions: overwrites accepted | 33 of 80 |",
        "| Tempest, the policy without its condition, versions: deletions accepted | 1 of 240 |",
        "| Tempest, the policy without its condition, versions: the host itself can back up | yes |",
        "| Tempest, the policy as it is printed: the host itself can back up | no |",
        "| kills | 31 |",
        "| violations | 1 |",
        "| all of these | 1,000 bytes per GiB backed up, 0.000 % |",
        "0.75 s, 1.50 s per GiB",
        "Commit abc1234, 2026-11-25, 61 s on 2 cores (a processor)",
        "python -m overhead",
    ],
)
def test_figures_are_those_of_the_evidence(text: str) -> None:
    assert text in render(ALL)


def test_every_figure_has_a_limit_and_is_measured_or_said_to_be_missing() -> None:
    for page in (render(ALL), render({})):
        sections = page.split("\n## ")[1:]
        assert len(sections) == 12
        assert all("*What this does not show*: " in section for section in sections)
        assert all("| what | how much |" in section or "not measured" in section for section in sections)
    assert render({}).count("| **not measured** |") == 12


def test_what_is_missing_beside_what_is_there() -> None:
    missing = "simulation_rollback, simulation_copy, simulation_domains, simulation_crowd"
    assert f"| 1 | Simulated runs | passed; **not measured**: {missing} |" in render(ALL)


def test_a_failure_and_a_short_version_can_not_be_overlooked() -> None:
    page = render(ALL | {"model": replace(ALL["model"], passed=False, small=True)})
    assert "| 4 | The protocol as a model | **failed**: model, in the short version |" in page
    assert "| ended as it should | **no** |" in page
    assert "less than what is aimed at" in page


def test_rows_have_as_many_cells_as_their_head() -> None:
    for block in re.findall(r"(?:^\|.*\n)+", render(ALL), re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_page_in_the_project_is_made_of_the_evidence_beside_it() -> None:
    docs = Path(__file__).parents[2] / "docs"
    assert (docs / "reliability.md").read_text() == render(load_all(docs / "reliability"))
