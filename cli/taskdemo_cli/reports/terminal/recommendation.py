"""The end of a comparison: five questions with the modes that answer them, and the recommendation. Computes nothing."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from taskdemo_cli.analysis.mode_summary import computing
from taskdemo_cli.documents.comparison import Recommendation
from taskdemo_cli.reports.terminal.comparison_table import NAME
from taskdemo_cli.reports.terminal.style import Ink, cell, paragraph, row
from taskdemo_server.contract.modes import MODES, QUESTIONS
from taskdemo_server.contract.text import escape

MORE = "--need NAME picks one for a need, with its code."
COMPUTES_QUESTION = "quiet"
"""The need beside which it is said whether the work computes."""
ROOMY = 90
"""Columns of a terminal in which all answers stand below one another."""


def question_lines(found: Sequence[Recommendation], cpu_share: float | None, width: int) -> Iterator[Text]:
    """Yield a line for each question, with the mode for each need in it, and what each of these modes gives up.

    `cpu_share`: how much of its time the work computes.
    """
    modes = {str(one.need): one.mode for one in found}
    # In a narrow terminal the longest question sticks out, so that an answer fits its line.
    wide = sorted(len(question) for question, _ in QUESTIONS)[-1 if width >= ROOMY else -2] + 1
    for question, needs in QUESTIONS:
        answers = [f"it {computing(cpu_share)}"] if cpu_share is not None and COMPUTES_QUESTION in needs else []
        for name in dict.fromkeys(modes.get(need) for need in needs):
            named = ", ".join(need for need in needs if modes.get(need) == name)
            answers.append(f"{named}: {name or 'none of these'}")
        yield from paragraph("; ".join(answers), width, first=f"{question:<{wide}} ")
    recommended = set(modes.values())
    for mode in MODES:
        if mode.name in recommended:
            yield row((cell(mode.name, NAME) + " ", Ink.BOLD), (f"gives up: {mode.given_up}", Ink.PLAIN))


def recommendation_lines(recommendation: Recommendation, width: int) -> Iterator[Text]:
    """Yield which mode to use and why; where needs were named, what it gives up and its code, too."""
    needs = f" for {recommendation.need}" if recommendation.need else ""
    if recommendation.mode is None:
        yield from paragraph(f"No recommendation{needs}: {recommendation.why}", width, Ink.DOUBT)
        return
    if not needs:
        yield from paragraph(f"Use {recommendation.mode}: {recommendation.why} {MORE}", width, Ink.GOOD)
        return
    yield row((f"Use {cell(recommendation.mode, width).strip()}{needs}", Ink.GOOD + Ink.BOLD))
    yield from paragraph(recommendation.why, width)
    if recommendation.gives_up:
        basis = f" ({recommendation.basis})" if recommendation.basis else ""
        texts = "; ".join(recommendation.gives_up).rstrip(".")
        yield from paragraph(f"It gives up{basis}: {texts}.", width)
    yield row("")
    for line in recommendation.code.splitlines():
        # Never cut: it is to be pasted. Wide lines go on in the next one.
        yield Text(escape(line), overflow="fold", no_wrap=False)
