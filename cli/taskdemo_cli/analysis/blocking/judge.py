"""Whether an endpoint of the user's own application holds up others, and a guess at the cause.

Pure: no I/O and no clock. The evidence is what the server saw of its event loop and worker threads, and how long two
bystanders waited meanwhile: the event loop serves one of them, AnyIO's worker threads the other.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from msgspec.structs import replace

from taskdemo_cli.analysis.blocking.answers import answers_of, what_to_type
from taskdemo_cli.analysis.blocking.causes import CAUSES, COMPUTE_ELSEWHERE, UNPROVEN
from taskdemo_cli.analysis.blocking.evidence import (
    MOST_OF_IT,
    OWN,
    burning,
    computing_s,
    crowd,
    hurried,
    in_line,
    in_pieces,
    leaves_interpreter,
    long_stalls,
    processor_wait,
    seconds_of,
)
from taskdemo_cli.analysis.blocking.remedy import change_for, only_waits
from taskdemo_cli.analysis.mode_summary import HELD_UP_S, is_going_on
from taskdemo_cli.documents.blocking import Blocking, Cause, LeftTask, NeverRanTask, Place
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.recording.sightings import Sightings
from taskdemo_cli.recording.summary import waits_of
from taskdemo_cli.stats import grouped
from taskdemo_server.contract.sightings import Left, NeverRan, Observation, Stall

PLACES: Final = 5
LATE: Final = 2
"""At least this many late answers are evidence; a single one of many proves nothing about the endpoint."""
NOTICED_S: Final = 0.05
"""Work that goes on for less than this after an answer counts as part of the answer."""
AS_LATE: Final = 3.0
"""Work that goes on after an answer for this many times a bystander's wait is not just a call that ended late."""


class Decision(NamedTuple):
    """A cause, with the observations and the stalls that show it."""

    cause: Cause
    looks: Sequence[Observation] = ()
    stalls: Sequence[Stall] = ()
    processor_wait_s: float | None = None
    """How long a thread waited for a processor at once, if that is why a bystander waited."""


def judge(run: RunDocument, found: Sightings) -> Blocking:
    """Return the verdict on the endpoint of this run, from what the server and the bystanders saw.

    What the server itself saw is enough to name a cause. A late bystander is not, unless it was late repeatedly.
    """
    waits = [wait for wait, _ in waits_of(run.bystander)]
    threads_waits = [wait for wait, _ in waits_of(run.bystander_threads or ())]
    waited_s = max([*waits, *threads_waits], default=0.0)
    stalls_of = long_stalls(found.stalls, waited_s)
    answers, is_refused = answers_of(run, found.answers)
    cause, looks, stalls, processor_wait_s = _decide(run, found, stalls_of, waits, threads_waits, is_refused)
    may_wait = cause not in {"interpreter busy", "processors busy"} and not hurried(stalls)
    places = _places(looks, may_wait=may_wait)
    change, rule = _change(cause, places, looks)
    if cause == "waiting in line" and crowd(burning(found.waiting)):
        change = CAUSES["processors busy"].change  # these threads wait for a processor, and more would, too
    after_s, after_error = _after_the_answer(run, looks, max(waits, default=0.0), is_held=bool(stalls_of["own"]))
    holds_up = CAUSES[cause].holds_up
    return Blocking(
        blocks=holds_up is not None,
        cause=cause,
        loop_wait_s=max(waits, default=None),
        threads_wait_s=max(threads_waits, default=None),
        processor_wait_s=processor_wait_s,
        places=places,
        longest_s=max((stall.lasted_s for stall in stalls), default=None),
        change=change,
        rule=rule,
        answers=answers,
        type_instead=what_to_type(run, found.answers, answers) if answers else None,
        # If everybody waits, an unfinished answer need not be a stream: its status may be all that could be sent.
        endless=sum(map(is_going_on, run.requests)) if run.timed_out and holds_up != "everybody" else 0,
        after_answer_s=after_s,
        after_answer_error=after_error,
        left=_left(found.left),
        never_ran=_never_ran(found.never_ran),
    )


