"""What the figures of a run say, in a few short sentences per mode: who waited, who was held up, how much ran at once.

Measured figures alone choose every clause; a mode's name decides nothing, so a mode that promises not to block and does
is described as blocking.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from taskdemo_cli.analysis.mode_summary import CLOSE, HELD_UP_S, LONGEST_ERROR, MOSTLY, ModeSummary, summaries
from taskdemo_cli.analysis.rounds import by_mode, intervals, over_rounds, reference_of
from taskdemo_cli.documents.comparison import ComparisonDocument, Verdict
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.recording.summary import TRUSTED_SHARE
from taskdemo_cli.units import format_all, format_count, format_seconds, format_share, format_were
from taskdemo_server.contract.text import shortened

QUEUED: Final = 1.5
"""Callers queued if the slowest of most of them waited longer than this many times the longest work."""
BYSTANDER: Final = "other requests"
"""What the bystander stands for."""
CLEAR_FACTOR: Final = 1.5
"""A single round shows a difference only from this factor on."""
STRETCHED: Final = 1.5
"""Work that takes longer than this many times its configured time had to share something: a CPU, or the GIL."""
AT_ONCE: Final = 100.0
"""From this factor on, a caller was answered at once, and how many times sooner says nothing more."""
TELLING_S: Final = 0.01
"""Work that takes less explains no waiting."""
ADVISED_POOL: Final = 100
"""The most processes that are advised: each takes memory, and more than this help on few machines."""
REDIRECTS: Final = frozenset({"301", "302", "303", "307", "308"})
SHARED: Final = "computes in threads, which share one interpreter with the server"


def verdict(run: RunDocument, endpoint: str = "") -> str:
    """Return what a run shows. `endpoint`: the sentences on the user's own endpoint and its bystanders."""
    return _text(ModeSummary([run], run.summary.work_cpu_share), [], endpoint)


def comparison(runs: Sequence[RunDocument], **given: Any) -> ComparisonDocument:
    """Return the comparison of one or more runs, with its intervals and verdicts; `given`: its other fields."""
    measured = summaries(runs)
    reference = reference_of(list(measured))
    found = intervals(runs, reference)
    medians = [one for one in found if one.figure == "response_s.p50"]
    within_noise = {one.mode: one.difference.within_noise for one in medians if one.difference}
    verdicts = []
    for mode, summary in measured.items():
        clauses = _against(summary, measured[reference], reference, within_noise.get(mode))
        verdicts.append(Verdict(mode=mode, text=_text(summary, clauses), short=_short(summary)))
    return ComparisonDocument(
        reference=reference,
        rounds=max(len(group) for group in by_mode(runs).values()),
        runs=list(runs),
        verdicts=verdicts,
        intervals=found,
        **given,
    )


def _text(mode: ModeSummary, more: Iterable[str], endpoint: str = "") -> str:
    return " ".join(filter(None, _sentences(mode, more, endpoint)))


def _sentences(mode: ModeSummary, more: Iterable[str], endpoint: str) -> Iterator[str]:
    if mode.cut_short is not None:
        yield _stopped(mode.cut_short)
    failure = _failure(mode)
    yield from [failure] if failure else map(_sentence, _troubles(mode))
    yield endpoint
    bystander = () if endpoint else _bystander(mode)
    if failure or (mode.is_partial and not mode.answered):
        yield from map(_sentence, bystander)
    elif mode.answered:
        against = () if mode.is_clients else more  # otherwise it would compare clients
        clauses = [*_who_waited(mode), *_clients_part(mode), *against, *_at_once(mode), *bystander]
        yield from map(_sentence, clauses)
    else:
        yield "No request was reported, so there is no verdict."


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}."


