"""Pictures of the main job: time, size, memory; ours beside the peers. Sole importer of matplotlib.

One picture has one panel for each step, because steps differ by orders of magnitude. Bars are medians, whiskers the extremes of all rounds. Equal
results give equal files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.main_job import AGAIN, CPU_FLOOR, FIRST, RESTORE, RESTORE_TMPFS, SECOND, TREE, WALK_FLOOR
from benchmarks.peers import OURS
from benchmarks.results import Record, Results
from benchmarks.runner import FLOOR
from benchmarks.targets import peak, put, stored, wall

__all__ = ["PICTURES", "draw"]

_COLOURS = {OURS: "#2f7d32"}
_PEER_COLOUR, _FLOOR_COLOUR = "#9aa5b1", "#444444"


@dataclass(frozen=True)
class _Panel:
    title: str
    step: str
    value: Callable[[Record], float | None]
    floor: str = ""  # drawn as a line


PICTURES: dict[str, tuple[str, Sequence[_Panel]]] = {
    "time": (
        "wall time, seconds",
        [
            _Panel("first backup", FIRST, wall, CPU_FLOOR),
            _Panel("nothing changed", AGAIN, wall, WALK_FLOOR),
            _Panel("second day", SECOND, wall),
            _Panel("restore to disk", RESTORE, wall),
            _Panel("restore to tmpfs", RESTORE_TMPFS, wall),
        ],
    ),
    "size": ("MB", [_Panel("stored after the first backup", FIRST, stored), _Panel("put on the second day", SECOND, put)]),
    "memory": (
        "peak memory, MiB",
        [
            _Panel("first backup", FIRST, peak),
            _Panel("nothing changed", AGAIN, peak),
            _Panel("second day", SECOND, peak),
            _Panel("restore to disk", RESTORE, peak),
        ],
    ),
}


def draw(main: Results, folder: Path) -> list[Path]:
    """Write every picture as SVG; their paths."""
    written = []
    with mpl.rc_context({"svg.hashsalt": "seedcorn", "svg.fonttype": "none", "font.size": 9}):
        for name, (unit, panels) in PICTURES.items():
            figure = Figure(figsize=(2.3 * len(panels), 2.6), layout="constrained")
            for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
                _draw_panel(axes, main, panel)
            figure.supylabel(unit)
            written.append(folder / f"{name}.svg")
            figure.savefig(written[-1], metadata={"Date": None})
    return written


def _draw_panel(axes: Axes, main: Results, panel: _Panel) -> None:
    found = {name: figure for name in main.head["versions"] if (figure := main.figure(TREE, name, panel.step, panel.value))}
    medians = [figure.median for figure in found.values()]
    whiskers = [[figure.median - figure.low for figure in found.values()], [figure.high - figure.median for figure in found.values()]]
    colours = [_COLOURS.get(name, _PEER_COLOUR) for name in found]
    bars = axes.bar(list(found), medians, yerr=whiskers, color=colours, ecolor=_FLOOR_COLOUR, capsize=2)
    axes.bar_label(bars, labels=[f"{median:.3g}" if median < 1000 else f"{median:,.0f}" for median in medians], padding=1, fontsize=8)
    floor = main.figure(TREE, FLOOR, panel.floor, panel.value) if panel.floor else None
    if floor:
        axes.axhline(floor.median, color=_FLOOR_COLOUR, linewidth=1, linestyle="--")
    axes.set_title(panel.title, fontsize=9)
    axes.tick_params(axis="x", labelrotation=30)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.18)