def _decide(
    run: RunDocument,
    found: Sightings,
    stalls_of: Mapping[str, Sequence[Stall]],
    waits: Sequence[float],
    threads_waits: Sequence[float],
    is_refused: bool,
) -> Decision:
    """Return the cause with the strongest evidence: the first rule that applies."""
    own, busy, application, unseen = (stalls_of.get(kind, ()) for kind in ("own", "busy", "application", "unseen"))
    waiting = found.waiting
    late_on_loop = sum(wait >= HELD_UP_S for wait in waits)
    late = late_on_loop + sum(wait >= HELD_UP_S for wait in threads_waits)
    in_threads = [look for one in waiting for look in one.waiting if look.of == "thread"]
    burnt = burning(waiting)
    # The endpoint's own code held the loop, for longer than threads kept the interpreter from it.
    if own and sum(one.lasted_s for one in own) >= sum(one.lasted_s for one in busy):
        return Decision(_held(own), [look for stall in own for look in stall.looks if look.of in OWN], own)
    # Threads computed: in long stalls of the loop, or in so many short ones that bystanders were late.
    least_s = max(HELD_UP_S, sum(one.over_s for one in waiting) / 4)
    if busy or (late >= LATE and computing_s(waiting) >= least_s):
        looks = [look for stall in busy for look in stall.others]
        if not any(look.place for look in looks):
            looks += in_threads
        by_requests = seconds_of(look for look in looks if look.of == "thread")
        place = max(looks, key=attrgetter("seconds"), default=Observation("", of="thread")).place
        there = [look for look in in_threads if look.place == place]
        if leaves_interpreter(there):  # the loop waits for it where a thread that holds it waits for a processor
            return Decision("processors busy", there)
        if by_requests >= MOST_OF_IT * seconds_of(looks):
            return Decision("interpreter busy", looks, busy)
        return Decision("application", [replace(look, of="thread") for look in looks], busy)
    # That all threads are taken matters if somebody waited for one.
    if sum(one.full_s for one in waiting) >= HELD_UP_S and max(threads_waits, default=HELD_UP_S) >= HELD_UP_S:
        return Decision("threads used up", in_threads)
    if application:
        return Decision("application", [look for stall in application for look in stall.looks], application)
    # No stall was long, but together they were.
    if late and (pieces := in_pieces(waiting)):
        # No stack can be read during a garbage collection: the observations are from just before and after it.
        collected = sum(stall.gc_s for stall in unseen) >= MOST_OF_IT * seconds_of(pieces)
        return Decision("garbage collection", pieces, unseen) if collected else Decision("event loop held", pieces)
    # While code holds the interpreter (the GIL), no stack can be read.
    if len(unseen) >= LATE or (unseen and late_on_loop >= LATE and not is_refused):
        return Decision(_held(unseen), stalls=unseen)
    # Nothing held the loop, which is no merit of an endpoint that was hardly called.
    if is_refused:
        return Decision("not reached")
    # Nobody else was held up, as far as was seen, except by the machine: if nothing unseen held the loop beside it.
    is_unseen = any(not stall.idle for stall in (*unseen, *stalls_of.get("other", ())))
    processor_wait_s = processor_wait(found, waits, threads_waits) if late and not is_unseen else None
    queueing = in_line(run, waiting)
    if late >= LATE and burnt and (crowd(burnt) or not queueing):
        return Decision("processors busy", burnt)
    if queueing:
        return Decision("waiting in line", queueing, processor_wait_s=processor_wait_s)
    if run.ended_because and not run.summary.requests.ok:
        return Decision("not reached", processor_wait_s=processor_wait_s)
    is_left = run.timed_out and run.summary.tasks.unfinished
    unended = [look for one in waiting for look in one.waiting] if is_left or not run.summary.response_s else []
    # A bystander that was late even once has waited for something: for a processor, or for what was not seen.
    return Decision("not found" if late and processor_wait_s is None else "neither", unended, (), processor_wait_s)


def _held(stalls: Sequence[Stall]) -> Cause:
    """Return `garbage collection` if that took most of the loop's time with a processor, else `event loop held`."""
    net_s = sum(stall.net_s for stall in stalls)
    collected_s = sum(stall.gc_s for stall in stalls)
    return "garbage collection" if stalls and collected_s >= MOST_OF_IT * net_s else "event loop held"


