"""The notes on a document and the outcomes of its thresholds, as lines below any report."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.run import ThresholdRow
from taskdemo_cli.reports.notes import notes
from taskdemo_cli.reports.terminal.style import NAME, NO, YES, Palette, cell, paragraph, row


def note_lines(document: AnyDocument, width: int) -> Iterator[Text]:
    """Yield, after an empty line, the notes on a document of any kind."""
    for place, note in enumerate(notes(document)):
        if not place:
            yield row("")
        style = Palette.DOUBT if note.is_doubt else Palette.DIM
        yield from paragraph(note.text, width, style, first=cell(note.about, NAME + 1) if note.about else "")


def threshold_lines(thresholds: Sequence[ThresholdRow], width: int) -> Iterator[Text]:
    """Yield, after an empty line, each threshold with its measured value, and whether it is met."""
    if thresholds:
        yield row("")
    for threshold in thresholds:
        sign, style = NO if threshold.held else YES
        yield from paragraph(threshold.text, width, first=(f"{sign} ", style))
