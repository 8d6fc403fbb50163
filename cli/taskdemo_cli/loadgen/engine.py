"""One run: sends a plan's requests and emits a sample of each.

Knows connections, the clock and the plan; knows no screen, no server of ours, and no statistics but those about
itself (CPU share, loop lag, late sends).

What the times of a sample mean (README and reports rely on it):
- Closed loop: each caller has its own connection. All connections are opened first, then the first requests are sent
  together. These are planned for t0, before connecting, so connecting counts as waiting (planned to sent) and not
  as response time (sent to last byte). hey includes it in the first request of each connection.
  A connection that takes longer than `BARRIER_S` does not delay the others. Each later request is planned for the
  moment when its caller's previous request was done.
- Open loop: request n is planned for t0 + (n - 1) / rate, whatever the server does. It takes an idle connection
  or opens one; if no more can be opened, it waits for one. A bystander's calls are shifted within each interval.
"""

import asyncio
import math
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Final
from urllib.parse import quote, urlsplit

import httpx

from taskdemo_cli.loadgen.connection import Connection, reason_of
from taskdemo_cli.loadgen.origin import Origin
from taskdemo_cli.loadgen.protocol import LATE_S, TOO_LATE, Batch, Done, Frame, Plan, Sample, Started
from taskdemo_cli.loadgen.request_options import NUMBER, ParsedUrl, is_text, merged, read_proxy
from taskdemo_cli.loadgen.timer import Timer
from taskdemo_server.contract.settings import VERSION

BATCH_S: Final = 0.1
BARRIER_S: Final = 1.0
LAG_TICK_S: Final = 0.01
SPREAD: Final = (5**0.5 - 1) / 2
"""Each of a bystander's calls is shifted by this share of an interval (the golden ratio) from the one before.
Otherwise its calls would always meet work that takes one interval at the same point."""
LAST_ANSWERS_S: Final = 0.5
"""How long a run with `until_stopped` waits for the last responses once it is stopped."""
IN_FLIGHT_SHOWN: Final = 50
A_CONNECTION: Final = "a connection of its own"
ANOTHERS_CONNECTION: Final = "the connection of another"
TURN: Final = 32
"""How many requests are sent at a time before the event loop may read responses and notice timeouts: of a closed loop's
first ones, and of those that an open loop is late with."""


class Payload:
    """The bytes of request n of a plan, built once and split where the number goes."""

    def __init__(self, plan: Plan, proxy: ParsedUrl | None = None) -> None:
        asked, body = urlsplit(plan.url), (plan.body or "").encode("latin-1")
        # A proxy needs the absolute URL and its own headers, except for https, where it only opens a tunnel.
        via = proxy if proxy is not None and asked.scheme == "http" else None
        ours = [("Accept", "*/*"), ("User-Agent", f"taskdemo/{VERSION}"), *(via.headers if via else ())]
        request = httpx.Request(plan.method, plan.url, headers=merged(ours, plan.headers), content=body or None)
        # The target as the user wrote it, as reports show it; httpx would resolve `..`.
        target = (asked.path or "/") + (f"?{asked.query}" if asked.query else "")
        if via is not None:
            target = f"http://{request.url.netloc.decode()}{target}"
        if plan.message is not None:
            # Bytes that are not UTF-8 are sent as the shell passed them.
            pieces = (quote(piece, safe="", errors="surrogateescape") for piece in plan.message.split(NUMBER))
            target += f"{'&' if '?' in target else '?'}message={NUMBER.join(pieces)}"
        self._body = body.split(NUMBER.encode()) if is_text(body) and NUMBER.encode() in body else None
        if self._body is not None:
            del request.headers["Content-Length"]  # depends on the number
        lines = [b" HTTP/1.1", *map(b": ".join, request.headers.raw), b""]
        *before, last = f"{plan.method} {target}".encode().split(NUMBER.encode())
        self._parts = [*before, last + b"\r\n".join(lines) + (b"\r\n" + body if self._body is None else b"")]

    def __call__(self, n: int) -> bytes:
        """Return the request's bytes."""
        parts = self._parts
        head = parts[0] if len(parts) == 1 else str(n).encode().join(parts)
        if self._body is None:
            return head
        body = str(n).encode().join(self._body)
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