def _failure(mode: ModeSummary) -> str:
    """Return the sentence that says that nothing went well; empty if something did."""
    error = f": {mode.error}" if mode.error else ""
    if mode.errors and mode.errors.total() == mode.requests:
        if not mode.answered and not mode.refused:
            whole = " in full" if mode.going_on else ""
            return f"None of {format_count(mode.requests, 'request')} was answered{whole} ({_errors(mode)})."
        return _sentence(f"{format_all(mode.requests, 'request')} failed ({_errors(mode)}){error}")
    tasks = mode.tasks["accepted"]
    if tasks == mode.tasks["failed"] and tasks and not mode.is_app:
        return _sentence(f"{format_all(tasks, 'task')} failed{error}")
    if tasks == mode.tasks["lost"] and tasks and not mode.is_app:
        return _sentence(f"{format_all(tasks, 'task')} {_was(tasks)}lost{f': {mode.loss}' if mode.loss else ''}")
    return ""


def _was(count: int) -> str:
    return "was " if count == 1 else "were "


def _stopped(run: RunDocument) -> str:
    requests = run.summary.requests
    waiting = requests.errors.get("Cancelled", 0)
    answered = sum(times.count for times in (run.summary.response_s, run.summary.failed_s) if times)
    calls = [moment for call in run.bystander for moment in (call.sent_s, call.done_s) if moment is not None]
    after = max([run.summary.wall_s, *calls])
    of = "" if run.count is None else f" of {run.count:,}"
    words = [f"{answered:,}{of} {'was' if answered == 1 else 'were'} answered"]
    if unanswered := requests.total - answered - waiting:
        words.append(f"{unanswered:,} failed without an answer")
    if waiting:
        words.append(f"{format_were(waiting)} still waiting when you stopped")
    if run.not_sent:
        words.append(f"{run.not_sent:,} not sent")
    which = f"Round {run.round} was interrupted" if run.round > 1 else "Interrupted"
    return f"{which} after {format_seconds(after)}; {', '.join(words)}."


def _clients_part(mode: ModeSummary) -> Iterator[str]:
    share = mode.clients_share
    if share > TRUSTED_SHARE:
        own = f"a server that does nothing answers this client in {format_seconds(share * (mode.median or 0.0))}"
        whose = ", so it measures the client more than the server" if share >= MOSTLY else ""
        much = f"{format_share(share)} of" if share <= 1 else "longer than"  # other load on the machine slowed it
        yield f"{own}, {much} the median response{whose}"
    elif mode.is_client_busy:
        yield "the client was busy all the time, so it set the pace rather than the server"
    elif mode.stood_still is not None:
        stood = format_seconds(mode.stood_still)
        yield f"the client itself stood still for {stood} or longer: the slowest answers say nothing about the server"


def _answered(mode: ModeSummary) -> str:
    median, slowest = format_seconds(mode.median or 0.0), format_seconds(mode.slowest or 0.0)
    return f"answered in {slowest if mode.answered == 1 else f'{median} (median; slowest {slowest})'}"


def _explains(mode: ModeSummary, count: str) -> bool:
    """Return whether work explains the wait of this count of callers."""
    return bool(mode.tasks[count]) and (mode.work or 0.0) >= TELLING_S


def _who_waited(mode: ModeSummary) -> Iterator[str]:
    after = mode.tasks["waited_for_work"]  # callers who waited for their own work; the others did not
    before = mode.tasks["answered_before_end"] + mode.tasks["answered_after_end"] - after
    # The endpoint's own sentences say what an application does after its answer.
    if _explains(mode, "waited_for_work") and not mode.is_app:
        yield _own_work(mode)
        return
    if not before or mode.is_app:
        yield _answered(mode)
        return
    held, which = mode.tasks["held_up"], "the task" if mode.tasks["accepted"] == 1 else "the last task"
    others = f": {held:,} of {before:,} callers had to wait for the work of others"
    yield _answered(mode) + (others if _explains(mode, "held_up") else "")
    if mode.last_ended is not None:
        yield f"{which} ended {format_seconds(mode.last_ended)} after the start"


def _own_work(mode: ModeSummary) -> str:
    median, slowest = format_seconds(mode.median or 0.0), format_seconds(mode.slowest or 0.0)
    work = format_seconds(mode.work or 0.0)
    if mode.answered == 1:
        return f"{_the_one(mode)} caller waited {slowest}, for {work} of work"
    if _is_queue(mode):
        return f"callers waited in line: {median} (median; the last {slowest}), each for {work} of work"
    else_ = "" if _is_shared(mode) else " and for little else"
    return f"{_for_own_work(mode)} of {work}{else_}: {_answered(mode)}"


