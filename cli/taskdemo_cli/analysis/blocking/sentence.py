"""The verdict on an endpoint, in words."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from taskdemo_cli.analysis.blocking.answers import LONGEST, is_error, problems_in
from taskdemo_cli.analysis.blocking.causes import CAUSES, UNPROVEN
from taskdemo_cli.analysis.blocking.evidence import MOST_OF_IT
from taskdemo_cli.analysis.mode_summary import CLOSE, HELD_UP_S
from taskdemo_cli.documents.blocking import Answer, Blocking, LeftTask, NeverRanTask, Place
from taskdemo_cli.stats import grouped
from taskdemo_cli.units import format_all, format_count, format_seconds, format_were
from taskdemo_server.contract.text import shortened

BYSTANDER: Final = "bystander (GET /ping, taskdemo's own)"
THREADS_BYSTANDER: Final = "bystander that needs a worker thread (GET /ping/sync, taskdemo's own)"
NOT_SEEN: Final = (
    "This endpoint blocks the server: the event loop answered nobody{longest}. The cause was not seen, because it never"
    " released the interpreter, like a long call into C."
)
"""In place of the sentence of `event loop held` where nobody saw what held it."""
REASONS: Final = ("detail", "message", "error", "title")
"""Names under which an error answer gives its reason; the first that does counts."""
TOO_SHORT: Final = (
    "The run was over before a bystander had to wait, so whether this endpoint blocks the server was not measured."
)


def sentence(blocking: Blocking) -> str:
    """Return whether the endpoint blocks the server, by how much, why, and what to change; and what it left behind."""
    parts = [_verdict(blocking)]
    if blocking.cause in UNPROVEN and blocking.places:
        parts.append(f"Calls that did not end were {_most_often(blocking)}.")
    if blocking.change is not None:
        rule = f" (ruff finds it: {blocking.rule})" if blocking.rule else ""
        parts.append(f"{blocking.change}{rule}.")
    if blocking.answers and blocking.cause != "not reached":
        parts.append(f"Not all requests succeeded: {_told(blocking.answers)}.")
    if blocking.endless:
        parts.append(f"{format_were(blocking.endless, 'answer')} still being sent, as with a stream.")
    parts += [_told_after(blocking), *map(_told_left, blocking.left), *_told_never_ran(blocking.never_ran)]
    return " ".join(filter(None, parts))


def brief(blocking: Blocking) -> str:
    """Return in a few words, for a table, where the endpoint holds others up, or why it was not reached."""
    if blocking.places:
        return f"at {_where(blocking.places[0])}"
    return _told(blocking.answers) if blocking.cause == "not reached" else ""


def told_wait_s(blocking: Blocking) -> float | None:
    """Return the longest wait of others that the sentence tells, for a table beside it; None if nobody was seen."""
    loop, threads, longest = blocking.loop_wait_s, blocking.threads_wait_s, blocking.longest_s or 0.0
    waited = max(loop or 0.0, threads or 0.0)
    if blocking.blocks and waited < max(HELD_UP_S, longest) / CLOSE:
        return longest or waited
    if loop is not None and loop >= HELD_UP_S and blocking.cause not in UNPROVEN | {"threads used up"}:
        return loop  # the other bystander waited for the blocked event loop, too
    return None if loop is None and threads is None else waited


def _verdict(blocking: Blocking) -> str:
    cause, loop, threads = blocking.cause, blocking.loop_wait_s, blocking.threads_wait_s
    limit, waited = format_seconds(HELD_UP_S), max(loop or 0.0, threads or 0.0)
    text, where = CAUSES[cause].text, _most_often(blocking)
    if cause == "not reached":
        instead = f" Type {blocking.type_instead}." if blocking.type_instead else ""
        why = _told(blocking.answers) if blocking.answers else "no answer came before the server ended"
        return f"{text.format(why=why)}{instead}"
    if cause == "threads used up":
        text += f" Most of them were {where}." if where else ""
        if threads is None or loop is None:
            return text
        return (
            f"{text} Beside it a plain `def` endpoint of taskdemo's waited up to {format_seconds(threads)}, an `async "
            f"def` one {format_seconds(loop)}."
        )
    if cause in UNPROVEN:
        if loop is None:
            return TOO_SHORT
        beside = "" if threads is None else f", and one in a worker thread up to {format_seconds(threads)}"
        waits = f"a {BYSTANDER} waited up to {format_seconds(loop)}{beside} ({limit} or more counts as held up)"
        text = text.format(waits=waits)
        if cause == "not found":
            return text
    else:
        # A shorter wait may have ended before the stall, so name that instead; it may be the work of several callers.
        is_told = waited >= max(HELD_UP_S, blocking.longest_s or 0.0) / CLOSE or cause == "waiting in line"
        longest = "" if is_told or not blocking.longest_s else f", up to {format_seconds(blocking.longest_s)} at a time"
        text = NOT_SEEN if cause == "event loop held" and not where else text
        text = text.format(at=f" ({where})" if where else "", longest=longest)
        if is_told and waited:
            is_threads = loop is None or loop < HELD_UP_S <= waited
            who, its = (THREADS_BYSTANDER, threads) if is_threads else (BYSTANDER, loop)
            text += f" A {who} waited up to {format_seconds(its or 0.0)}."
    if (wait := blocking.processor_wait_s) is not None:
        took = format_seconds(wait)
        return f"{text} That was the machine, which was busy: threads had to wait up to {took} for a processor."
    if cause == "waiting in line" and waited >= HELD_UP_S:
        return f"{text} The cause of that wait was not seen."
    is_known = blocking.blocks and where  # the code seen there is slow, whatever the limit
    if not is_known and HELD_UP_S / CLOSE <= max(waited, blocking.longest_s or 0.0) < CLOSE * HELD_UP_S:
        text += f" It is close to the limit of {limit}: run it again to be sure."
    return text


def _most_often(blocking: Blocking) -> str:
    """Return where most of what was seen was; empty if no place was seen."""
    often = "among others " if blocking.places and blocking.places[0].share < MOST_OF_IT else ""
    return f"{often}at {_where(blocking.places[0])}" if blocking.places else ""


def _where(place: Place) -> str:
    doing = {None: "", True: " waits", False: " computes"}[place.waits]
    if place.call and place.call != place.place:
        call = f": {place.call}{doing}"
    else:
        call = f", which{doing}" if doing and (place.call or not place.waits) else ""
    by = f", called from {place.caller}" if place.caller else ""
    return shortened(f"{place.place}{call}{by}", 2 * LONGEST)


def _told(answers: Sequence[Answer]) -> str:
    total = sum(answer.count for answer in answers)
    if len(answers) == 1:
        return f"{format_all(total, 'answer')} {'was' if total == 1 else 'were'} {_one(answers[0])}"
    kinds = (f"{format_were(one.count)} {_one(one)}" for one in answers[:4])
    return f"of {format_count(total, 'answer')}, {', '.join(kinds)}"


def _one(answer: Answer) -> str:
    if answer.location:
        return f"{answer.status} (to {shortened(answer.location, LONGEST)})"
    detail = _detail(answer)
    return (
        f"{answer.status} ({shortened(detail, LONGEST)})" if detail and is_error(answer.status) else str(answer.status)
    )


def _detail(answer: Answer) -> str:
    """Return the reason that an answer gives in JSON, or its text if it is not JSON."""
    problems = problems_in(answer.detail)
    if problems:
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems[:3])
    try:
        return _reason(json.loads(answer.detail or ""))
    except ValueError:
        return answer.detail or ""


def _reason(told: object) -> str:
    """Return the reason in an answer's JSON: the text itself, or that under one of the usual names."""
    if isinstance(told, dict):
        return next(filter(None, (_reason(told.get(name)) for name in REASONS)), "")
    return told if isinstance(told, str) else ""


