"""What the server's observations prove: which stalls were long and whose, and what threads and callers did meanwhile.

Pure: no I/O and no clock. Seconds everywhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from taskdemo_cli.analysis.blocking.remedy import only_waits
from taskdemo_cli.analysis.mode_summary import HELD_UP_S
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.recording.sightings import Sightings
from taskdemo_cli.stats import grouped
from taskdemo_server.contract.sightings import Observation, Stall, Waiting

MOST_OF_IT: Final = 0.5
SOME_OF_IT: Final = 0.1
LOOP_LEGS, THREADS_LEGS = 2, 4
"""How often a bystander's request and its answer wake a thread, which may have to wait for a processor each time."""
IN_LINE: Final = 0.3
"""Callers that spend this share of their time queueing for one lock or pool wait for one another."""
OWN: Final = frozenset({"request", "background", "task"})
"""The code that the endpoint is responsible for."""
SEEN_LATE_S: Final = 0.03
"""The server may notice that its event loop is blocked this much later than a caller: a heartbeat, and its delay."""


def long_stalls(stalls: Iterable[Stall], waited_s: float) -> Mapping[str, Sequence[Stall]]:
    """Return the stalls that would hold somebody up on a machine that does nothing else, by their kind."""
    near = [(_kind(one), one) for one in stalls if one.net_s >= HELD_UP_S - SEEN_LATE_S]
    long = [(kind, one) for kind, one in near if one.net_s >= HELD_UP_S]
    if not long and waited_s >= HELD_UP_S:  # a sleep that was seen explains the wait
        long = [(kind, one) for kind, one in near if kind == "own" and any(map(only_waits, one.looks))]
    return grouped(long)


def _kind(stall: Stall) -> str:
    """Return what stalled the loop: `own` code of the endpoint, other code of the `application`, or something `other`.

    `busy`: other threads computed, the loop's own had nothing to do. `unseen`: it computed, and no stack was read.
    """
    own = sum(look.seconds for look in stall.looks if look.of in OWN)
    others = sum(look.seconds for look in stall.looks) - own
    theirs = sum(look.seconds for look in stall.others if look.call is None)  # waking from a call takes CPU, too
    in_all = sum(look.seconds for look in stall.others if not only_waits(look))
    least = MOST_OF_IT * stall.lasted_s
    called = sum(look.seconds for look in stall.looks if _is_its_own(look))
    computed = stall.cpu_s >= MOST_OF_IT * stall.net_s
    # If no stack could be read, and the loop's thread neither computed nor waited for a processor, it waited for the
    # interpreter. Another thread held that: in a call, or while that thread waited for a processor, as the loop's did.
    waited = not (computed or stall.looks or stall.idle)
    if (theirs >= least or (waited and in_all >= SOME_OF_IT * stall.net_s)) and called < least:
        return "busy"
    if own + others >= least:
        return "own" if own >= others else "application"
    return "unseen" if computed and not stall.idle else "other"


def _is_its_own(look: Observation) -> bool:
    """Return whether the loop's thread computed or slept there. While it waits for the interpreter, it may be anywhere.

    A thread that sleeps in a call needs no processor; one that waits for the interpreter needs one at each attempt.
    """
    sleeps = look.call is not None and look.queued_s < MOST_OF_IT * look.seconds and not _shares_interpreter(look)
    return sleeps or look.cpu_s >= MOST_OF_IT * (look.seconds - look.queued_s)


def computing_s(waiting: Iterable[Waiting]) -> float:
    """Return for how many seconds worker threads mostly computed: the loop's stalls are short then, but many."""
    total_s = 0.0
    for one in waiting:
        # A thread that sleeps is in a call. One that is in none computes, or waits for the interpreter to do so.
        threads = [look for look in one.waiting if look.of == "thread"]
        computing = [look for look in threads if look.call is None]
        holding = [look for look in threads if _shares_interpreter(look)]
        cpu_s = sum(look.cpu_s for look in (*computing, *holding))
        is_most = seconds_of(computing) >= MOST_OF_IT * max(one.over_s, seconds_of(threads))
        # If threads also keep the observer from running, their CPU time is the evidence.
        if cpu_s and (is_most or cpu_s >= MOST_OF_IT * one.over_s):
            total_s += one.over_s
    return total_s


def _shares_interpreter(look: Observation) -> bool:
    """Return whether a thread was in a call that is written in Python, and waited there for the interpreter.

    It neither computed nor waited for a processor, and the observer could not have the interpreter either.
    """
    waits = look.call is not None and look.library is not None and _is_idle(look)
    return waits and look.free_s < MOST_OF_IT * look.seconds


