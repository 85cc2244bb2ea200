"""What commands leave behind, read into figures: pytest's own report, JSON on standard output. Pure."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from xml.etree import ElementTree

__all__ = ["json_lines", "json_object", "pytest_report"]

Figures = dict[str, Any]


def json_object(text: str) -> Figures:
    """The last line."""
    found: Figures = json.loads(text.strip().rpartition("\n")[2])
    return found


def json_lines(text: str) -> Figures:
    """Every line, as ``rows``."""
    return {"rows": [json.loads(line) for line in text.splitlines() if line.strip()]}


def pytest_report(text: str) -> Figures:
    """``passed``, ``failed``, ``skipped`` of a JUnit report; ``modules``: the same by test module; ``counted``: what tests recorded, by test.

    A test that errors before or after it runs has failed.
    """
    modules: dict[str, Counter[str]] = {}
    counted: dict[str, dict[str, int]] = {}
    for case in ElementTree.fromstring(text).iter("testcase"):  # noqa: S314  # pytest has just written it
        module = case.get("classname", "")
        has_failed = case.find("failure") is not None or case.find("error") is not None
        outcome = "failed" if has_failed else "skipped" if case.find("skipped") is not None else "passed"
        modules.setdefault(module, Counter())[outcome] += 1
        if properties := {str(item.get("name")): int(str(item.get("value"))) for item in case.iter("property")}:
            counted[f"{module}::{case.get('name')}"] = properties
    total = sum(modules.values(), Counter[str]())
    return {
        **{outcome: total[outcome] for outcome in ("passed", "failed", "skipped")},
        "modules": {name: dict(counts) for name, counts in sorted(modules.items())},
        "counted": counted,
    }
