"""What delays the user's own application: whenever its event loop is late, a thread looks at what the loop is doing.

Late or not, it also looks at what the open requests wait for. It writes what it sees into the journal, where it can be
read even if the loop never recovers. Seconds everywhere; a look counts for the time since the previous one. Code that
holds the GIL (one long call into C) is seen only as it ends. How much of a time was computing comes from the system's
clock of each thread, if there is one.
"""

import asyncio
import gc
import itertools
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from anyio.to_thread import current_default_thread_limiter
from msgspec.structs import asdict, replace

from taskdemo_server.contract.sightings import Look, Observation, Stall, Waiting, Whose
from taskdemo_server.user_app.open_requests import Requests
from taskdemo_server.user_app.stacks import Step, frames, stack, suspended_at
from taskdemo_server.user_app.threads import executors, is_alone, works_for_requests
from taskdemo_server.work.spent import thread_queued, thread_times

BEAT_S: Final = 0.02
LATE_S: Final = 0.06
"""A loop that is this late with a beat is blocked; shorter than what a caller would call a wait."""
FEW: Final = 20
WAITING_EVERY_S: Final = 0.1
"""The interval of looks at what requests wait for, if there are more than FEW."""
TELL_EVERY_S: Final = 0.25
QUEUED: Final = 4
"""A wait for a processor counts up to this multiple of the CPU time: threads that mostly sleep wait for one too.

With more threads for each processor than this, up to their number: so long do those that compute wait for one another.
"""
MOST_LOOKS: Final = 12
"""Looks of a kind in one line: those with the most seconds."""
AFTER_THE_ANSWER: Final = str(Path("starlette", "background.py"))
Stacks = dict[int, list[Step]]
"""Stacks by thread identifier."""
Used = WeakKeyDictionary[threading.Thread, tuple[float, float]]
"""Seconds of computing and of waiting for a processor at the last look; by Thread, because identifiers are reused."""


class Missed(NamedTuple):
    """A stall that the loop itself has noticed, with what its thread has computed and waited for since the last beat.

    Also what all other threads have computed, with the stack of each when the loop came free.
    """

    begun: float
    ended: float
    cpu_s: float
    queued_s: float
    gc_s: float
    idle: bool
    """Whether no request was open when it began, and none came."""
    others_cpu_s: float
    stacks: Stacks


class Looks(dict[tuple[Look, Whose], Observation]):
    """For how long each thing was seen, by what it was and whose."""

    def add(
        self, look: Look, of: Whose, seconds: float, cpu_s: float = 0.0, queued_s: float = 0.0, *, free: bool = False
    ) -> None:
        """Add a look of so many seconds; `free`: others could take the GIL meanwhile."""
        seen = self.get((look, of)) or Observation(**asdict(look), of=of)
        self[look, of] = replace(
            seen,
            seconds=seen.seconds + seconds,
            cpu_s=seen.cpu_s + cpu_s,
            queued_s=seen.queued_s + queued_s,
            free_s=seen.free_s + (seconds if free else 0.0),
        )

    def most(self) -> list[Observation]:
        """Return those with the most seconds."""
        return sorted(self.values(), key=attrgetter("seconds"), reverse=True)[:MOST_LOOKS]


class OpenStall:
    """A stall that is still watched, and what was seen of it so far."""

    def __init__(self, sighting: Stall, begun: float) -> None:
        self.sighting = sighting
        self.begun = self.until = begun
        self.looks, self.others = Looks(), Looks()

    def to_line(self) -> bytes:
        """Return its journal line."""
        self.sighting.lasted_s = round(self.until - self.begun, 6)
        self.sighting.looks, self.sighting.others = self.looks.most(), self.others.most()
        return self.sighting.to_line()


