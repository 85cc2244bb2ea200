"""How much of a frame may be dead, and what that comes to."""

from __future__ import annotations

import pytest

from seedcorn.errors import UsageError
from seedcorn.ops.deep.plan import PoorFrame, parse_max_dead


def test_a_share() -> None:
    assert parse_max_dead("50%") == 0.5 and parse_max_dead("0%") == 0 and parse_max_dead("12.5%") == 0.125


@pytest.mark.parametrize("text", ["", "50", "100%", "-1%", "5M", "unlimited", "%"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(UsageError):
        parse_max_dead(text)


def test_what_is_written_is_estimated_by_how_well_the_frame_was_compressed() -> None:
    assert PoorFrame(1, 500, 1000, 200).written_bytes == 100
    assert PoorFrame(1, 500, 1000, 0).written_bytes == PoorFrame(1, 40, 0, 0).written_bytes == 0
