"""Whether an endpoint of the user's own holds up others, why, and what to write instead.

Pure: no I/O and no clock. Judged by what the server saw of its event loop and its worker threads, and by what two
bystanders waited beside the endpoint: one is served by the event loop, the other one by AnyIO's worker threads.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from taskdemo_cli.analysis.change import change_for
from taskdemo_cli.analysis.mode_summary import CLOSE, HELD_UP_S
from taskdemo_cli.documents.blocking import Answer, Blocking, LeftTask, NeverRanTask, Place
from taskdemo_cli.documents.run import BystanderRow, RunDocument
from taskdemo_cli.recording.sightings import Answered, Left, NeverRan, Seen, Sightings, Stall, Waiting
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.text import shortened

PLACES: Final = 5
MOST_OF_IT: Final = 0.5
LATE: Final = 2
"""A single late answer of many proves nothing of the endpoint."""
BYSTANDER: Final = "bystander (GET /ping, taskdemo's own)"
LOOP_LEGS, THREADS_LEGS = 2, 4
"""So many times a bystander's request and its answer wake a thread, which may have to wait for a processor."""
IN_LINE: Final = 0.4
"""Callers who spend this share of their time in a line for one lock or pool wait for one another."""
REFUSED: Final = 0.9
"""From this share of the answers on, refusals say nothing of the endpoint."""
HOLD_UP: Final = frozenset(
    {"event loop held", "interpreter busy", "processors busy", "garbage collection", "threads used up"}
)
OWN: Final = frozenset({"request", "background", "task"})
"""Whose code is the endpoint's doing."""
REFUSALS: Final = frozenset({*range(300, 400), 401, 403, 404, 405, 406, 411, 413, 415, 422, 426, 428, 429})
"""What a framework answers by itself before an endpoint is called."""
NOTICED_S: Final = 0.05
"""What goes on for less after an answer is the end of that answer."""
LONGEST: Final = 100
TOO_LATE: Final = "ReadTimeout"
"""The error of a request whose answer was not whole in time."""
TOO_SHORT: Final = (
    "Whether this endpoint blocks the server was not measured: the run was too short for a bystander. Try --for 2."
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the stalls of a run come to: by whose doing, and of which only those count that would hold anybody up."""

    own: Sequence[Stall]
    busy: Sequence[Stall]
    """The loop's thread had nothing to do, and others computed."""
    application: Sequence[Stall]
    unseen: Sequence[Stall]
    """The loop's thread computed, and nobody could look."""

    @classmethod
    def of(cls, stalls: Iterable[Stall]) -> "Evidence":
        """Sort these stalls. What the machine was busy with others is no time of the application's."""
        kinds = [(stall, _kind(stall)) for stall in stalls if stall.lasted_s - stall.queued_s >= HELD_UP_S]
        return cls(*([stall for stall, kind in kinds if kind == name] for name in cls.__slots__))


def judge(run: RunDocument, found: Sightings) -> Blocking:
    """Return what the server and the bystanders say of the endpoint of this run.

    What the server has seen itself is enough for a cause. A bystander that waited is not, unless again and again.
    """
    waits, threads_waits = _waits(run.bystander), _waits(run.bystander_threads or ())
    loop, threads = max(waits, default=None), max(threads_waits, default=None)
    evidence = Evidence.of(found.stalls)
    late = sum(wait >= HELD_UP_S for wait in waits)
    late_threads = sum(wait >= HELD_UP_S for wait in threads_waits)
    over_s = sum(look.over_s for look in found.waiting)
    full_s = sum(look.full_s for look in found.waiting)
    answers, is_refused = _answers(run, found.answers)
    looks: list[Seen] = []
    cause: Any = "neither"
    stalls: Sequence[Stall] = ()
    processor_wait_s: float | None = None
    if evidence.own:
        stalls = evidence.own
        cause, looks = _held(stalls), [look for stall in stalls for look in stall.looks if look.of in OWN]
    elif evidence.busy or (late + late_threads >= LATE and _computing_s(found.waiting) >= max(HELD_UP_S, over_s / 4)):
        stalls = evidence.busy
        looks = [look for stall in stalls for look in stall.others]
        looks = looks or [one for look in found.waiting for one in look.waiting if one.of == "thread"]
        by_requests = sum(look.seconds for look in looks if look.of == "thread")
        cause = "interpreter busy" if by_requests >= MOST_OF_IT * sum(look.seconds for look in looks) else "application"
    elif full_s >= HELD_UP_S and (threads is None or threads >= HELD_UP_S):
        cause, looks = "threads used up", [one for look in found.waiting for one in look.waiting if one.of == "thread"]
    elif evidence.application:
        stalls = evidence.application
        cause, looks = "application", [look for stall in stalls for look in stall.looks]
    elif late + late_threads and (pieces := _in_pieces(found.waiting)):
        cause, looks = "event loop held", pieces
    # Code that keeps the interpreter for itself lets nobody look.
    elif len(evidence.unseen) >= LATE or (evidence.unseen and late >= LATE and not is_refused):
        stalls, cause = evidence.unseen, _held(evidence.unseen)
    elif is_refused:
        cause = "not reached"
    elif in_line := _in_line(run, found.waiting):
        cause, looks = "waiting in line", in_line
    elif late + late_threads >= LATE and (burning := _burning(found.waiting)):
        cause, looks = "processors busy", burning
    elif max(loop or 0.0, threads or 0.0) >= HELD_UP_S:
        queued_s = max((look.queued_s for look in found.waiting), default=0.0)
        explained = max((loop or 0.0) - LOOP_LEGS * queued_s, (threads or 0.0) - THREADS_LEGS * queued_s) < HELD_UP_S
        cause, processor_wait_s = ("neither", queued_s) if explained else ("not found", None)
    if cause in {"neither", "not found"} and not run.summary.response_s:
        looks = [one for look in found.waiting for one in look.waiting]
    places = _places(looks)
    change, rule = _change(cause, looks)
    after_s, after_error = _after_the_answer(run)
    if evidence.own and not any(look.of == "background" for look in looks):
        after_s = None  # the end of a call is late, too, where the loop is blocked
    return Blocking(
        blocks=cause in HOLD_UP,
        cause=cause,
        loop_wait_s=loop,
        threads_wait_s=threads,
        processor_wait_s=processor_wait_s,
        places=[replace(place, waits=False) for place in places] if cause == "interpreter busy" else places,
        longest_s=max((stall.lasted_s for stall in stalls), default=None),
        change=change,
        rule=rule,
        answers=answers,
        type_instead=_type_instead(run, found.answers, answers) if answers else None,
        endless=sum(run.timed_out and row.status is not None and row.error == TOO_LATE for row in run.requests),
        after_answer_s=after_s,
        after_answer_error=after_error,
        left=_left(found.left),
        never_ran=_never_ran(found.never_ran),
    )


def sentence(blocking: Blocking, too_short: str = TOO_SHORT) -> str:
    """Say whether the endpoint blocks the server, by how much, why, and what to change; and what it left behind.

    `too_short` is what is said where nobody had the time to wait beside it.
    """
    parts = [_verdict(blocking, too_short)]
    if blocking.change is not None:
        rule = f" (ruff finds it: {blocking.rule})" if blocking.rule else ""
        parts.append(f"{blocking.change}{rule}.")
    if blocking.answers and blocking.cause != "not reached":
        parts.append(f"Not all went well: {_told(blocking.answers)}.")
    if blocking.endless:
        were = "1 answer was" if blocking.endless == 1 else f"{blocking.endless:,} answers were"
        parts.append(f"{were} still going on, as those of a stream do.")
    parts += [_told_after(blocking), *map(_told_left, blocking.left), *_told_never_ran(blocking.never_ran)]
    return " ".join(filter(None, parts))


def brief(blocking: Blocking) -> str:
    """Return where and why it holds others up, or why nothing is said of that, in a few words for a table."""
    if blocking.places:
        return f"at {_where(blocking.places[0])}"
    return _told(blocking.answers) if blocking.cause == "not reached" else ""


def _kind(stall: Stall) -> str:
    own = sum(look.seconds for look in stall.looks if look.of in OWN)
    others = sum(look.seconds for look in stall.looks) - own
    computed = sum(look.seconds for look in stall.others if look.call is None)  # who wakes from a call computes, too
    least = MOST_OF_IT * stall.lasted_s
    # A thread that waits for the interpreter may be anywhere; one that makes a call is in it.
    called = sum(look.seconds for look in stall.looks if look.call is not None or look.cpu_s >= look.seconds / 2)
    if computed >= least and called < least:
        return "busy"
    if own + others >= least:
        return "own" if own >= others else "application"
    return "unseen" if stall.cpu_s + stall.queued_s >= least and not stall.idle else "other"


def _computing_s(waiting: Iterable[Waiting]) -> float:
    """Return for how long worker threads computed most of the time: the loop's stalls are short then, but many."""
    computing_s = 0.0
    for one in waiting:
        # Who sleeps is in a call. Who is in none computes, or waits until the interpreter is free to do so.
        threads = [look for look in one.waiting if look.of == "thread"]
        computing = [look for look in threads if look.call is None]
        least = MOST_OF_IT * max(one.over_s, _seconds(threads))
        if sum(look.cpu_s for look in computing) and _seconds(computing) >= least:
            computing_s += one.over_s
    return computing_s


def _in_pieces(waiting: Iterable[Waiting]) -> list[Seen]:
    """Return what kept the event loop busy most of the time, in pieces that are short, where that came to much.

    The time that its thread waited for a processor is nobody's.
    """
    looks, busy_s = [], 0.0
    for one in waiting:
        own = [look for look in one.loop if look.of in OWN]
        queued_s = sum(look.queued_s for look in own)
        if (net_s := _seconds(own) - queued_s) >= MOST_OF_IT * (one.over_s - queued_s):
            busy_s += net_s
            looks += own
    return looks if busy_s >= HELD_UP_S else []


def _burning(waiting: Iterable[Waiting]) -> list[Seen]:
    """Return what worker threads computed without the interpreter, where that took much of a processor."""
    looks = [
        look
        for one in waiting
        for look in one.waiting
        if look.of == "thread" and look.cpu_s + look.queued_s >= MOST_OF_IT * look.seconds
    ]
    least = max(HELD_UP_S, MOST_OF_IT * sum(one.over_s for one in waiting))
    return looks if sum(look.cpu_s for look in looks) >= least else []


def _held(stalls: Sequence[Stall]) -> str:
    """Return whether it was the garbage collector that blocked the loop most of the time."""
    collected_s, lasted_s = sum(stall.gc_s for stall in stalls), sum(stall.lasted_s for stall in stalls)
    return "garbage collection" if stalls and collected_s >= MOST_OF_IT * lasted_s else "event loop held"


def _verdict(blocking: Blocking, too_short: str) -> str:
    loop, threads = blocking.loop_wait_s, blocking.threads_wait_s
    limit = format_seconds(HELD_UP_S)
    waited = "" if loop is None or loop < _least(blocking) else f" A {BYSTANDER} waited up to {format_seconds(loop)}."
    at = f" (at {_where(blocking.places[0])})" if blocking.places else ""
    often = "" if not blocking.places or blocking.places[0].share >= MOST_OF_IT else "among others "
    at = at.replace("(at", f"({often}at", 1)
    longest = "" if blocking.longest_s is None else f", up to {format_seconds(blocking.longest_s)} at a time"
    match blocking.cause:
        case "event loop held" if blocking.places:
            text = (
                f"This endpoint blocks the server: it blocks the event loop{at}, so everybody waits{longest}.{waited}"
            )
        case "event loop held":
            return (
                "This endpoint blocks the server: the event loop answered nobody for a while, and what blocked it is"
                " not known: it kept the interpreter for itself, as a long call into C does, so that nobody could look"
                f"{longest}.{waited}"
            )
        case "garbage collection":
            text = (
                "This endpoint blocks the server: it makes so many objects that Python's garbage collection stops"
                f" everything{at}{longest}.{waited}"
            )
        case "interpreter busy":
            text = (
                f"This endpoint slows the whole server: it computes in threads{at}, which take the interpreter from the"
                f" event loop{longest}.{waited}"
            )
        case "processors busy":
            text = (
                f"This endpoint slows the whole server: it computes in threads{at}, and takes the processors from"
                f" everybody.{waited}"
            )
        case "threads used up":
            beside = (
                ""
                if threads is None or loop is None
                else f" Beside it a plain `def` endpoint of taskdemo's waited up to {format_seconds(threads)},"
                f" an `async def` one {format_seconds(loop)}."
            )
            by = at.removeprefix(" (").removesuffix(")")
            taken = f" Most of them were {by}." if by else ""
            return (
                f"This endpoint uses up the worker threads: all were taken while others waited for one.{taken}{beside}"
            )
        case "application":
            return (
                "Not this endpoint, but the application itself blocks the server: a task or a thread of its own was at"
                f" work{at}{longest}.{waited}"
            )
        case "not reached":
            instead = f" Type {blocking.type_instead}." if blocking.type_instead else ""
            return f"Nothing can be said of blocking: {_told(blocking.answers)}.{instead}"
        case "waiting in line":
            return f"This endpoint does not block the server, but its callers wait in line for one another{at}.{waited}"
        case _ if loop is None:
            return too_short
        case cause:
            beside = "" if threads is None else f", one that needs a worker thread up to {format_seconds(threads)}"
            both = f"a {BYSTANDER} waited up to {format_seconds(loop)}{beside}"
            if cause == "not found":
                return (
                    f"Whether this endpoint blocks the server is not clear: {both}. "
                    f"{limit} or more count as held up, but what held them up was not seen. Run it again."
                )
            text = f"This endpoint does not block the server: {both} ({limit} count as held up)."
            if blocking.processor_wait_s is not None:
                wait = format_seconds(blocking.processor_wait_s)
                return f"{text} That was the machine, which was busy: threads had to wait up to {wait} for a processor."
            if blocking.places:
                answer = "no whole answer" if blocking.endless else "no answer"
                text += f" Its callers got {answer}: they were{at.replace('(', '').removesuffix(')')}."
    longest_wait = max(loop or 0.0, threads or 0.0, blocking.longest_s or 0.0)
    if HELD_UP_S / CLOSE <= longest_wait < CLOSE * HELD_UP_S:
        limit = "that" if blocking.cause == "neither" else f"the {limit} that count as held up"
        text += f" It is close to {limit}: run it again to be sure."
    return text


def _least(blocking: Blocking) -> float:
    """Return the seconds from which a bystander's wait says something: it may have left when the loop was blocked."""
    return HELD_UP_S / CLOSE if blocking.cause == "event loop held" else 0.0


def _where(place: Place) -> str:
    doing = {None: "", True: " waits", False: " computes"}[place.waits]
    call = f": {place.call}{doing}" if place.call else ", which computes" if place.waits is False else ""
    by = f", called from {place.caller}" if place.caller else ""
    return shortened(f"{place.place}{call}{by}", 2 * LONGEST)


def _places(looks: Iterable[Seen]) -> list[Place]:
    """Return where most of the time went, lines of one place together."""
    by_place: dict[str, list[Seen]] = {}
    for look in looks:
        by_place.setdefault(look.place, []).append(look)
    total = sum(look.seconds for group in by_place.values() for look in group)
    most = sorted(by_place.values(), key=lambda group: -_seconds(group))[:PLACES]
    return [
        Place(
            place=group[0].place,
            share=_seconds(group) / total if total else 0.0,
            call=(longest := max(group, key=lambda look: look.seconds)).call,
            waits=_is_waiting(group),
            caller=longest.caller,
        )
        for group in most
    ]


def _seconds(looks: Iterable[Seen]) -> float:
    return sum(look.seconds for look in looks)


def _is_waiting(looks: Sequence[Seen]) -> bool:
    """Tell whether code waits rather than computes: what it waits for a processor, it would compute."""
    return sum(look.cpu_s + look.queued_s for look in looks) < MOST_OF_IT * _seconds(looks)


def _change(cause: str, looks: Sequence[Seen]) -> tuple[str | None, str | None]:
    if not looks:
        return None, None
    most = _places(looks)[0]
    group = [look for look in looks if look.place == most.place]
    seen = max(group, key=lambda look: look.seconds)
    if cause in {"event loop held", "application"}:
        return change_for(seen, waits=bool(most.waits))
    if cause == "interpreter busy":
        return change_for(seen, waits=False)
    if cause == "processors busy":
        return "Let fewer in at once (anyio.CapacityLimiter), or compute on another machine (a task queue)", None
    if cause == "threads used up" and most.waits:
        return "Wait without a thread: an `async def` with an async client; or hold the threads for less long", None
    if cause == "waiting in line":
        return "Hold it for less long, or let more in at once (a larger pool, a lock for each thing)", None
    if cause == "garbage collection":
        return "Make fewer objects at once, or call gc.freeze() after the start", None
    return None, None


def _in_line(run: RunDocument, waiting: Sequence[Waiting]) -> list[Seen]:
    """Return what callers waited for in a line, where that took a good part of their time."""
    looks = [look for one in waiting for look in one.waiting if look.in_line]
    open_s = sum(one.open_s for one in waiting)
    slowest = run.summary.response_s.max if run.summary.response_s else open_s
    return looks if slowest >= HELD_UP_S and _seconds(looks) >= max(IN_LINE * open_s, HELD_UP_S) else []


def _waits(calls: Iterable[BystanderRow]) -> list[float]:
    """Return how long each call took, or had taken without an answer when nobody waited for it any more."""
    return [call.done_s - call.sent_s for call in calls if call.sent_s is not None and call.done_s is not None]


# --- answers -----------------------------------------------------------------------------------------------


def _answers(run: RunDocument, seen: Sequence[Answered]) -> tuple[list[Answer], bool]:
    """Return what was answered, where not all were successes, and whether that says nothing of the endpoint."""
    counts = Counter(row.status for row in run.requests if row.status is not None)
    total = counts.total()
    if not total or not any(_is_bad(status) for status in counts):
        return [], False
    by_status = {one.answer: one for one in reversed(seen)}
    answers = [
        Answer(
            status=status,
            count=count,
            location=_from(run.url, one.location) if (one := by_status.get(status)) else None,
            detail=one.detail or None if one else None,
        )
        for status, count in counts.most_common()
    ]
    refused = sum(count for status, count in counts.items() if status in REFUSALS)
    failed = sum(count for status, count in counts.items() if _is_bad(status))
    return answers, refused >= REFUSED * total or (failed > MOST_OF_IT * total)


def _from(url: str, location: str | None) -> str | None:
    """Return where a redirect leads, without the host where that is the same."""
    return None if location is None else location.removeprefix(url.rstrip("/")) or "/"


def _is_bad(status: int) -> bool:
    return not 200 <= status < 300


def _told(answers: Sequence[Answer]) -> str:
    """Return what was answered, in words."""
    total = sum(answer.count for answer in answers)
    if len(answers) == 1:
        return f"{'the answer was' if total == 1 else f'all {total:,} answers were'} {_one(answers[0])}"
    return f"of {format_count(total, 'answer')} " + ", ".join(f"{one.count:,} were {_one(one)}" for one in answers[:4])


def _one(answer: Answer) -> str:
    if answer.location:
        return f"{answer.status} (to {shortened(answer.location, LONGEST)})"
    detail = _detail(answer)
    return (
        f"{answer.status} ({shortened(detail, LONGEST)})" if detail and _is_bad(answer.status) else str(answer.status)
    )


def _detail(answer: Answer) -> str:
    """Return the reason that an answer gives, as FastAPI writes one, or its text."""
    problems = _problems(answer.detail)
    if problems:
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems[:3])
    try:
        told = json.loads(answer.detail or "")
        return str(told["detail"]) if isinstance(told, dict) and isinstance(told.get("detail"), str) else ""
    except ValueError:
        return answer.detail or ""


