"""Where a command's result goes, on the screen and besides, and the exit code that it makes."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from msgspec import UnsetType
from msgspec.structs import replace

from taskdemo_cli.analysis import thresholds
from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.run import RunDocument, ThresholdRow
from taskdemo_cli.errors import FAILED, OK, THRESHOLD_MET, UserError
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.reports import files
from taskdemo_cli.reports.output import Output

Judged = TypeVar("Judged", RunDocument, ComparisonDocument, CapacityDocument)


class Keeping:
    """Where a result goes besides the screen, and what in it makes the command fail.

    Raises UserError, before anything runs, for a file that could not be written and a threshold that cannot be read.
    """

    def __init__(
        self,
        as_json: bool = False,
        saves: Sequence[str] | None = None,
        html: str | None = None,
        fail_if: Sequence[str] | None = None,
        modes: Sequence[str] = (),
        metrics: Collection[str] = thresholds.METRICS,
    ) -> None:
        self.as_json = as_json
        self._paths = [*(saves or ()), *([html] if html else [])]
        self._thresholds = [thresholds.parse(text, modes, metrics=metrics) for text in fail_if or ()]
        files.check(saves or (), html)

    def judged(self, document: Judged) -> Judged:
        """Return the result with what became of the thresholds that it was compared with."""
        if not self._thresholds:
            return document
        return replace(document, thresholds=[thresholds.evaluate(one, document).row() for one in self._thresholds])

    def show(self, document: AnyDocument, output: Output) -> None:
        """Print the result, and save it everywhere it was asked for; what cannot be is said at the end."""
        try:
            output.show(document)
        finally:
            files.save_all(document, self._paths, output.wrote)

    def save_so_far(self, make: Callable[[], ComparisonDocument | CapacityDocument]) -> None:
        """Keep what there is of a result that grows, where it was to be saved as JSON; else nothing is made."""
        paths = [path for path in self._paths if path.endswith(".json")]
        if not paths:
            return
        document = make()
        for path in paths:
            with contextlib.suppress(UserError):  # it is tried, and told, again at the end
                files.save(document, path)


def exit_code(stopping: StopRequest, thresholds: Iterable[ThresholdRow] | UnsetType, *, failed: bool) -> int:
    """Return the exit code that says how it went: a stop tells more than a threshold, and that more than a failure."""
    if stopping.asked:
        return stopping.exit_code
    if any(threshold.held for threshold in thresholds or ()):
        return THRESHOLD_MET
    return FAILED if failed else OK


def has_failed(run: RunDocument) -> bool:
    """Tell whether a request failed, or a task was lost or never begun."""
    summary, never_ran = run.summary, run.blocking and run.blocking.never_ran
    ended_early = run.not_sent or run.timed_out or run.ended_because
    return bool(summary.requests.failed or summary.tasks.lost or ended_early or never_ran)
