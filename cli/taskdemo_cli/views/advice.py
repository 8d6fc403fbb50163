"""The recommendation at the end of a comparison. Draws a document and computes nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from taskdemo_cli.views.compared import NAME
from taskdemo_cli.views.ink import BOLD, DIM, GOOD, Glyphs, cell, paragraph, row
from taskdemo_server.visible import visible


def advice_lines(advice: Mapping[str, Any], own: bool, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield which mode to use and why, what it gives up, and the code where the work is the reader's own."""
    yield row((f"Use {cell(advice['mode'], width).strip()}", GOOD + BOLD))
    yield from paragraph(advice["why"], width)
    for at, text in enumerate(advice["gives_up"]):
        first = cell("It gives up" if at == 0 else "", NAME)
        yield from paragraph(text, width, first=f"{first} {glyphs.dot} ", rest=" " * (NAME + 3))
    yield row("")
    if not own:
        yield from paragraph("The endpoint's code is in the page of --html FILE, and in --json.", width, DIM)
        return
    for line in advice["code"].splitlines():
        # Never cut: it is to be pasted. Wide lines go on in the next one.
        yield Text(visible(line), overflow="fold", no_wrap=False)