def _is_shared(mode: ModeSummary) -> bool:
    """Return whether tasks that computed at the same time in threads made one another take longer."""
    return mode.fills_interpreter and mode.tasks["max_parallel"] > 1


def _the_one(mode: ModeSummary) -> str:
    return "the" if mode.requests == 1 else "one"


def _for_own_work(mode: ModeSummary) -> str:
    few = not _is_long(mode, _longest_of_most(mode)) and _is_long(mode, mode.slowest)
    return "most callers waited for their own work" if few else "each caller waited for its own work"


def _is_queue(mode: ModeSummary) -> bool:
    return _is_long(mode, _longest_of_most(mode)) and not mode.all_at_once


def _longest_of_most(mode: ModeSummary) -> float | None:
    """Return the slowest answer; of many, without the few that anything may have held up."""
    return over_rounds(mode.runs, "response_s.p95") or mode.slowest


def _is_long(mode: ModeSummary, wait: float | None) -> bool:
    longest_work = over_rounds(mode.runs, "work_s.max")
    return bool(longest_work) and (wait or 0.0) > QUEUED * (longest_work or 0.0)


def _against(mode: ModeSummary, reference: ModeSummary, name: str, within_noise: bool | None) -> Iterator[str]:
    if mode is reference or not mode.median or not reference.median or mode.is_partial or reference.is_partial:
        return
    if reference.is_clients or _failure(reference):
        return
    factor = reference.median / mode.median
    if within_noise:
        yield f"the difference from {name} is within noise"
    elif within_noise is None and 1 / CLEAR_FACTOR < factor < CLEAR_FACTOR:
        yield f"callers were answered about as soon as with {name}"
    elif factor >= AT_ONCE and mode.median < HELD_UP_S:
        yield f"callers were answered at once; with {name}, after {format_seconds(reference.median)}"
    elif factor >= 1:
        yield f"callers were answered {_times(factor)} sooner than with {name}"
    else:
        yield f"callers were answered {_times(1 / factor)} later than with {name}"


def _times(factor: float) -> str:
    if factor < CLEAR_FACTOR:
        return format_share(factor - 1)
    shown = f"{factor:,.0f}" if factor >= 9.5 else f"{factor:.1f}"
    return f"{shown} times"


def _at_once(mode: ModeSummary) -> Iterator[str]:
    most, tasks, asked = mode.tasks["max_parallel"], mode.tasks_in_a_run, mode.runs[0].duration_s
    if asked and mode.work and mode.work > STRETCHED * asked:
        because = f", because it {SHARED}" if _is_shared(mode) else ""
        yield f"work of {format_seconds(asked)} took {format_seconds(mode.work)}{because}"
    elif _is_shared(mode) or (mode.fills_interpreter and (mode.waited or 0.0) >= HELD_UP_S):
        yield f"the work {SHARED}"
    if tasks < 2 or most < 1 or mode.is_app:
        return
    if most == 1:
        together = mode.runs[0].concurrency != 1  # otherwise each was sent after the answer to the one before it
        stuck = mode.on_loop and together and (mode.waited or 0.0) >= max((mode.work or 0.0) / 2, HELD_UP_S)
        yield "the work ran one at a time" + (": it never awaits, so it blocks the event loop" if stuck else "")
    elif mode.all_at_once:
        yield f"{format_all(tasks)} ran at once"
    elif mode.is_bounded:
        yield f"the work ran {bounded(mode)}"
    else:
        yield f"at most {most:,} ran at once"


def bounded(mode: ModeSummary, *, brief: bool = False) -> str:
    """Return how many tasks ran at a time: the number of processes, not the mode, made the last one late."""
    per_cpu = ", one per CPU" if mode.slots == mode.runs[0].environment.get("cpus") and not brief else ""
    helps = not mode.computes and mode.tasks_in_a_run <= ADVISED_POOL
    more = f" (--processes {mode.tasks_in_a_run} runs all at once)" if helps else ""
    return f"{mode.slots:,} at a time{per_cpu}{more}"


