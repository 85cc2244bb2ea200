"""What a measurement found, and under what conditions: one JSON file for each, kept beside the page that is made of them.

Knows neither measurements nor pages.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

__all__ = ["Evidence", "load_all"]


@dataclass(frozen=True)
class Evidence:
    """``passed``: whether the command ended as it should. ``figures``: whatever it counted; a reader takes what it knows and leaves the rest."""

    name: str
    command: str
    passed: bool
    small: bool
    commit: str
    date: str
    seconds: float
    machine: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises TypeError if ``path`` holds something else."""
        return cls(**json.loads(path.read_text()))


def load_all(folder: Path) -> dict[str, Evidence]:
    """Everything that has been measured, by name."""
    return {found.name: found for found in map(Evidence.load, sorted(folder.glob("*.json")))}