def _places(looks: Iterable[Observation], *, may_wait: bool) -> list[Place]:
    """Return the places that took the most time, the longest first; the callers instead if no place was seen."""
    looks = list(looks)
    by_place = grouped((look.place, look) for look in looks if look.place) or grouped(
        (look.caller, look) for look in looks if look.caller
    )
    total = sum(look.seconds for group in by_place.values() for look in group)
    most = sorted(by_place.items(), key=lambda one: -seconds_of(one[1]))[:PLACES]
    return [
        Place(
            place=place,
            share=seconds_of(group) / total if total else 0.0,
            call=(longest := max(group, key=attrgetter("seconds"))).calling,
            waits=may_wait and (only_waits(longest) or _mostly_waits(group)),
            caller=longest.caller if longest.place else None,
        )
        for place, group in most
    ]


def _mostly_waits(looks: Sequence[Observation]) -> bool:
    """Return whether little was computed there.

    A wait for a processor counts as computing, except in a call: one that waits for something else needs a processor,
    too, as often as it wakes.
    """
    in_calls_s = sum(one.queued_s for one in looks if one.call)
    computed_s = sum(one.cpu_s + one.queued_s for one in looks) - in_calls_s
    return computed_s < MOST_OF_IT * (seconds_of(looks) - in_calls_s)


def _change(cause: Cause, places: Sequence[Place], looks: Sequence[Observation]) -> tuple[str | None, str | None]:
    """Return what to write or do instead, and ruff's rule if it finds the call."""
    if change := CAUSES[cause].change:
        if cause != "threads used up":
            return change, None
        if not places:
            return None, None
        if not places[0].waits:
            return COMPUTE_ELSEWHERE, None
        # Who holds all threads at a lock holds them as long as the lock: no client makes that shorter.
        return CAUSES["waiting in line"].change if _longest_at(places[0], looks).in_line else change, None
    if not places or cause in UNPROVEN:
        return None, None
    longest = _longest_at(places[0], looks)
    if longest.within is None and longest.step is None:  # no line of the application's to change
        return None, None
    return change_for(longest, waits=bool(places[0].waits))


def _longest_at(place: Place, looks: Iterable[Observation]) -> Observation:
    there = (look for look in looks if place.place == (look.place or look.caller))
    return max(there, key=attrgetter("seconds"))


def _after_the_answer(
    run: RunDocument, looks: Iterable[Observation], loop_s: float, *, is_held: bool
) -> tuple[float | None, str | None]:
    """Return for how many seconds at most calls went on after their answers, if noticeable, and the first error.

    A loop that is late (by `loop_s`) or `is_held` makes the end of a call late, too, unless a background task was seen.
    """
    done = {row.task_id: row.done_s for row in run.requests if row.done_s is not None and not row.error}
    ended = [(task, done[task.id]) for task in run.tasks if task.id in done]
    after_s = max((task.ended_s - at for task, at in ended if task.ended_s is not None), default=0.0)
    error = next((task.error for task, _ in ended if task.state == "failed"), None)
    is_just_late = is_held or (after_s < AS_LATE * loop_s and not error)
    is_told = (after_s >= NOTICED_S or error) and (not is_just_late or any(look.of == "background" for look in looks))
    return max(after_s, 0.0) if is_told else None, error


def _left(tasks: Iterable[Left]) -> list[LeftTask]:
    groups = grouped(((task.place, task.call), task) for task in tasks)
    return [
        LeftTask(
            call=call,
            place=place,
            count=len(group),
            finished=(states := Counter(task.state for task in group))["finished"],
            failed=states["failed"],
            cancelled=states["cancelled"],
            lost=states["lost"],
            unfinished=states["running"],
            longest_s=max(task.after_s for task in group),
            error=next((task.error for task in group if task.error), None),
            kept=all(task.kept for task in group),
        )
        for (place, call), group in sorted(groups.items())
    ]


def _never_ran(tasks: Iterable[NeverRan]) -> list[NeverRanTask]:
    groups = grouped(((task.call, task.place, _why_lost(task)), task) for task in tasks)
    return [
        NeverRanTask(
            call=call, place=place, count=len(group), status=group[0].status, because=because, by_error=by_error
        )
        for (call, place, (because, by_error)), group in groups.items()
    ]


def _why_lost(task: NeverRan) -> tuple[str | None, bool]:
    """Return why a background task never ran, if known, and whether an error answer was the reason."""
    by_error = task.because is None and task.status >= 400
    return (f"the answer was {task.status}" if by_error else task.because), by_error