def _problems(detail: str | None) -> list[dict[str, Any]]:
    """Return what FastAPI says is wrong with a request; nothing where it says something else, or was cut."""
    try:
        problems = json.loads(detail or "")["detail"]
        return [one for one in problems if isinstance(one["loc"], list) and isinstance(one["msg"], str)]
    except (ValueError, TypeError, KeyError):
        return []


def _type_instead(run: RunDocument, seen: Sequence[Answered], answers: Sequence[Answer]) -> str | None:
    """Return the option with which the endpoint would be reached, as far as its answer tells."""
    status = answers[0].status
    one = next((answer for answer in seen if answer.answer == status), None)
    if one is None:
        return None
    if one.location is not None and 300 <= status < 400:
        to, own = urlsplit(one.location), urlsplit(run.url)
        if to.netloc not in {"", own.netloc}:
            return None
        query = urlsplit(run.path).query
        return f"--path {shortened(to.path, LONGEST)}{f'?{query}' if query and not to.query else ''}"
    if status == 405 and one.allow:
        return f"--method {shortened(one.allow.split(',')[0].strip(), 20)}"
    if status in {401, 403}:
        scheme = shortened((one.authenticate or "Bearer").partition(" ")[0], 20)
        if scheme.lower() == "apikey":  # as FastAPI calls a key that comes in a header of any name, a query or a cookie
            return "-H 'NAME: KEY', with the header that it takes its key from"
        return f"-H 'Authorization: {scheme} ...'"
    if status == 400 and "host" in one.detail.lower():
        return "-H 'Host: NAME', with a host that it allows"
    if status == 422:
        return _missing(one)
    return "taskdemo scan --app to see which paths there are" if status == 404 else None


