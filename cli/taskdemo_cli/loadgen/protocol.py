"""What crosses the pipe to the load process and back: a `Plan` goes in, frames come out.

One JSON command a line on the process's standard input, frames (four bytes of big-endian length, then a marshalled
dict) on its standard output; both ends are the same Python. The end of standard input ends the process at once.
"""

import queue
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Frame: TypeAlias = dict[str, Any]
Frames: TypeAlias = queue.Queue[tuple[str, Frame]]

Sample: TypeAlias = tuple[int, float, float | None, float | None, float | None, int | None, str | None, str | None]
"""n, planned, sent, first byte, done, status, error, task id: what a frame says of one request."""

LATE_S: Final = 0.002
"""Open loop: a send that happens later than this after its planned time counts as late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run fires. Closed loop with `concurrency`, open loop with `rate`; times in seconds, rates per second."""

    url: str
    method: str = "GET"
    body: str | None = None
    """Its bytes, each as the character of that number (Latin-1), so that a plan is JSON whatever they are."""
    message: str | None = None
    """Goes along as `?message=`; `{n}` in it becomes the request's number, from 1."""
    count: int | None = None
    for_s: float | None = None
    """Begin requests for this long, as the alternative to `count`."""
    concurrency: int | None = None
    rate: float | None = None
    timeout_s: float | None = None
    """The whole run's deadline: requests in flight end with ReadTimeout, the rest is not sent."""
    headers: Sequence[tuple[str, str]] = ()
    """Instead of ours where the names are the same; one name may come several times."""
    until_stopped: bool = False
    """Begin requests until `stop`."""
    through_httpx: bool = False
    """Use httpx's own transport although ours would do; so that its overhead can be measured."""
