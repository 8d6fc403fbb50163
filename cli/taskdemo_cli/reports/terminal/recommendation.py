"""The recommendation at the end of a comparison. Draws a document and computes nothing."""

from collections.abc import Iterator, Mapping
from typing import Final

from rich.text import Text

from taskdemo_cli.documents.types import Cell, Recommendation
from taskdemo_cli.reports.terminal.limits import figure, limit_name
from taskdemo_cli.reports.terminal.style import BOLD, DIM, GOOD, cell, paragraph, row
from taskdemo_server.contract.text import escape

WIDEST_FIGURE: Final = 20


def advice_lines(advice: Recommendation, cells: Mapping[str, Cell], own: bool, width: int) -> Iterator[Text]:
    """Yield which mode to use and why, what it gives up, and the code where the work is the reader's own.

    `cells` are what was measured of that mode's limits: of these the figure is enough here.
    """
    yield row((f"Use {cell(advice.mode, width).strip()}", GOOD + BOLD))
    yield from paragraph(advice.why, width)
    if advice.gives_up:
        basis = f" ({advice.basis})" if advice.basis else ""
        texts = "; ".join(_gives_up(advice, cells)).rstrip(".")
        yield from paragraph(f"It gives up{basis}: {texts}.", width)
    if not own:
        yield from paragraph("The endpoint's code is in the page of --html FILE, and in --json.", width, DIM)
        return
    yield row("")
    for line in advice.code.splitlines():
        # Never cut: it is to be pasted. Wide lines go on in the next one.
        yield Text(escape(line), overflow="fold", no_wrap=False)


def _gives_up(advice: Recommendation, cells: Mapping[str, Cell]) -> Iterator[str]:
    measured = [limit for limit in advice.measured_limits or () if limit in cells]
    if measured:
        yield ", ".join(_measured(limit, cells[limit]) for limit in measured)
    yield from advice.gives_up[len(measured) :]


def _measured(limit: str, found: Cell) -> str:
    partly = "partly" if found.verdict == "partly" else ""
    words = ", ".join(filter(None, (partly, figure(found, WIDEST_FIGURE))))
    return f"{limit_name(limit)} ({words})" if words else limit_name(limit)