def _missing(answer: Answered) -> str | None:
    for problem in _problems(answer.detail):
        where, *names = problem["loc"]
        name = shortened(str(names[0]), 40) if names else "..."
        match where:
            case "query":
                return f"--path '{shortened(answer.path, LONGEST)}?{name}=...'"
            case "header":
                return f"-H '{name}: ...'"
            case "cookie":
                return f"-H 'Cookie: {name}=...'"
            case "body":
                return "--body @FILE, with the JSON that it takes"
            case "path":
                return f"--path with another value for {name}"
    return None


# --- what goes on after the answer -------------------------------------------------------------------------


def _after_the_answer(run: RunDocument) -> tuple[float | None, str | None]:
    """Return for how long the application's calls went on after their answers, and what the first that failed said."""
    if not run.summary.tasks.answered_before_end:
        return None, None
    done = {row.task_id: row.done_s for row in run.requests if row.task_id and row.done_s is not None and not row.error}
    ended = [(task, done[task.id]) for task in run.tasks if task.id in done]
    after = max((task.ended_s - at for task, at in ended if task.ended_s is not None), default=0.0)
    error = next((task.error for task, _ in ended if task.state == "failed"), None)
    return (after if after >= NOTICED_S or error else None), error


def _told_after(blocking: Blocking) -> str:
    if blocking.after_answer_s is None:
        return ""
    error = blocking.after_answer_error
    failed = f", and failed there: {shortened(error, LONGEST)}" if error else ""
    took = format_seconds(blocking.after_answer_s)
    return f"What it does after the answer (background tasks) took up to {took}{failed}."