class LoopLag:
    """Samples how late the event loop runs a timer, in seconds.

    A stall adds one sample for each tick that it delayed; otherwise a stall of a second would count no more than a
    short one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._lags = array("d")
        self._timer = Timer(loop, self._tick)
        self._due = time.monotonic() + LAG_TICK_S
        self._timer.at(self._due)

    def _tick(self) -> None:
        now = time.monotonic()
        while self._due <= now:
            self._lags.append(now - self._due)
            self._due += LAG_TICK_S
        self._timer.at(self._due)

    def close(self) -> float:
        """Stop and return the 99th percentile (nearest rank); 0 if the run was too short for a sample."""
        self._timer.close()
        lags = sorted(self._lags)
        return max(0.0, lags[math.ceil(0.99 * len(lags)) - 1]) if lags else 0.0


class Run:
    """One run of one plan on the running event loop; `go()` returns when the last request has ended."""

    def __init__(self, plan: Plan, emit: Callable[[Frame], None], connections: int) -> None:
        self._plan = plan
        self._emit = emit
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        proxy = read_proxy(plan.url)
        self._payload = Payload(plan, proxy)
        self._closes = any(name.lower() == "connection" and "close" in value.lower() for name, value in plan.headers)
        """Whether each request has `Connection: close`."""
        self._origin = Origin(httpx.URL(plan.url), proxy)
        self._t0 = 0.0
        self._total = plan.total
        self._stop_at = math.inf
        self._n = 0
        """How many requests have been planned so far."""
        self._sent = 0
        self._late: Counter[str] = Counter()
        """How many requests were sent late, by what they waited for."""
        self._timed_out = False
        self._body_bytes = 0
        self._samples: list[Sample] = []
        # Each connection is in exactly one of these three.
        self._waiting: dict[int, tuple[Connection, asyncio.Task[None]]] = {}
        """Connections being opened, each with the task that opens it, by request number."""
        self._in_flight: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._backlog: deque[tuple[int, float]] = deque()
        """Open loop: number and planned time of requests that wait because no more connections can be opened."""
        self._together = False
        """Whether the callers' connections are still being opened, before the first requests are sent together."""
        self._timer: Timer | None = None
        self._timeouts: Timer | None = None
        """Ends requests that exceed `request_timeout_s`."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] = self._loop.create_future()

    async def go(self) -> None:
        """Send the requests; emit `Started`, batches and `Done`. Raises errors of connecting other than OSError."""
        plan = self._plan
        lag = LoopLag(self._loop)
        t0 = self._t0 = time.monotonic()
        cpu = time.process_time()
        self._emit(Started(t0))
        self._flushing = self._loop.call_later(BATCH_S, self._flush_again)
        deadline = None
        if plan.timeout_s is not None:
            deadline = self._loop.call_later(plan.timeout_s, self._time_out)
        if plan.request_timeout_s is not None:
            self._timeouts = Timer(self._loop, self._end_late)
            self._timeouts.at(t0 + plan.request_timeout_s)
        try:
            if plan.rate is not None:
                self._timer = Timer(self._loop, self._tick)
                self._tick()
            else:
                self._stop_at = t0 + (math.inf if plan.for_s is None else plan.for_s)
                self._spawn(self._begin(plan.concurrency or plan.count or 1))
            await self._over
            cpu = time.process_time() - cpu
            wall = time.monotonic() - t0
        finally:
            lag_p99 = lag.close()
            self._flushing.cancel()
            if deadline is not None:
                deadline.cancel()
            for timer in (self._timer, self._timeouts):
                if timer is not None:
                    timer.close()
            for task in self._tasks:
                task.cancel()
            for lane in (*self._idle, *self._in_flight.values(), *(lane for lane, _ in self._waiting.values())):
                lane.abort()
        self._flush()
        self._emit(
            Done(
                wall=wall,
                late=self._late.total(),
                late_connecting=self._late[A_CONNECTION],
                late_unconnected=self._late[ANOTHERS_CONNECTION],
                cpu_share=cpu / wall if wall else 0.0,
                loop_lag_p99=lag_p99,
                body_bytes=self._body_bytes,
                not_sent=0 if self._total is None else self._total - self._n,
                timed_out=self._timed_out,
            )
        )

    def stop(self) -> None:
        """End the run: requests in flight end as Cancelled; those waiting for a connection count as not sent.

        A run with `until_stopped` first waits LAST_ANSWERS_S for its last responses, which took longest.
        """
        if self._plan.until_stopped and self._total is None:
            self._total = self._n
            self._loop.call_later(LAST_ANSWERS_S, self._cancel)
            self._end_if_over(time.monotonic())
        else:
            self._cancel()

    def _cancel(self) -> None:
        if not self._over.done():
            self._n -= len(self._waiting) + len(self._backlog)
            self._end("Cancelled")

    def _time_out(self) -> None:
        if self._over.done():
            return
        self._timed_out = True
        now = time.monotonic()
        for n, (lane, _) in self._waiting.items():
            self._miss(n, lane.planned, now, "ConnectTimeout")
        for n, planned in self._backlog:
            self._miss(n, planned, now, "PoolTimeout")
        self._end(TOO_LATE)

    def _end_late(self) -> None:
        """End the requests that exceeded `request_timeout_s`, and set the timer for the next one that could."""
        timeout_s, now = self._plan.request_timeout_s or math.inf, time.monotonic()
        # Nothing times out while the callers' connections are opened together; an open one then waits for its turn.
        opening = [] if self._together else [one for one in self._waiting.values() if not one[1].done()]
        while self._backlog and self._backlog[0][1] + timeout_s <= now:  # first: none of these may get a connection
            self._miss(*self._backlog.popleft(), now, "PoolTimeout")
        for lane, task in opening:
            if lane.planned + timeout_s <= now:
                task.cancel()
                del self._waiting[lane.n]
                self._miss(lane.n, lane.planned, now, "ConnectTimeout")
                self._go_on(None, now)
        for n, lane in list(self._in_flight.items()):
            if lane.sent + timeout_s > now:  # ordered by time of sending
                break
            del self._in_flight[n]
            self._give_up(lane, now, TOO_LATE)
            self._go_on(None, now)
        began = [lane.planned for lane, _ in opening if lane.n in self._waiting]
        began += [planned for _, planned in islice(self._backlog, 1)]
        began += [lane.sent for lane in islice(self._in_flight.values(), 1)]
        if self._timeouts is not None:
            self._timeouts.at(min(began, default=now) + timeout_s)
        self._end_if_over(now)

    def _miss(self, n: int, planned: float, now: float, error: str, reason: str | None = None) -> None:
        """Record a request that was never sent."""
        self._samples.append((n, planned, None, None, now, None, error, None, reason))

    def _end(self, error: str) -> None:
        now = time.monotonic()
        for lane in self._in_flight.values():
            self._give_up(lane, now, error)
        self._in_flight.clear()
        self._over.set_result(None)

    def _give_up(self, lane: Connection, now: float, error: str) -> None:
        lane.abort()
        lane.done, lane.error = now, error
        self._report(lane)

    # One request

    def _start(self, lane: Connection, n: int, planned: float, waited_for: str = "") -> None:
        """Send request `n`. An open loop counts late ones by `waited_for`."""
        lane.n = n
        lane.planned = planned
        self._in_flight[n] = lane
        self._sent += 1
        lane.start(self._payload(n))
        if self._timer is not None and lane.sent - planned > LATE_S:
            self._late[waited_for] += 1

    def _ended(self, lane: Connection) -> None:
        del self._in_flight[lane.n]
        self._report(lane)
        if self._closes and not lane.closed:
            lane.close()
        self._go_on(None if lane.closed else lane, lane.done)

    def _report(self, lane: Connection) -> None:
        self._body_bytes += lane.body_bytes
        self._samples.append(
            (
                lane.n,
                lane.planned,
                lane.sent,
                lane.first_byte,
                lane.done,
                lane.status,
                lane.error,
                lane.task_id,
                lane.reason,
            )
        )

    async def _connect(self, lane: Connection, waited_for: str) -> None:
        n, planned = lane.n, lane.planned
        try:
            await self._origin.connect(lane)
        except OSError as error:
            error.__traceback__ = None  # breaks a reference cycle: connection, error, frames
            if not self._over.done():
                now = time.monotonic()
                del self._waiting[n]
                self._miss(n, planned, now, "ConnectError", reason_of(error))
                self._go_on(None, now)
            return
        if not self._over.done() and not self._together:  # if the run has just ended, it counts as not sent
            del self._waiting[n]
            self._start(lane, n, planned, waited_for)

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done_with)
        return task

    def _done_with(self, task: "asyncio.Task[None]") -> None:
        """Forget a task; an error in it ends the run, which would otherwise wait forever."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._over.done():
            self._over.set_exception(error)

    def _open(self, n: int, planned: float, waited_for: str = A_CONNECTION) -> "asyncio.Task[None]":
        lane = self._origin.connection(self._ended)
        lane.n, lane.planned, lane.is_head = n, planned, self._plan.method == "HEAD"
        task = self._spawn(self._connect(lane, waited_for))
        self._waiting[n] = lane, task
        return task

    def _go_on(self, lane: Connection | None, now: float) -> None:
        """Send the next request on `lane`, or on a new connection if it is None; end the run if nothing is left."""
        if self._backlog:
            n, planned = self._backlog.popleft()
            waited_for = ANOTHERS_CONNECTION
        elif self._timer is None and now < self._stop_at and (self._total is None or self._n < self._total):
            n, planned = self._n + 1, now
            self._n, waited_for = n, A_CONNECTION
        else:
            if lane is not None:
                self._idle.append(lane)
            self._end_if_over(now)
            return
        if lane is None:
            self._open(n, planned, waited_for)
        else:
            self._start(lane, n, planned, waited_for)

    def _end_if_over(self, now: float) -> None:
        if self._in_flight or self._waiting or self._backlog or self._over.done():
            return
        if self._n == self._total or now >= self._stop_at:
            self._over.set_result(None)

    # Closed loop

    async def _begin(self, callers: int) -> None:
        """Open the callers' connections, then send their first requests together."""
        if self._over.done():  # a tiny --timeout has expired already
            return
        if self._total is not None:
            callers = min(callers, self._total)
        self._n = callers
        self._together = True
        together = min(BARRIER_S, self._plan.request_timeout_s or BARRIER_S, (self._plan.timeout_s or math.inf) / 2)
        await asyncio.wait([self._open(n, self._t0) for n in range(1, callers + 1)], timeout=together)
        self._together = False
        ready = [lane for lane, task in self._waiting.values() if task.done()]
        if self._timeouts is not None:
            self._timeouts.at(time.monotonic())
        for at, lane in enumerate(ready, 1):
            if self._over.done():
                return
            del self._waiting[lane.n]
            self._start(lane, lane.n, self._t0)
            if at % TURN == 0:
                await asyncio.sleep(0)

    # Open loop

    def _tick(self) -> None:
        """Send the requests that are due, TURN at a time; a late send does not shift the schedule."""
        rate, spread = self._plan.rate or 0.0, SPREAD if self._plan.until_stopped else 0.0
        now, turn_ends = time.monotonic(), self._n + TURN
        while self._n != self._total:
            planned = self._t0 + (self._n + self._n * spread % 1) / rate
            if planned > now or self._n == turn_ends:
                if self._timer is not None:
                    self._timer.at(planned)
                return
            n = self._n = self._n + 1
            while self._idle:
                lane = self._idle.pop()
                if not lane.closed:
                    self._start(lane, n, planned)
                    break
            else:
                if len(self._waiting) + len(self._in_flight) < self._connections:
                    self._open(n, planned)
                else:
                    self._backlog.append((n, planned))

    # Reporting

    def _flush_again(self) -> None:
        self._flush()
        self._flushing = self._loop.call_later(BATCH_S, self._flush_again)

    def _flush(self) -> None:
        samples, self._samples = self._samples, []
        oldest = [(n, lane.sent) for n, lane in islice(self._in_flight.items(), IN_FLIGHT_SHOWN)]
        self._emit(Batch(samples, oldest, self._sent, time.monotonic()))