class LoopStalls:
    """Watches an event loop and its worker threads from now on, and journals what it sees; create it in that loop."""

    def __init__(self, requests: Requests, loop: asyncio.AbstractEventLoop) -> None:
        self._journal = requests.journal
        self._requests = requests
        self._reader = requests.reader
        self._loop = loop
        self._limiter = current_default_thread_limiter()
        self._own = threading.current_thread()
        self._own_number = threading.get_native_id()
        """Its native id, asked for because after a fork the Thread has the parent's."""
        self._beat = time.monotonic()
        self._numbers = itertools.count(1)
        self._stall: OpenStall | None = None
        self._missed: deque[Missed] = deque()
        """The loop's thread may append at any time, so these are taken one by one."""
        self._waiting = Waiting()
        self._waited_for, self._done = Looks(), Looks()
        """What the open requests waited for, and what the loop's thread did meanwhile."""
        self._gc_s = self._gc_s_at_beat = 0.0
        """CPU seconds of garbage collection in the loop's thread, so far and at the last beat."""
        self._gc_began = math.inf
        self._used_late: Used = WeakKeyDictionary()
        self._used_waiting: Used = WeakKeyDictionary()
        self._process_s = math.inf
        """CPU seconds of the whole process at the last look at what requests wait for; infinite if none waited."""
        self._seen: WeakKeyDictionary[threading.Thread, Look] = WeakKeyDictionary()
        """What each thread was last seen doing."""
        self._spent_by_loop = self._spent_so_far()
        self._begun, self._was_open = 0, False
        """How many requests there had been at the last beat, and whether one was open."""
        requests.follow(loop)
        gc.callbacks.append(self._collecting)
        self._come_round()
        threading.Thread(target=self._look, name="loop stalls", daemon=True).start()

    def _come_round(self) -> None:
        """Note, in the event loop's own thread, that it was in time, or what it has missed; and again in a moment."""
        before, self._spent_by_loop = self._spent_by_loop, self._spent_so_far()
        idle = not self._was_open and self._requests.begun == self._begun
        self._begun, self._was_open = self._requests.begun, bool(self._requests.open)
        now, due = time.monotonic(), self._beat + BEAT_S
        if now - due >= LATE_S:
            spent = (after - earlier for after, earlier in zip(self._spent_by_loop, before, strict=True))
            cpu_s, queued_s, gc_s, all_s = spent
            watched = self._stall
            is_watched = watched is not None and watched.begun == due
            stacks = {} if is_watched else _stacks(without=self._own)
            self._missed.append(Missed(due, now, cpu_s, queued_s, gc_s, idle, all_s - cpu_s, stacks))
        self._beat, self._gc_s_at_beat = now, self._gc_s
        self._loop.call_later(BEAT_S, self._come_round)

    def _spent_so_far(self) -> tuple[float, float, float, float]:
        return time.thread_time(), thread_queued(), self._gc_s, time.process_time()

    def _collecting(self, phase: str, _: dict[str, int]) -> None:
        """Add up what the event loop's thread computes to collect garbage; called in whichever thread does."""
        if threading.get_ident() != self._own.ident:
            return
        # CPU time, not wall time: this thread may have to wait for the GIL right here.
        if phase == "start":
            self._gc_began = time.thread_time()
        else:
            self._gc_s += max(time.thread_time() - self._gc_began, 0.0)  # it may have begun before we listened

    def _look(self) -> None:
        waited = told = looked = time.monotonic()
        # The times of the loop's thread: at the last look, and when it was last on time.
        spent = calm = self._times_of(self._own_number)
        while not self._loop.is_closed():
            slept = time.monotonic()
            queued_before_s = thread_queued()
            time.sleep(BEAT_S)
            queued_s = thread_queued() - queued_before_s
            now = time.monotonic()
            begun = self._beat + BEAT_S
            is_late = now - begun >= LATE_S
            # First of all, and without I/O, which would let the loop's thread go on.
            is_open = bool(self._requests.open)
            steps = stack(frames().get(self._own.ident or 0)) if is_late or is_open else []
            stacks = _stacks(without=self._own) if is_late else {}
            whose = self._whose(steps)
            self._end_stalls(begun)
            look = self._reader.look(steps)
            before, spent = spent, self._times_of(self._own_number)
            self._waiting.queued_s = max(self._waiting.queued_s, round(queued_s, 6))
            # A thread that wakes while Python code runs waits for the GIL, for a switch interval or more.
            free = now - slept - BEAT_S - queued_s < sys.getswitchinterval() / 5
            if look is not None and is_open:
                self._done.add(look, whose, now - looked, spent[0] - before[0], spent[1] - before[1], free=free)
            looked = now
            if is_late:
                stall = self._stall = self._stall or OpenStall(Stall(next(self._numbers), idle=not is_open), begun)
                cpu_s, queued_s = spent[0] - calm[0], spent[1] - calm[1]
                stall.sighting.cpu_s += cpu_s
                stall.sighting.queued_s += queued_s
                stall.sighting.gc_s = self._gc_s - self._gc_s_at_beat
                if look is not None:
                    stall.looks.add(look, whose, now - stall.until, cpu_s, queued_s, free=free)
                stall.until, calm = now, spent
                self._see_others(stall, stacks)
            elif now < begun:
                calm = spent
            if len(self._requests.open) <= FEW or now - waited >= WAITING_EVERY_S:
                self._see_waiting(now - waited, free=free)
                waited = now
            if now - told >= TELL_EVERY_S:
                self._tell()
                told = now

    def _whose(self, steps: list[Step]) -> Whose:
        if any(step.code is Requests.serve.__code__ for step in steps):
            return "background" if any(step.file.endswith(AFTER_THE_ANSWER) for step in steps) else "request"
        return self._requests.whose(asyncio.current_task(self._loop))

    def _see_others(self, stall: OpenStall, stacks: Stacks, most_s: float = math.inf) -> None:
        """Note what other threads do, and the seconds that each has computed since the last look, `most_s` in all.

        Waits of a computing thread for a busy processor count too: it held the GIL meanwhile.
        """
        found = []
        for thread in threading.enumerate():
            if thread.ident not in stacks or thread.native_id is None or thread is threading.current_thread():
                continue
            cpu_s, queued_s = self._spent(thread, self._used_late)
            if (look := self._look_at(thread, stacks) or self._before(thread)) is not None and cpu_s:
                # A thread that is in a call may sleep there, and wait for a processor whenever it wakes.
                would_s = counted(queued_s, cpu_s) if look.call is None else 0.0
                found.append((look, _of_thread(thread), cpu_s + would_s))
        share = min(1.0, most_s / sum(seconds for *_, seconds in found)) if found else 0.0
        for look, of, seconds in found:
            stall.others.add(look, of, seconds * share, seconds * share)

    def _look_at(self, thread: threading.Thread, stacks: Stacks) -> Look | None:
        """Return what a thread does; None if it is idle."""
        look = self._reader.look(stacks[thread.ident or 0])
        if look is not None:
            self._seen[thread] = look
        return look

    def _before(self, thread: threading.Thread) -> Look | None:
        """Return what a thread did that is idle now but has computed since the last look.

        Threads that hold the GIL, and pass it to each other, may all be done before any is seen: see `Requests.asked`.
        """
        return self._seen.get(thread) or (self._requests.asked() if _of_thread(thread) == "thread" else None)

    def _spent(self, thread: threading.Thread, used: Used) -> tuple[float, float]:
        """Return a thread's seconds of computing and of waiting for a processor since the last call."""
        now = self._times_of(self._own_number if thread is self._own else thread.native_id)
        # A new worker thread was started for the current requests, so all of its time counts.
        before = used.get(thread, (0.0, 0.0) if _of_thread(thread) == "thread" else now)
        used[thread] = now
        return now[0] - before[0], now[1] - before[1]

    def _times_of(self, native_id: int | None) -> tuple[float, float]:
        """Return a thread's seconds of computing and of waiting for a processor so far; zeros if unknown."""
        if (found := thread_times(f"self/task/{native_id}")) is not None:
            return found
        return (time.process_time(), 0.0) if native_id == self._own_number else (0.0, 0.0)

    def _see_waiting(self, seconds: float, *, free: bool) -> None:
        """Look at what the open requests wait for, suspended or in a worker thread."""
        count = len(self._requests.open)
        if not count:
            self._process_s = math.inf
            return
        self._waiting.open_s += count * seconds
        self._waiting.over_s += seconds
        limiter = self._limiter
        if limiter.borrowed_tokens >= limiter.total_tokens and limiter.statistics().tasks_waiting:
            self._waiting.full_s += seconds
        for tasks in self._requests.tasks():
            steps = [step for task in tasks for step in suspended_at(task.get_coro())]
            if (look := self._reader.look(steps, others=False)) is not None:
                self._waited_for.add(look, "request", seconds)
        for threads, waiting in executors():
            look = Look(f"a queue for {threads} threads of an executor", in_line=True)
            self._waited_for.add(look, "request", waiting * seconds)
        stacks = _stacks(without=threading.current_thread())
        before, self._process_s = self._process_s, time.process_time()
        unknown_s, found = self._process_s - before, []
        for thread in threading.enumerate():
            cpu_s, queued_s = self._spent(thread, self._used_waiting)
            unknown_s -= cpu_s
            if thread.ident not in stacks or _of_thread(thread) != "thread" or thread.native_id is None:
                continue
            self._used_late[thread] = self._used_waiting[thread]
            if (look := self._look_at(thread, stacks)) is not None:
                if is_alone(thread) and (look.in_line or not cpu_s):
                    continue  # No request waits for this thread, which may run for ever.
                found.append((look, cpu_s, counted(queued_s, cpu_s)))
            elif cpu_s and (look := self._before(thread)) is not None:
                self._waited_for.add(look, "thread", cpu_s, cpu_s)
        calls = [look for look, *_ in found if look.call is not None and not look.in_line]
        # A call that sleeps while threads in C compute for it has left the GIL to others: else it would not be seen.
        free = free or (bool(calls) and unknown_s >= seconds / 2)
        for look, cpu_s, queued_s in found:
            self._waited_for.add(look, "thread", seconds, cpu_s, queued_s, free=free)
        add_unknown(self._waited_for, calls, seconds, unknown_s)

    def _end_stalls(self, begun: float) -> None:
        """Journal the stalls that began before `begun`: the loop itself has noticed each, and knows when it ended."""
        while self._missed and self._missed[0].begun < begun:
            missed = self._missed.popleft()
            stall = self._stall
            if stall is None or stall.begun != missed.begun:  # it was over before the first look
                stall = OpenStall(Stall(next(self._numbers), idle=missed.idle), missed.begun)
                self._see_others(stall, missed.stacks, missed.others_cpu_s)
            add_ended(stall, missed)
            stall.until, stall.sighting.gc_s = missed.ended, missed.gc_s
            stall.sighting.cpu_s, stall.sighting.queued_s = missed.cpu_s, missed.queued_s
            self._end(stall)
        if self._stall is not None and self._stall.begun < begun:  # to the loop it was just short of a stall
            self._end(self._stall)

    def _end(self, stall: OpenStall) -> None:
        stall.sighting.ended = True
        self._journal.write(stall.to_line())
        if stall is self._stall:
            self._stall = None

    def _tell(self) -> None:
        self._requests.tell_left()
        if self._stall is not None:
            self._journal.write(self._stall.to_line())
        if self._waiting.open_s or self._waiting.queued_s >= BEAT_S:
            self._waiting.waiting, self._waiting.loop = self._waited_for.most(), self._done.most()
            self._journal.write(self._waiting.to_line())
            self._waiting, self._waited_for, self._done = Waiting(), Looks(), Looks()


