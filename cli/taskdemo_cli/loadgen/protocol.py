"""What crosses the pipe to the load process and back: a `Plan` or a `Stop` goes in, frames come out.

One JSON command per line on the process's standard input, frames (four bytes of big-endian length, then msgpack) on its
standard output. The end of standard input ends the process at once.
"""

import json
import math
import queue
from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct, convert, to_builtins
from msgspec.msgpack import Decoder, Encoder

Sample: TypeAlias = tuple[int, float, float | None, float | None, float, int | None, str | None, str | None, str | None]
"""n, planned, sent, first byte, done, status, error, task id, reason: what a frame says of one request that has ended.

The error is a kind, the name of an httpx exception; the reason is its cause, in the words of the system or the parser.
"""

LATE_S: Final = 0.002
"""Open loop: a send that happens later than this after its planned time counts as late."""


class Plan(Struct, frozen=True, kw_only=True, tag=True):
    """What one run fires. Closed loop with `concurrency`, open loop with `rate`; times in seconds, rates per second."""

    url: str
    """`{n}` in its path or query becomes the request's number, from 1."""
    method: str = "GET"
    body: str | None = None
    """Its bytes, each as the character of that number (Latin-1), so that a plan is JSON whatever they are.

    Where they are text, `{n}` in them becomes the request's number, as it does in the URL.
    """
    message: str | None = None
    """Goes along as `?message=`; `{n}` in it becomes the request's number, from 1."""
    count: int | None = None
    for_s: float | None = None
    """Begin requests for this long, as the alternative to `count`."""
    concurrency: int | None = None
    rate: float | None = None
    timeout_s: float | None = None
    """The whole run's deadline: requests in flight end with ReadTimeout, the rest is not sent."""
    request_timeout_s: float | None = None
    """Each request's own: from its sending it ends with ReadTimeout, and with ConnectTimeout while it connects."""
    headers: Sequence[tuple[str, str]] = ()
    """Instead of ours where the names are the same; one name may come several times."""
    until_stopped: bool = False
    """Begin requests until `Stop`."""

    @property
    def total(self) -> int | None:
        """How many requests there are to be; None where only the run itself shows that."""
        if self.rate is None or self.for_s is None:
            return self.count
        return max(1, math.ceil(self.for_s * self.rate - 1e-9))


class Stop(Struct, frozen=True, tag=True):
    """End the run now: what is in flight is reported as Cancelled, and `Done` follows."""


class Ready(Struct, frozen=True, tag=True):
    """The process has done its imports."""


class Started(Struct, frozen=True, tag=True):
    """A run has begun; `t0` is its first planned send."""

    t0: float


class Batch(Struct, frozen=True, tag=True):
    """The requests that have ended since the last batch, and those that are under way."""

    samples: list[Sample]
    in_flight: list[tuple[int, float]] = []
    """Number and time of sending of the oldest ones."""
    sent: int = 0
    """How many requests were sent so far."""
    at: float = 0.0
    """When this was so; what was answered since then is not known yet."""


class Done(Struct, frozen=True, tag=True, kw_only=True):
    """A run has ended, and how the client itself did."""

    wall: float = 0.0
    late: int = 0
    """Sends that came later than planned."""
    late_connecting: int = 0
    """Those of them that waited for a connection of their own to be opened."""
    late_unconnected: int = 0
    """Those of them that waited for a connection of another, because no more could be opened."""
    cpu_share: float | None = None
    loop_lag_p99: float | None = None
    body_bytes: int = 0
    """Of all answers."""
    not_sent: int = 0
    timed_out: bool = False
    """Whether the plan's `timeout_s` ended it."""


class Refused(Struct, frozen=True, tag=True):
    """The plan cannot be fired; the next one may be."""

    why: str


class Gone(Struct, frozen=True):
    """The process has ended. It does not say so itself; its handle does."""

    returncode: int


Command: TypeAlias = Plan | Stop
Frame: TypeAlias = Ready | Started | Batch | Done | Refused
Frames: TypeAlias = queue.Queue[tuple[str, Frame | Gone]]

encode_frame: Final = Encoder().encode
_decoder: Final[Decoder[Frame]] = Decoder(Frame)
decode_frame: Final = _decoder.decode


def encode_command(command: Command) -> bytes:
    """Return the command as a line; a text in it may hold lone surrogates, as a shell passes on what is no UTF-8."""
    return json.dumps(to_builtins(command)).encode() + b"\n"


def decode_command(line: bytes) -> Command:
    """Return the command of a line."""
    command: Command = convert(json.loads(line), Plan | Stop)
    return command
