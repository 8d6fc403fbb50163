"""How the report and the live page draw runs: colours, marks and words. Standard library only."""

from importlib.resources import files
from typing import Final

STYLE: Final = files(__package__).joinpath("drawing.css").read_text(encoding="utf-8")
"""CSS: the colours, light and dark, the fonts, and the marks of a timeline, whose classes are the legend's kinds."""
LANE: Final = 18.0
"""The height in pixels of a lane with room for a dot and a figure."""
HELD_UP_S: Final = 0.1
"""A bystander that waited this many seconds was held up, however small that is in the picture."""
LEGEND: Final = (
    ("wait", "a caller waits"),
    ("held", "its work runs, the caller waits"),
    ("answered", "answered"),
    ("queue", "its task is queued"),
    ("free", "work after the answer, nobody waits"),
    ("trouble", "failed, cancelled or lost"),
    ("open", "unfinished"),
    ("ping", "a bystander is answered at once"),
)
_NARROW: Final = {"answered", "trouble", "open"}
_MARKS: Final = {
    "wait": '<rect class="wait" y="6" width="34" height="2.5"/>',
    "answered": '<circle class="answered" cx="7" cy="7" r="4.5"/>',
    "queue": '<line class="queue" x1="2" x2="34" y1="7" y2="7"/>',
    "trouble": '<path class="trouble" d="M3 3l8 8m0-8l-8 8"/>',
    "open": '<path class="open" d="M4 3l4 4-4 4"/>',
    "ping": '<path class="ping" d="M3 7h0m9 0h0m9 0h0m9 0h0"/>',
    "kept": '<line class="kept" x1="1" x2="33" y1="7" y2="7"/>',
}
_THIN: Final = {"answered": '<line class="answered" x1="7" x2="7" y1="1" y2="13"/>'}


def key(kind: str, *, thin: bool = False) -> str:
    """Return the SVG mark of this kind for a legend; `thin`: as in lanes with no room for dots."""
    block = f'<rect class="{kind}" x="1" y="1.5" width="32" height="11" rx="1.5"/>'
    mark = _THIN.get(kind, block) if thin and kind not in {"trouble", "open"} else _MARKS.get(kind, block)
    width = 14 if kind in _NARROW else 34
    return f'<svg class="key{" thin" if thin else ""}" width="{width}" height="14" aria-hidden="true">{mark}</svg>'
