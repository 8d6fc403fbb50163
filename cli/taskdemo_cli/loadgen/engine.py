"""One run: fires a plan, and yields what it saw of each request.

Knows the wire, the clock and the plan; knows no screen, no server of ours and no statistics but its own doubts
(CPU share, loop lag, late sends).

What the stamps of a sample mean (README and reports rely on it):
- Closed loop: every caller has a connection of its own. All connections are opened first, then the first requests
  are sent, all at once. Their planned time is t0, before connecting, so the connecting is their wait (planned to
  sent) and not part of the response time (sent to last byte). hey's first request of each connection includes it.
  A connection that takes longer than `BARRIER_S` does not hold up the others. Each later request is planned for
  the moment when the one before it on the same caller was done.
- Open loop: request n is planned for t0 + (n - 1) / rate, whatever the server does. It takes an idle connection
  or opens one; where no more can be opened, it waits for one. A bystander comes at another moment of each turn.
"""

import asyncio
import math
import time
from array import array
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Final
from urllib.parse import quote, urlsplit

import httpx

from taskdemo_cli.loadgen.connection import Connection, reason_of, serialise
from taskdemo_cli.loadgen.origin import Origin
from taskdemo_cli.loadgen.protocol import LATE_S, Batch, Done, Frame, Plan, Sample, Started
from taskdemo_cli.loadgen.proxies import read_proxy
from taskdemo_cli.loadgen.request import NUMBER, ParsedUrl, merged
from taskdemo_cli.loadgen.timer import Timer
from taskdemo_server.contract.settings import VERSION

BATCH_S: Final = 0.1
BARRIER_S: Final = 1.0
LAG_TICK_S: Final = 0.01
SPREAD: Final = (5**0.5 - 1) / 2
"""By so much of a turn, the golden section, a bystander comes later in each than in the one before: work that takes as
long as a turn would else be met at the same moment again and again."""
LAST_ANSWERS_S: Final = 0.5
"""How long a run that was to go on until it is stopped then waits for what it has sent."""
IN_FLIGHT_SHOWN: Final = 50
TOO_LATE: Final = "ReadTimeout"
"""What a request ends with that was sent and not answered in time."""
_MARK: Final = "taskdemo-puts-the-number-here"
"""Where the number goes while the request is put together: letters that a URL keeps as they are."""
TURN: Final = 32
"""Requests sent in one turn of the loop at the start, before it looks for answers again."""


class Payload:
    """The bytes of request n of a plan: made once, and cut where the number goes."""

    def __init__(self, plan: Plan, proxy: ParsedUrl | None = None) -> None:
        ours = (("Accept", "*/*"), ("User-Agent", f"taskdemo/{VERSION}"))
        body = None if plan.body is None else plan.body.encode("latin-1")
        url = plan.url.replace(NUMBER, _MARK)
        self.request = httpx.Request(plan.method, url, headers=merged(ours, plan.headers), content=body)
        self.is_head = self.request.method == "HEAD"
        # As it was written: httpx resolves `..`, and the report shows what was asked for.
        asked = urlsplit(url)
        target = ((asked.path or "/") + (f"?{asked.query}" if asked.query else "")).encode("ascii", "replace")
        if proxy is not None and asked.scheme == "http":  # it is told the whole URL, but not beyond its tunnel
            target = f"http://{asked.netloc}".encode() + target
            self.request.headers.update(proxy.headers)
        self.closes = any(
            name.lower() == "connection" and "close" in value.lower() for name, value in self.request.headers.items()
        )
        """Whether each request says that it is its connection's last."""
        self._body = body.split(NUMBER.encode()) if body and plan.numbered else None
        if self._body:
            del self.request.headers["Content-Length"]  # it goes with the number
        whole = serialise(self.request, b"" if self._body else body or b"", target)
        if plan.message is not None:
            # What a shell let through that is not UTF-8 goes on as it came.
            message = quote(plan.message.replace(NUMBER, _MARK), safe="", errors="surrogateescape").encode()
            until = len(self.request.method) + 1 + len(target)
            whole = whole[:until] + (b"&" if b"?" in target else b"?") + b"message=" + message + whole[until:]
        self._parts = whole.split(_MARK.encode())

    def __call__(self, n: int) -> bytes:
        """Return the request's bytes."""
        parts = self._parts
        head = parts[0] if len(parts) == 1 else str(n).encode().join(parts)
        if self._body is None:
            return head
        body = str(n).encode().join(self._body)
        return b"%bContent-Length: %d\r\n\r\n%b" % (head[:-2], len(body), body)


