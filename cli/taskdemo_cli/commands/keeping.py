"""Where a command's result goes, on the screen and in files, and the exit code that follows from it."""

import contextlib
import functools
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from taskdemo_cli.analysis import thresholds
from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.errors import FAILED, OK, THRESHOLD_MET, UserError
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.reports import files
from taskdemo_cli.reports.output import Output


class Keeping:
    """Where a result goes besides the screen, and what in it makes the command fail.

    Raises UserError, before anything runs, for a file that cannot be written or a threshold that cannot be parsed.
    """

    def __init__(
        self,
        as_json: bool = False,
        saves: Sequence[str] | None = None,
        html: str | None = None,
        fail_if: Sequence[str] | None = None,
        modes: Sequence[str] = (),
        metrics: thresholds.Metrics = thresholds.METRICS,
    ) -> None:
        self._paths = [*(saves or ()), *([html] if html else [])]
        self._thresholds = [thresholds.parse(text, modes, metrics=metrics) for text in fail_if or ()]
        files.check(saves or (), html)
        self._as_json = as_json

    @functools.cached_property
    def output(self) -> Output:
        """Where the command writes; created on first use, because it is slow to import."""
        return Output(self._as_json)

    def finish(self, document: AnyDocument, stopping: StopRequest, *, failed: bool, met: bool = False) -> int:
        """Print the result, save it to every file that was asked for, and return the exit code.

        Errors in saving are reported at the end. A stop takes precedence over a condition that was `met`, and that over
        a failure.
        """
        rows = [thresholds.evaluate(one, document).row() for one in self._thresholds]  # type: ignore[arg-type]
        if rows:
            document = replace(document, thresholds=rows)
        try:
            self.output.show(document)
        finally:
            files.save_all(document, self._paths, self.output.wrote)
        if stopping.asked:
            return stopping.exit_code
        if met or any(row.held for row in rows):
            return THRESHOLD_MET
        return FAILED if failed else OK

    def save_so_far(self, make: Callable[[], ComparisonDocument | CapacityDocument]) -> None:
        """Save what there is so far of a growing result to its JSON files; without any, `make` is not called."""
        paths = [path for path in self._paths if path.endswith(".json")]
        if not paths:
            return
        document = make()
        for path in paths:
            with contextlib.suppress(UserError):  # it is tried again, and reported, at the end
                files.save(document, path)


def has_failed(run: RunDocument) -> bool:
    """Return whether a request failed or was not sent, a task was lost or never ran, or the run ended early."""
    summary, never_ran = run.summary, run.blocking and run.blocking.never_ran
    ended_early = run.not_sent or run.timed_out or run.ended_because
    return bool(summary.requests.failed or summary.tasks.lost or ended_early or never_ran)