def _told_after(blocking: Blocking) -> str:
    if blocking.after_answer_s is None:
        return ""
    error = blocking.after_answer_error
    failed = f", and failed there: {shortened(error.rstrip('.'), LONGEST)}" if error else ""
    took = format_seconds(blocking.after_answer_s)
    return f"What it does after the answer (background tasks, dependencies with yield) took up to {took}{failed}."


def _told_left(left: LeftTask) -> str:
    ends = [
        f"{count:,} {words}"
        for count, words in (
            (left.finished, "ended by itself" if left.finished == 1 else "ended by themselves"),
            (left.failed, f"failed ({shortened(left.error or '', LONGEST)})"),
            (left.cancelled, "cancelled"),
            (left.lost, "vanished before the end"),
            (left.unfinished, "still running at the end"),
        )
        if count
    ]
    nobody = "" if left.kept else "; nothing keeps a reference to " + ("it" if left.count == 1 else "them")
    whose = "its request" if left.count == 1 else "their requests"
    long = "" if left.unfinished else f", for up to {format_seconds(left.longest_s)} after the answer"
    return (
        f"{format_count(left.count, 'asyncio task')} outlived {whose}: {shortened(left.call, 40)}, created at"
        f" {shortened(left.place, LONGEST)}{long}: {', '.join(ends)}{nobody}."
    )


def _told_never_ran(tasks: Sequence[NeverRanTask]) -> Iterator[str]:
    """Yield a sentence for each reason why background tasks never ran."""
    groups = grouped((lost.because or "", lost) for lost in tasks)
    for because, group in sorted(groups.items()):
        count = sum(lost.count for lost in group)
        where = [shortened(lost.call, 40) + (f" (added at {lost.place})" if lost.place else "") for lost in group]
        text = (
            f"{format_were(count, 'background task')} added and never ran: {shortened(', '.join(where), 2 * LONGEST)}"
        )
        yield f"{text}: {shortened(because.rstrip('.'), LONGEST)}." if because else f"{text}."
        if group[0].by_error:  # not if the endpoint's own Response replaced them
            yield "Return a Response of that status instead of raising an exception, and they run."
