"""The recommendation at the end of a comparison. Draws a document and computes nothing."""

from collections.abc import Iterator

from rich.text import Text

from taskdemo_cli.documents.types import Recommendation
from taskdemo_cli.reports.terminal.style import BOLD, DIM, GOOD, cell, paragraph, row
from taskdemo_server.contract.text import escape


def recommendation_lines(recommendation: Recommendation, own: bool, width: int) -> Iterator[Text]:
    """Yield which mode to use and why, what it gives up, and the code where the work is the reader's own."""
    yield row((f"Use {cell(recommendation.mode, width).strip()}", GOOD + BOLD))
    yield from paragraph(recommendation.why, width)
    if recommendation.gives_up:
        basis = f" ({recommendation.basis})" if recommendation.basis else ""
        texts = "; ".join(recommendation.gives_up).rstrip(".")
        yield from paragraph(f"It gives up{basis}: {texts}.", width)
    if not own:
        yield from paragraph("The endpoint's code is in the page of --html FILE, and in --json.", width, DIM)
        return
    yield row("")
    for line in recommendation.code.splitlines():
        # Never cut: it is to be pasted. Wide lines go on in the next one.
        yield Text(escape(line), overflow="fold", no_wrap=False)