def _left(tasks: Iterable[Left]) -> list[LeftTask]:
    key: Callable[[Left], tuple[str, str]] = lambda task: (task.place, task.call)  # noqa: E731  groupby takes it twice
    groups = []
    for (place, call), members in groupby(sorted(tasks, key=key), key):
        group = list(members)
        states = Counter(task.state for task in group)
        groups.append(
            LeftTask(
                call=call,
                place=place,
                count=len(group),
                finished=states["finished"],
                failed=states["failed"],
                cancelled=states["cancelled"],
                lost=states["lost"],
                unfinished=states["running"],
                longest_s=max(task.after_s for task in group),
                error=next((task.error for task in group if task.error), None),
                kept=all(task.kept for task in group),
            )
        )
    return groups


def _told_left(left: LeftTask) -> str:
    ends = [
        f"{count:,} {words}"
        for count, words in (
            (left.finished, "ended by itself" if left.finished == 1 else "ended by themselves"),
            (left.failed, f"failed ({shortened(left.error or '', LONGEST)})"),
            (left.cancelled, "cancelled"),
            (left.lost, "vanished before the end"),
            (left.unfinished, "had not ended when we stopped looking"),
        )
        if count
    ]
    nobody = "" if left.kept else "; nobody keeps a reference to " + ("it" if left.count == 1 else "them")
    whose = "its request" if left.count == 1 else "their requests"
    long = "" if left.unfinished else f", for up to {format_seconds(left.longest_s)} after the answer"
    return (
        f"{format_count(left.count, 'asyncio task')} outlived {whose}: {shortened(left.call, 40)}, created at"
        f" {shortened(left.place, LONGEST)}{long}: {', '.join(ends)}{nobody}."
    )


def _never_ran(tasks: Iterable[NeverRan]) -> list[NeverRanTask]:
    groups: dict[tuple[str, str | None, str | None], list[NeverRan]] = {}
    for task in tasks:
        groups.setdefault((task.never_ran, task.place, task.because), []).append(task)
    return [
        NeverRanTask(call=call, place=place, count=len(group), status=group[0].status, because=because)
        for (call, place, because), group in groups.items()
    ]


def _told_never_ran(tasks: Sequence[NeverRanTask]) -> Iterator[str]:
    """Yield a sentence for each reason that background tasks never ran for."""
    for because, members in groupby(sorted(tasks, key=lambda lost: lost.because or ""), lambda lost: lost.because):
        group = list(members)
        count = sum(lost.count for lost in group)
        where = [shortened(lost.call, 40) + (f" (added at {lost.place})" if lost.place else "") for lost in group]
        text = (
            f"{format_count(count, 'background task')} {'was' if count == 1 else 'were'} added and never ran:"
            f" {shortened(', '.join(where), 2 * LONGEST)}"
        )
        yield f"{text}: {shortened(because, LONGEST)}." if because else f"{text}."
        if group[0].status >= 400:
            yield "Return a Response of that status instead of raising an exception, and they run."