class LoopLag:
    """Samples how late the event loop gets to a timer; seconds.

    A stall counts once for each tick that it kept from coming, or one of a second would be one sample like any other.
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
        """Stop, and return the 99th percentile (nearest rank); 0 if the run was too short for a sample."""
        self._timer.close()
        lags = sorted(self._lags)
        return max(0.0, lags[math.ceil(0.99 * len(lags)) - 1]) if lags else 0.0


class Run:
    """One run of one plan on the running loop; `go()` returns when the last request has ended."""

    def __init__(self, plan: Plan, emit: Callable[[Frame], None], connections: int) -> None:
        self._plan = plan
        self._emit = emit
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        proxy = read_proxy(plan.url)
        self._payload = Payload(plan, proxy)
        self._origin = Origin(self._payload.request.url, proxy)
        self._t0 = 0.0
        self._total: int | None = plan.count
        self._stop_at = math.inf
        self._n = 0
        """How many requests were planned so far."""
        self._sent = 0
        self._late = self._late_connecting = self._late_unconnected = 0
        self._timed_out = False
        self._body_bytes = 0
        self._unconnected: set[int] = set()
        """Requests that were in the backlog, until they are counted as late."""
        self._samples: list[Sample] = []
        self._waiting: dict[int, float] = {}
        """Requests whose connection is being opened: number -> planned."""
        self._opening: dict[int, asyncio.Task[None]] = {}
        """What opens it."""
        self._backlog: deque[tuple[int, float]] = deque()
        """Open loop: requests for which no connection may be opened and none is free."""
        self._in_flight: dict[int, Connection] = {}
        self._lanes: set[Connection] = set()
        self._idle: list[Connection] = []
        self._barrier: list[Connection] | None = None
        self._timer: Timer | None = None
        self._patience: Timer | None = None
        """Ends the requests that have taken as long as each may."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] = self._loop.create_future()

    async def go(self) -> None:
        """Fire; emit `started`, the batches and `done`. Raises whatever keeps a connection from being made at all."""
        plan = self._plan
        cpu = time.process_time()
        lag = LoopLag(self._loop)
        t0 = self._t0 = time.monotonic()
        self._emit(Started(t0))
        self._flushing = self._loop.call_later(BATCH_S, self._flush_again)
        deadline = None
        if plan.timeout_s is not None:
            deadline = self._loop.call_later(plan.timeout_s, self._time_out)
        if plan.request_timeout_s is not None:
            self._patience = Timer(self._loop, self._end_patience)
            self._patience.at(t0 + plan.request_timeout_s)
        try:
            self._begin_sending(t0)
            await self._over
            wall = time.monotonic() - t0
            cpu = time.process_time() - cpu
        finally:
            lag_p99 = lag.close()
            self._flushing.cancel()
            if deadline is not None:
                deadline.cancel()
            for timer in (self._timer, self._patience):
                if timer is not None:
                    timer.close()
            for task in self._tasks:
                task.cancel()
            for lane in self._lanes:
                lane.abort()
        self._flush()
        self._emit(
            Done(
                wall=wall,
                late=self._late,
                late_connecting=self._late_connecting,
                late_unconnected=self._late_unconnected,
                cpu_share=cpu / wall if wall else 0.0,
                loop_lag_p99=lag_p99,
                body_bytes=self._body_bytes,
                not_sent=0 if self._total is None else self._total - self._n,
                timed_out=self._timed_out,
            )
        )

    def _begin_sending(self, t0: float) -> None:
        plan = self._plan
        if plan.rate is not None:
            if plan.for_s is not None:
                slots = max(1, math.ceil(plan.for_s * plan.rate - 1e-9))
                self._total = slots if plan.count is None else min(slots, plan.count)
            self._timer = Timer(self._loop, self._tick)
            self._tick()
        else:
            if plan.for_s is not None:
                self._stop_at = t0 + plan.for_s
            self._spawn(self._begin(plan.concurrency or plan.count or 1))

    def stop(self) -> None:
        """End the run: requests in flight are Cancelled, those that wait for a connection count as not sent.

        A run that was to go on until now is let have its last answers, if they come soon: those that took longest.
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
            self._give_up("Cancelled")

    def _time_out(self) -> None:
        if self._over.done():
            return
        self._timed_out = True
        now = time.monotonic()
        for n, planned in self._waiting.items():
            self._samples.append((n, planned, None, None, now, None, "ConnectTimeout", None, None))
        for n, planned in self._backlog:
            self._samples.append((n, planned, None, None, now, None, "PoolTimeout", None, None))
        self._give_up(TOO_LATE)

    def _end_patience(self) -> None:
        """End the requests that have taken as long as each may, and look again when the next one will have."""
        patience, now = self._plan.request_timeout_s or math.inf, time.monotonic()
        # While the callers' connections are opened together, none of those that are open is late.
        opening = [] if self._barrier is not None else [n for n, task in self._opening.items() if not task.done()]
        while self._backlog and self._backlog[0][1] + patience <= now:  # before others go on: none of these is sent
            self._miss(*self._backlog.popleft(), now, "PoolTimeout")
        for n in opening:
            if self._waiting[n] + patience <= now:
                self._opening[n].cancel()
                self._miss(n, self._waiting.pop(n), now, "ConnectTimeout")
                self._go_on(None, now)
        for n, lane in list(self._in_flight.items()):
            if lane.sent + patience > now:  # they are in the order of their sending
                break
            del self._in_flight[n]
            self._lanes.discard(lane)
            self._given_up(n, lane, now, TOO_LATE)
            self._go_on(None, now)
        began = [self._waiting[n] for n in opening if n in self._waiting]
        began += [planned for _, planned in islice(self._backlog, 1)]
        began += [lane.sent for lane in islice(self._in_flight.values(), 1)]
        if self._patience is not None:
            self._patience.at(min(began, default=now) + patience)
        self._end_if_over(now)

    def _miss(self, n: int, planned: float, now: float, error: str) -> None:
        """Take note of a request that was never sent."""
        self._samples.append((n, planned, None, None, now, None, error, None, None))

    def _give_up(self, error: str) -> None:
        if self._over.done():
            return
        now = time.monotonic()
        for n, lane in self._in_flight.items():
            self._given_up(n, lane, now, error)
        self._in_flight.clear()
        self._over.set_result(None)

    def _given_up(self, n: int, lane: Connection, now: float, error: str) -> None:
        lane.abort()
        self._body_bytes += lane.body_bytes
        if self._timer is not None and lane.sent - lane.planned > LATE_S:
            self._count_late(n, lane)
        self._samples.append((n, lane.planned, lane.sent, lane.first_byte, now, lane.status, error, lane.task_id, None))

    # One request

    def _start(self, lane: Connection, n: int, planned: float) -> None:
        lane.n = n
        lane.planned = planned
        lane.uses += 1
        self._in_flight[n] = lane
        self._sent += 1
        lane.start(self._payload(n), is_head=self._payload.is_head)

    def _ended(self, lane: Connection, error: httpx.TransportError | None) -> None:
        n = lane.n
        if self._over.done():
            return
        del self._in_flight[n]
        self._body_bytes += lane.body_bytes
        if self._timer is not None and lane.sent - lane.planned > LATE_S:
            self._count_late(n, lane)
        done = lane.done or 0.0
        self._samples.append(
            (
                n,
                lane.planned,
                lane.sent,
                lane.first_byte,
                done,
                lane.status,
                error if error is None else type(error).__name__,
                lane.task_id,
                error if error is None else reason_of(error),
            )
        )
        if self._payload.closes and not lane.closed:
            lane.close()
        if lane.closed:
            self._lanes.discard(lane)
            self._go_on(None, done)
        else:
            self._go_on(lane, done)

    def _count_late(self, n: int, lane: Connection) -> None:
        """Count a request that was sent later than planned, by what it waited for."""
        self._late += 1
        if n in self._unconnected:
            self._unconnected.remove(n)
            self._late_unconnected += 1
        elif lane.uses == 1:
            self._late_connecting += 1

    async def _connect(self, lane: Connection, n: int, planned: float) -> None:
        try:
            await self._origin.connect(lane)
        except asyncio.CancelledError:
            self._lanes.discard(lane)
            raise
        except httpx.ConnectError as error:
            if self._over.done():
                return
            now = time.monotonic()
            self._lanes.discard(lane)
            del self._waiting[n]
            self._samples.append((n, planned, None, None, now, None, "ConnectError", None, reason_of(error)))
            self._go_on(None, now)
            return
        if self._over.done():  # in this very turn: it counts as not sent
            return
        if self._barrier is not None:
            lane.n = n
            self._barrier.append(lane)
            return
        del self._waiting[n]
        self._start(lane, n, planned)

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done_with)
        return task

    def _done_with(self, task: "asyncio.Task[None]") -> None:
        """Forget a task; one that went wrong ends the run, which would wait for it for ever."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._over.done():
            self._over.set_exception(error)

    def _open(self, n: int, planned: float) -> "asyncio.Task[None]":
        lane = self._origin.connection(self._ended)
        self._waiting[n] = planned
        self._lanes.add(lane)  # now, not when the task begins: the next send may be decided in this very turn
        self._opening[n] = task = self._spawn(self._connect(lane, n, planned))
        task.add_done_callback(lambda _: self._opening.pop(n, None))
        return task

    def _go_on(self, lane: Connection | None, now: float) -> None:
        """Send what comes next from a caller that is free, on its connection if still good; or see the end."""
        if self._timer is not None:
            if self._backlog:
                n, planned = self._backlog.popleft()
                self._unconnected.add(n)
                if lane is None:
                    self._open(n, planned)
                else:
                    self._start(lane, n, planned)
                return
            if lane is not None:
                self._idle.append(lane)
        elif now < self._stop_at and (self._total is None or self._n < self._total):
            n = self._n = self._n + 1
            if lane is None:
                self._open(n, now)
            else:
                self._start(lane, n, now)
            return
        self._end_if_over(now)

    def _end_if_over(self, now: float) -> None:
        if self._in_flight or self._waiting or self._backlog or self._over.done():
            return
        if self._n == self._total or now >= self._stop_at:
            self._over.set_result(None)

    # Closed loop

    async def _begin(self, callers: int) -> None:
        """Open the callers' connections, then send their first requests."""
        if self._over.done():  # a --timeout of next to nothing
            return
        if self._total is not None:
            callers = min(callers, self._total)
        self._n = callers
        self._barrier = []
        together = min(BARRIER_S, self._plan.request_timeout_s or BARRIER_S, (self._plan.timeout_s or math.inf) / 2)
        await asyncio.wait([self._open(n, self._t0) for n in range(1, callers + 1)], timeout=together)
        ready, self._barrier = self._barrier, None
        if self._patience is not None:
            self._patience.at(time.monotonic())
        for at, lane in enumerate(sorted(ready, key=lambda lane: lane.n), 1):
            if self._over.done():
                return
            del self._waiting[lane.n]
            self._start(lane, lane.n, self._t0)
            if at % TURN == 0:
                await asyncio.sleep(0)

    # Open loop

    def _tick(self) -> None:
        """Send what is due by the schedule, which does not move when a send was late."""
        rate, spread = self._plan.rate or 0.0, SPREAD if self._plan.until_stopped else 0.0
        now = time.monotonic()
        while self._n != self._total:
            planned = self._t0 + (self._n + self._n * spread % 1) / rate
            if planned > now:
                if self._timer is not None:
                    self._timer.at(planned)
                return
            n = self._n = self._n + 1
            while self._idle:
                lane = self._idle.pop()
                if not lane.closed:
                    self._start(lane, n, planned)
                    break
                self._lanes.discard(lane)
            else:
                if len(self._lanes) < self._connections:
                    self._open(n, planned)
                else:
                    self._backlog.append((n, planned))

    # Handing over

    def _flush_again(self) -> None:
        self._flush()
        self._flushing = self._loop.call_later(BATCH_S, self._flush_again)

    def _flush(self) -> None:
        samples, self._samples = self._samples, []
        oldest = [(n, lane.sent) for n, lane in islice(self._in_flight.items(), IN_FLIGHT_SHOWN)]
        self._emit(Batch(samples, oldest, self._sent, time.monotonic()))
