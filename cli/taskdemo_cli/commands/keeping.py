"""Where the result of `fire`, `compare` and `capacity` goes besides the screen, and the exit code that it makes."""

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from msgspec.structs import replace

from taskdemo_cli.analysis import thresholds
from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.run import RunDocument
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
        saves: Sequence[str] = (),
        html: str | None = None,
        fail_if: Sequence[str] = (),
        modes: Sequence[str] = (),
        metrics: Collection[str] = thresholds.METRICS,
    ) -> None:
        self.as_json = as_json
        self._paths = [*saves, *([html] if html else [])]
        self._thresholds = [thresholds.parse(text, modes, metrics=metrics) for text in fail_if]
        files.check(saves, html)

    def judged(self, document: Judged) -> Judged:
        """Return the result with what became of the thresholds that were held against it."""
        if not self._thresholds:
            return document
        return replace(document, thresholds=[thresholds.evaluate(one, document).row() for one in self._thresholds])

    def save(self, document: RunDocument | ComparisonDocument | CapacityDocument, output: Output) -> None:
        """Save the result everywhere it was asked for; what cannot be is said at the end, after all the others."""
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


def exit_code(document: RunDocument | ComparisonDocument, runs: Sequence[RunDocument], stopping: StopRequest) -> int:
    """Return the exit code that says how these runs went."""
    if stopping.asked:
        return stopping.exit_code
    if any(threshold.held for threshold in document.thresholds or ()):
        return THRESHOLD_MET
    trouble = any(
        run.summary.requests.failed
        or run.summary.tasks.lost
        or run.not_sent
        or run.timed_out
        or run.ended_because
        or (run.blocking and run.blocking.never_ran)
        for run in runs
    )
    return FAILED if trouble else OK