def hurried(stalls: Iterable[Stall]) -> bool:
    """Return whether the loop's thread had to wait for a processor in these stalls, and computed when it had one.

    On a machine that is so busy, a call that computes looks like one that waits.
    """
    stalls = list(stalls)
    queued_s, net_s = sum(one.queued_s for one in stalls), sum(one.net_s for one in stalls)
    is_busy = queued_s > SOME_OF_IT * sum(one.lasted_s for one in stalls)
    return is_busy and sum(one.cpu_s for one in stalls) >= MOST_OF_IT * net_s


def in_pieces(waiting: Iterable[Waiting]) -> list[Observation]:
    """Return the short pieces of work that kept the event loop busy most of the time; none if they add up to little.

    Time that the loop's thread waited for a processor is not counted.
    """
    looks, busy_s = [], 0.0
    for one in waiting:
        own = [look for look in one.loop if look.of in OWN]
        queued_s = sum(look.queued_s for look in own)
        if (net_s := seconds_of(own) - queued_s) >= MOST_OF_IT * (one.over_s - queued_s):
            busy_s += net_s
            looks += own
    return looks if busy_s >= HELD_UP_S else []


def burning(waiting: Iterable[Waiting]) -> list[Observation]:
    """Return what worker threads computed without the interpreter; nothing if that used little of a processor."""
    looks = [look for one in waiting for look in one.waiting if look.of == "thread" and not _is_idle(look)]
    least = max(HELD_UP_S, MOST_OF_IT * sum(one.over_s for one in waiting))
    return looks if sum(look.cpu_s for look in looks) >= least else []


def crowd(threads: Sequence[Observation]) -> bool:
    """Return whether these threads wait for a processor: there are more of them than processors."""
    return sum(look.queued_s for look in threads) >= SOME_OF_IT * seconds_of(threads) > 0


def leaves_interpreter(threads: Sequence[Observation]) -> bool:
    """Return whether these threads compute in calls that leave the interpreter to others.

    On a busy machine it seems taken even then, because a thread that takes it for a moment waits for a processor.
    """
    free_s = sum(look.free_s for look in threads if look.call is not None)
    return free_s >= SOME_OF_IT * seconds_of(threads) > 0


def in_line(run: RunDocument, waiting: Sequence[Waiting]) -> list[Observation]:
    """Return what callers queued for; nothing if that took only a small part of their time."""
    # Queueing takes no CPU time, unlike a dictionary's `counts.get`, which looks like a queue's method.
    looks = [
        look
        for one in waiting
        for look in one.waiting
        if look.in_line and look.cpu_s + look.queued_s < SOME_OF_IT * look.seconds
    ]
    open_s = sum(one.open_s for one in waiting)
    slowest = run.summary.response_s.max if run.summary.response_s else open_s
    if slowest < HELD_UP_S or seconds_of(looks) < max(IN_LINE * open_s, HELD_UP_S):
        return []
    # A caller that waits for an executor's thread waits for whatever that thread waits for.
    in_threads = [look for look in looks if look.of == "thread"]
    return in_threads if seconds_of(in_threads) >= sum(one.over_s for one in waiting) else looks


def longest_queue(found: Sightings) -> float:
    """Return the longest that a thread of the server was seen to wait for a processor."""
    return max([*(one.queued_s for one in found.waiting), *(one.queued_s for one in found.stalls)], default=0.0)


def processor_wait(found: Sightings, waits: Sequence[float], threads_waits: Sequence[float]) -> float | None:
    """Return how long a thread waited for a processor, if that explains why bystanders were late; else None.

    The event loop's thread may have waited much longer, for it computes more, than the one that only looks.
    """
    queued_s = longest_queue(found)
    loop_s = max(waits, default=0.0) - LOOP_LEGS * queued_s
    threads_s = max(threads_waits, default=0.0) - THREADS_LEGS * queued_s
    return queued_s if max(loop_s, threads_s) < HELD_UP_S else None


def _is_idle(look: Observation) -> bool:
    """Return whether nothing was computed there for most of the time; waiting for a processor counts as computing."""
    return look.cpu_s + look.queued_s < MOST_OF_IT * look.seconds


def seconds_of(looks: Iterable[Observation]) -> float:
    """Return how long these were seen, in all."""
    return sum(look.seconds for look in looks)
