"""Rules for the whole suite: under CI a test runs and passes, or the build fails; no key seals twice; and only what is marked slow may take long."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.sealing_keys import MARKER, SealingKeys

SLOW_LIMIT_SECONDS = 1800  # for what takes minutes on a machine of its own; the limit of all others is in pyproject.toml


class NothingIsSkipped:
    """Turns every skip and expected failure, of a test or of a whole module, into a failure.

    A skipped test looks green and proves nothing. What a test needs is installed by tools/install_system or the requirements;
    if it is missing, the setup is broken and that should be seen.
    """

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        _refuse(report)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        _refuse(report)
        return report


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped:  # pytest reports an expected failure as a skip with a `wasxfail`
        reason = vars(report).pop("wasxfail", None) or report.longreprtext
        report.outcome = "failed"
        report.longrepr = f"skipped or expected to fail, which CI does not accept: {reason}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sealing-keys", type=Path, metavar="FILE", help="write there, as JSON, how many keys sealed and how many of them twice")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}: seals under keys that are written in the test; they may repeat (tests/sealing_keys.py)")
    config.pluginmanager.register(SealingKeys(config.getoption("--sealing-keys")))
    if os.environ.get("CI"):
        config.pluginmanager.register(NothingIsSkipped())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_LIMIT_SECONDS))


@pytest.fixture
def no_umask() -> Iterator[None]:
    """What is made has the very mode that it is made with."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)