def add_ended(stall: OpenStall, missed: Missed) -> None:
    """Give what threads computed that ended before any look to what requests' threads were mostly seen doing."""
    lasted_s = missed.ended - missed.begun
    rest_s = missed.others_cpu_s - sum(one.cpu_s for one in stall.others.values())
    threads = [one for one in stall.others.values() if one.of == "thread"]
    if threads and rest_s >= lasted_s / 10:
        most = max(threads, key=attrgetter("seconds"))
        key = next(key for key, one in stall.others.items() if one is most)
        stall.others.add(*key, rest_s, rest_s)


def add_unknown(waited_for: Looks, calls: Sequence[Look], seconds: float, cpu_s: float) -> None:
    """Give what threads computed that Python does not know to the calls into C that may have started them.

    Such a call sleeps, and waits for a processor only through these threads.
    """
    for look in calls:
        share_s = max(cpu_s, 0.0) / len(calls)
        waited_for.add(look, "thread", 0.0, share_s, counted(max(seconds - share_s, 0.0), share_s))


def counted(queued_s: float, cpu_s: float) -> float:
    """Return how much of a thread's wait for a processor counts as computing: as long as QUEUED says."""
    return min(queued_s, max(QUEUED, threading.active_count() / (os.cpu_count() or 1)) * cpu_s)


def _stacks(*, without: threading.Thread) -> Stacks:
    """Return the current stacks of all threads but one."""
    return {thread: stack(frame) for thread, frame in frames().items() if thread != without.ident}


def _of_thread(thread: threading.Thread) -> Whose:
    return "thread" if works_for_requests(thread) else "application"
