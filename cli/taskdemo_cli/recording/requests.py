"""The requests of a run in progress: one array per field, so a million of them take 60 MB.

Times are microseconds of the client's monotonic clock. A missing time is NaN, so any difference with it is NaN too.
"""

import sys
from array import array
from collections.abc import Iterator
from math import isnan, nan
from typing import Final

from taskdemo_cli.documents.run import RequestRow
from taskdemo_cli.loadgen.protocol import Sample
from taskdemo_cli.stats import MICRO
from taskdemo_server.contract.text import shortened

NEVER: Final = nan
LONGEST_REASON: Final = 120


def micro(seconds: float | None) -> float:
    """Return a time in whole microseconds, the journal's resolution; NaN for None."""
    return NEVER if seconds is None else float(round(seconds * MICRO))


def seconds(microseconds: float) -> float | None:
    """Return microseconds as seconds; None for NaN."""
    return None if isnan(microseconds) else microseconds / MICRO


def interned(text: str | None) -> str | None:
    """Return the interned text, so equal texts share one object; None for None."""
    return text and sys.intern(text)


class Requests:
    """What was reported of each request; request `n` is at place n - 1.

    `from_plan`: response times count from the planned send, as an open loop requires: otherwise a stall of the server
    would be hidden.
    """

    def __init__(self, *, from_plan: bool = False) -> None:
        self._from_plan = from_plan
        self.planned = array("d")
        self.sent = array("d")
        self.first_byte = array("d")
        self.done = array("d")
        self.status: list[int | None] = []
        self.error: list[str | None] = []
        self.reason: list[str | None] = []
        """Why it failed, if more is known than the kind of error."""
        self.task_id: list[str | None] = []
        """The task that the response named, if the run follows tasks."""

    def add(self, sample: Sample) -> None:
        """Store one sample without its task."""
        n, planned, sent, first_byte, done, status, error, _, reason = sample
        missing = n - len(self.status)
        for times in (self.planned, self.sent, self.first_byte, self.done):
            times.extend([NEVER] * missing)
        for column in (self.status, self.error, self.reason, self.task_id):
            column.extend([None] * missing)
        at = n - 1
        self.planned[at] = micro(planned)
        self.sent[at] = micro(sent)
        self.first_byte[at] = micro(first_byte)
        self.done[at] = micro(done)
        self.status[at] = status
        self.error[at] = interned(error)
        self.reason[at] = interned(reason and shortened(reason, LONGEST_REASON))

    def is_reported(self, at: int) -> bool:
        """Return whether a sample of the request at this place has arrived; every sample has a planned time."""
        return at < len(self.planned) and not isnan(self.planned[at])

    def places(self) -> Iterator[int]:
        """Yield the places of the reported requests, in order of their numbers."""
        return filter(self.is_reported, range(len(self.planned)))

    def is_answered(self, at: int) -> bool:
        """Return whether the response to the request at this place is complete, whatever its status."""
        return self.status[at] is not None and self.error[at] is None

    def response(self, at: int) -> float:
        """Return the response time in microseconds; NaN without a complete response."""
        return self.done[at] - self.begun(at) if self.is_answered(at) else NEVER

    def begun(self, at: int) -> float:
        """Return when the response time begins to count."""
        return self.planned[at] if self._from_plan else self.sent[at]

    def trouble(self, at: int) -> str | None:
        """Return the kind of failure: the exception's name, or `HTTP` and a status of 400 or more; None if none."""
        status = self.status[at]
        return self.error[at] or (f"HTTP {status}" if status is not None and status >= 400 else None)

    def row(self, at: int, base: float) -> RequestRow:
        """Return the request at this place, with times since `base`."""
        return RequestRow(
            n=at + 1,
            task_id=self.task_id[at],
            status=self.status[at],
            error=self.trouble(at),
            reason=self.reason[at],
            planned_s=seconds(self.planned[at] - base),
            sent_s=seconds(self.sent[at] - base),
            first_byte_s=seconds(self.first_byte[at] - base),
            done_s=seconds(self.done[at] - base),
            response_s=seconds(self.response(at)),
        )

    def rows_since(self, base: float) -> list[RequestRow]:
        """Return all requests except those that were done before `base`."""
        return [self.row(at, base) for at in self.places() if not self.done[at] < base]
