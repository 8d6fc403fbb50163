"""The load process's protocol: a `Plan` or a `Stop` goes in, frames come out.

Its standard input has one JSON command per line; its standard output has frames (four bytes of big-endian length,
then msgpack). When standard input ends, the process exits at once.
"""

import json
import math
import queue
from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct, convert, to_builtins
from msgspec.msgpack import Decoder, Encoder

Sample: TypeAlias = tuple[int, float, float | None, float | None, float, int | None, str | None, str | None, str | None]
"""One request that has ended: n, planned, sent, first byte, done, status, error, task id, reason.

Times are `time.monotonic()` seconds. The error is the name of an httpx exception, or Cancelled; the reason is its
cause, in the words of the system or the parser.
"""

TOO_LATE: Final = "ReadTimeout"
"""What a request ends with that was sent and not answered in time."""
LATE_S: Final = 0.002
"""Open loop: a request sent more than this many seconds after its planned time counts as late."""


class Plan(Struct, frozen=True, kw_only=True, tag=True):
    """What one run sends. Closed loop with `concurrency`, open loop with `rate`; seconds, requests per second."""

    url: str
    """`{n}` in its path or query becomes the request's number, from 1."""
    method: str = "GET"
    body: str | None = None
    """The body's bytes decoded as Latin-1, so any bytes fit into JSON.

    If they are text (UTF-8), `{n}` in them becomes the request's number, as in the URL.
    """
    message: str | None = None
    """Sent as `?message=`; `{n}` in it becomes the request's number, from 1."""
    count: int | None = None
    for_s: float | None = None
    """Begin requests for this long; the alternative to `count`."""
    concurrency: int | None = None
    rate: float | None = None
    timeout_s: float | None = None
    """The whole run's timeout: requests in flight end with ReadTimeout, and no more are sent."""
    request_timeout_s: float | None = None
    """Each request's timeout: ConnectTimeout while connecting, from the planned time; ReadTimeout once sent."""
    headers: Sequence[tuple[str, str]] = ()
    """Replace the default headers of the same names; a name may be repeated."""
    until_stopped: bool = False
    """Begin requests until `Stop`."""

    @property
    def total(self) -> int | None:
        """How many requests will be sent; None if that depends on the run."""
        if self.rate is None or self.for_s is None:
            return self.count
        return max(1, math.ceil(self.for_s * self.rate - 1e-9))


class Stop(Struct, frozen=True, tag=True):
    """End the run now: requests in flight end as Cancelled, and `Done` follows."""


class Ready(Struct, frozen=True, tag=True):
    """The process has finished its imports."""


class Started(Struct, frozen=True, tag=True):
    """A run has begun; `t0` is when its first request was planned."""

    t0: float


class Batch(Struct, frozen=True, tag=True):
    """The requests that have ended since the last batch, and the oldest in flight."""

    samples: list[Sample]
    in_flight: list[tuple[int, float]] = []
    """Number and time of sending of the oldest ones."""
    sent: int = 0
    """How many requests have been sent so far."""
    at: float = 0.0
    """When the batch was made."""


class Done(Struct, frozen=True, tag=True, kw_only=True):
    """A run has ended; what it reports about the client itself."""

    wall: float = 0.0
    late: int = 0
    """Requests sent more than LATE_S after their planned time."""
    late_connecting: int = 0
    """Late requests that waited for their own connection to open."""
    late_unconnected: int = 0
    """Late requests that waited for another's connection, because no more could be opened."""
    cpu_share: float | None = None
    loop_lag_p99: float | None = None
    body_bytes: int = 0
    """Bytes of all response bodies."""
    not_sent: int = 0
    timed_out: bool = False
    """Whether the plan's `timeout_s` ended the run."""


class Refused(Struct, frozen=True, tag=True):
    """The plan cannot be run; the next one may be."""

    why: str


class Gone(Struct, frozen=True):
    """The process has ended; reported by its handle."""

    returncode: int


Command: TypeAlias = Plan | Stop
Frame: TypeAlias = Ready | Started | Batch | Done | Refused
Frames: TypeAlias = queue.Queue[tuple[str, Frame | Gone]]

encode_frame: Final = Encoder().encode
_decoder: Final[Decoder[Frame]] = Decoder(Frame)
decode_frame: Final = _decoder.decode


def encode_command(command: Command) -> bytes:
    """Return the command as a line of JSON; lone surrogates in it, from a shell's non-UTF-8 bytes, are allowed."""
    return json.dumps(to_builtins(command)).encode() + b"\n"


def decode_command(line: bytes) -> Command:
    """Decode a line made by `encode_command`."""
    command: Command = convert(json.loads(line), Plan | Stop)
    return command