def _short(mode: ModeSummary) -> str:
    """Return the verdict in one line: what went wrong, who waited for what, and whether others were held up."""
    if failure := _failure(mode):
        return failure.rstrip(".")
    return "; ".join([*_troubles(mode, brief=True), *_short_clauses(mode)]) or "no request was reported"


def _short_clauses(mode: ModeSummary) -> Iterator[str]:
    if mode.answered:
        if _explains(mode, "waited_for_work"):
            each = f"{_the_one(mode)} caller waited for its work" if mode.answered == 1 else ""
            yield each or ("callers waited in line" if _is_queue(mode) else _for_own_work(mode))
        elif _explains(mode, "held_up"):
            yield "callers waited for the work of others"
        elif not mode.tasks["answered_before_end"]:
            yield _answered(mode)
        elif mode.is_bounded:
            yield f"answered first; {bounded(mode, brief=True)}"
        else:
            yield "answered first, then worked on"
    if mode.waited is not None and mode.waited >= HELD_UP_S:
        yield "others were held up"


def _troubles(mode: ModeSummary, *, brief: bool = False) -> Iterator[str]:
    if mode.errors:
        failed = f"{mode.errors.total():,} of {format_count(mode.requests, 'request')} failed"
        yield failed if brief else f"{failed} ({_errors(mode)})"
    redirects = sum(run.summary.requests.statuses.get(status, 0) for run in mode.runs for status in REDIRECTS)
    if redirects and not mode.is_app:  # an application's endpoint has its own sentence on that
        yield f"{redirects:,} of {format_count(mode.requests, 'request')} led to a redirect, which is not followed"
    tasks = mode.tasks["accepted"]
    error = f" ({mode.error})" if mode.error and not brief else ""
    loss = f" ({mode.loss})" if mode.loss and not brief else ""
    words = {
        "failed": f"failed{error}",
        "cancelled": "cancelled",
        "lost": f"lost{loss}",
        "unfinished": "unfinished",
    }
    ends = [(mode.tasks[name], how) for name, how in words.items() if mode.tasks[name]]
    if ends and ends[0][0] == tasks:
        yield f"{format_all(tasks, 'task')} {'' if mode.tasks['failed'] else _was(tasks)}{ends[0][1]}"
    elif ends:
        yield f"of {format_count(tasks, 'task')}, {', '.join(f'{count:,} {how}' for count, how in ends)}"
    if mode.tasks["begun"] > tasks:
        yield f"the work of {format_count(tasks, 'task')} was begun {mode.tasks['begun']:,} times"


def _bystander(mode: ModeSummary) -> Iterator[str]:
    if mode.waited is None:
        return
    is_close = HELD_UP_S / CLOSE < mode.waited < CLOSE * HELD_UP_S
    close = f" (close to the limit of {format_seconds(HELD_UP_S)})" if is_close else ""
    least = "" if mode.is_answered else "at least "
    how = f"waited {least or 'at most '}" if mode.waited < HELD_UP_S else f"were held up for {least}"
    yield f"{BYSTANDER} (GET /ping) {how}{format_seconds(mode.waited)}{close}"


def _errors(mode: ModeSummary) -> str:
    """Return the errors and their counts, how soon error answers came (no other figure shows it), and what went on."""
    kinds = [f"{count:,} {shortened(kind, LONGEST_ERROR)}" for kind, count in mode.errors.most_common(3)]
    if others := mode.errors.total() - sum(count for _, count in mode.errors.most_common(3)):
        kinds.append(f"{others:,} of other kinds")
    told = ", ".join(kinds)
    if (median := over_rounds(mode.runs, "failed_s.p50")) is not None:
        which = "the failed answer took" if mode.refused == 1 else "median of these answers"
        told += f"; {which} {format_seconds(median)}"
    if mode.going_on and not mode.is_app:  # an application's endpoint has its own sentence on that
        told += f"; {format_were(mode.going_on, 'answer')} still being sent, as with a stream"
    return told
