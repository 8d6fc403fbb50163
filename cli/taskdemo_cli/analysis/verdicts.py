"""What the figures of a run say, in one sentence per mode: who waited, who was held up, how much ran at once.

Every clause is chosen by measured figures alone; no name of a mode decides anything, so a mode that promises not to
block and does is described as blocking.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from taskdemo_cli.analysis.mode_summary import CLOSE, HELD_UP_S, MOSTLY, ModeSummary, summaries
from taskdemo_cli.analysis.rounds import by_mode, intervals, reference_of
from taskdemo_cli.documents.comparison import ComparisonDocument, Interval, Verdict
from taskdemo_cli.documents.run import RunDocument, Skipped
from taskdemo_cli.recording.summary import TRUSTED_SHARE
from taskdemo_cli.units import format_count, format_seconds, format_share
from taskdemo_server.contract.settings import LARGEST_POOL
from taskdemo_server.contract.text import shortened

QUEUED: Final = 1.5
"""Callers queued if the slowest waited so many times the longest work."""
BYSTANDER: Final = "other requests"
"""Whom the bystander stands for."""
CLEAR_FACTOR: Final = 1.5
"""One round tells a difference only from this factor on."""
STRETCHED: Final = 1.5
"""Work that takes so many times what it was asked to has had to share something: a CPU, or Python's lock."""
AT_ONCE: Final = 100.0
"""From this factor on a caller was answered at once, and how many times sooner says nothing more."""
TELLING_S: Final = 0.01
"""Where the work takes less, it explains no waiting."""
LONGEST_ERROR: Final = 100
THE_SAME: Final = "the same error"
"""For an error that was given in full for a mode before."""
FEW: Final = 5
"""With fewer answers a comparison says how many there were."""


def verdict(run: RunDocument, endpoint: str = "") -> str:
    """Return what was seen in this run, in a sentence or two.

    `endpoint` is what is said already of the user's own endpoint, and of how long the bystanders waited beside it.
    """
    return _text(ModeSummary([run]), [], endpoint)


def comparison(
    runs: Sequence[RunDocument],
    *,
    skipped: Sequence[Skipped] = (),
    environment: dict[str, Any] | None = None,
    command: str = "",
) -> ComparisonDocument:
    """Return the comparison of these runs, at least one, with its intervals and verdicts."""
    grouped = by_mode(runs)
    reference = reference_of(list(grouped))
    measured = intervals(runs, reference)
    return ComparisonDocument(
        reference=reference,
        rounds=max(len(group) for group in grouped.values()),
        runs=list(runs),
        verdicts=compare(runs, reference, measured),
        intervals=measured,
        skipped=list(skipped),
        environment=environment or {},
        command=command,
    )


def compare(runs: Sequence[RunDocument], reference: str, measured: Sequence[Interval] = ()) -> list[Verdict]:
    """Return one sentence per mode, in the order in which the modes were run first."""
    measured_of = summaries(runs)
    within_noise = {
        entry.mode: entry.difference.within_noise
        for entry in measured
        if entry.figure == "response_s.p50" and entry.difference
    }
    verdicts: list[Verdict] = []
    explain = True
    told: set[str | None] = set()
    for mode, summary in measured_of.items():
        clauses: list[str] = []
        if mode != reference and reference in measured_of:
            clauses = list(_against(summary, measured_of[reference], reference, within_noise.get(mode)))
        if summary.error and summary.error in told:
            summary.error = THE_SAME
        else:
            told.add(summary.error)
        verdicts.append(Verdict(mode=mode, text=_text(summary, clauses, explain=explain), short=_short(summary)))
        if summary.waited is not None and not _failure(summary) and (summary.answered or summary.is_partial):
            explain = False  # this sentence has said who the bystander is
    return verdicts


def _text(mode: ModeSummary, more: Iterable[str], endpoint: str = "", *, explain: bool = True) -> str:
    stopped = "" if mode.cut_short is None else _stopped(mode.cut_short)
    return " ".join(filter(None, [stopped, *_sentences(mode, more, endpoint, explain)]))


def _sentences(mode: ModeSummary, more: Iterable[str], endpoint: str, explain: bool) -> Iterator[str]:
    if failure := _failure(mode):
        silent = not mode.answered and not mode.refused
        yield failure if silent or endpoint else f"{failure} So nothing can be said of waiting."
        yield endpoint
        return
    if troubles := "; ".join(_troubles(mode)):
        yield troubles[0].upper() + troubles[1:] + "."
    yield endpoint
    bystander = () if endpoint else _bystander(mode, explain)
    if not mode.answered:
        if not mode.is_partial:
            yield "No request was reported, so nothing can be said."
        clauses = [*bystander] if mode.is_partial else []
    else:
        if mode.is_clients:  # then how it compares with others would compare clients
            more = ()
        clauses = [_who_waited(mode), *_clients_part(mode), *more, *_at_once(mode), *bystander]
    if clauses:
        text = "; ".join(clauses)
        yield text[0].upper() + text[1:] + "."


def _failure(mode: ModeSummary) -> str:
    """Return the sentence that says that nothing went well; empty where something did."""
    error = f": {shortened(mode.error, LONGEST_ERROR)}" if mode.error else ""
    if mode.errors and mode.errors.total() == mode.requests:
        if not mode.answered and not mode.refused:
            whole = " to its end" if mode.going_on else ""
            errors = _errors(mode.errors) + _going_on(mode)
            return f"None of {format_count(mode.requests, 'request')} was answered{whole} ({errors})."
        every = "The request" if mode.requests == 1 else f"All {mode.requests:,} requests"
        kinds = shortened(next(iter(mode.errors)), LONGEST_ERROR) if len(mode.errors) == 1 else _errors(mode.errors)
        return f"{every} failed ({kinds}){error}{'' if mode.placement.is_app else _refused(mode)}{_going_on(mode)}."
    if mode.tasks["failed"] and mode.tasks["failed"] == mode.tasks["accepted"] and not mode.placement.is_app:
        every = "The task" if mode.tasks["failed"] == 1 else f"All {mode.tasks['failed']:,} tasks"
        return f"{every} failed{error}."
    return ""


def _stopped(run: RunDocument) -> str:
    requests = run.summary.requests
    waiting = requests.errors.get("Cancelled", 0)
    answered = sum(times.count for times in (run.summary.response_s, run.summary.failed_s) if times)
    calls = [moment for call in run.bystander for moment in (call.sent_s, call.done_s) if moment is not None]
    after = max([run.summary.wall_s, *calls])
    of = "" if run.count is None else f" of {run.count:,}"
    words = [f"{answered:,}{of} {'was' if answered == 1 else 'were'} answered"]
    if unanswered := requests.ok + requests.failed - answered - waiting:
        words.append(f"{unanswered:,} failed without an answer")
    if waiting:
        words.append(f"{waiting:,} {'was' if waiting == 1 else 'were'} still waiting when you stopped")
    if run.not_sent:
        words.append(f"{run.not_sent:,} not sent")
    which = f"Round {run.round} was interrupted" if run.round > 1 else "Interrupted"
    return f"{which} after {format_seconds(after)}; {', '.join(words)}."


def _clients_part(mode: ModeSummary) -> Iterator[str]:
    share = mode.clients_share
    if share > TRUSTED_SHARE:
        overhead, median = format_seconds(mode.overhead or 0.0), format_seconds(mode.median or 0.0)
        if share >= 1:
            yield "a server that does nothing is no quicker here, so that median says nothing of the server"
            return
        these = f"these {median}" if mode.answered == 1 else "that median"
        own = f"a server that does nothing answers this client in {overhead}, {format_share(share)} of {these}"
        yield f"{own}, so take it as the client's figure rather than the server's" if share >= MOSTLY else own
    elif mode.doubted and mode.busy:
        yield "the client was busy all the time, so it set the pace rather than the server"


def _answered(mode: ModeSummary) -> str:
    median, slowest = format_seconds(mode.median or 0.0), format_seconds(mode.slowest or 0.0)
    return f"answered in {slowest if mode.answered == 1 else f'{median} (median; slowest {slowest})'}"


def _who_waited(mode: ModeSummary) -> str:
    one, answered = mode.answered == 1, _answered(mode)
    after = mode.tasks["waited_for_work"]  # callers who waited for their own work; the others did not
    before = mode.tasks["answered_before_end"] + mode.tasks["answered_after_end"] - after
    # What an application does after its answer is told of its endpoint.
    if mode.placement.is_app or (not before and not after):
        return answered
    if mode.work is not None and mode.work < TELLING_S:
        return answered + _afterwards(mode, one) if before else answered
    if after:
        return _own_work(mode, one)
    if mode.tasks["held_up"]:
        return (
            f"{answered}: {mode.tasks['held_up']:,} of {before:,} callers had to wait for the work of others"
            + _afterwards(mode, one)
        )
    return answered + _afterwards(mode, one)


def _own_work(mode: ModeSummary, one: bool) -> str:
    median, slowest = format_seconds(mode.median or 0.0), format_seconds(mode.slowest or 0.0)
    if mode.work is None or mode.longest_work is None:
        return f"the slowest caller waited {slowest}, until the work had ended"
    work = format_seconds(mode.work)
    if one:
        return f"the caller waited {slowest}, for {work} of work"
    if _is_queue(mode):
        return f"callers queued: they waited {median} (median; the last {slowest}), each for {work} of work"
    return f"each caller waited for its own work of {work} and for little else: {_answered(mode)}"


def _is_queue(mode: ModeSummary) -> bool:
    return mode.slowest is not None and mode.slowest > QUEUED * (mode.longest_work or mode.slowest)


def _afterwards(mode: ModeSummary, one: bool) -> str:
    if one and mode.completed is not None and mode.slowest is not None:
        later = mode.completed - mode.slowest
        return f"; the task ended {format_seconds(later)} later" if later > 0 else "; the task had ended by then"
    return "" if mode.last_ended is None else f"; the last task ended {format_seconds(mode.last_ended)} after the start"


def _against(mode: ModeSummary, reference: ModeSummary, name: str, within_noise: bool | None) -> Iterator[str]:
    if not mode.median or not reference.median or reference.is_clients or _failure(reference):
        return
    if mode.is_partial or reference.is_partial:
        return
    factor = reference.median / mode.median
    answers = min(mode.answered, reference.answered)
    few = f" (as far as {format_count(answers, 'answer')} can tell)" if answers < FEW else ""
    if within_noise:
        yield f"the difference to the responses of {name} is within noise{few}"
    elif within_noise is None and 1 / CLEAR_FACTOR < factor < CLEAR_FACTOR:
        yield f"callers were answered about as soon as with {name}{few}"
    elif factor >= AT_ONCE and mode.median < HELD_UP_S:
        yield f"callers were answered at once, and with {name} after {format_seconds(reference.median)}{few}"
    elif factor >= 1:
        yield f"callers were answered {_times(factor)} sooner than with {name}{few}"
    else:
        yield f"callers were answered {_times(1 / factor)} later than with {name}{few}"


def _times(factor: float) -> str:
    if factor < CLEAR_FACTOR:
        return format_share(factor - 1)
    shown = f"{factor:,.0f}" if factor >= 9.5 else f"{factor:.1f}"
    return f"{shown} times"


def _at_once(mode: ModeSummary) -> Iterator[str]:
    most, tasks, placement = mode.tasks["max_parallel"], mode.tasks_in_a_run, mode.placement
    if _is_stretched(mode):
        took = f"work of {format_seconds(mode.asked_work or 0.0)} took {format_seconds(mode.work or 0.0)}"
        why = f", because {most:,} threads shared one interpreter with the server"
        yield took + (why if _shares_interpreter(mode) else "")
    if tasks < 2 or most < 1 or placement.is_app:
        return
    if most == 1:
        waited = mode.waited or 0.0
        stuck = placement.on_loop and not mode.one_by_one and waited >= max((mode.work or 0.0) / 2, HELD_UP_S)
        yield "the work ran one at a time" + (": it never awaits, so it blocks the event loop" if stuck else "")
    elif mode.all_at_once:
        yield f"all {tasks:,} ran at once"
    elif mode.is_bounded and not placement.in_threads:
        yield bounded(mode)
    else:
        yield f"at most {most:,} ran at once"


def bounded(mode: ModeSummary, *, brief: bool = False) -> str:
    """Return that it was the number of places, and not the mode, that made the last task late."""
    places = f"{mode.slots:,} at a time"
    helps = not mode.computes and mode.tasks_in_a_run <= LARGEST_POOL
    more = f"--processes {mode.tasks_in_a_run} runs all at once" if helps else ""
    if brief:
        return places + (f" ({more})" if more else "")
    per_cpu = ", one per CPU" if mode.slots == mode.placement.cpus else ""
    return places + per_cpu + (f"; {more}" if more else "")


def _short(mode: ModeSummary) -> str:
    """Return the same in a line: what went wrong, who waited for what, and how long others did."""
    if failure := _failure(mode):
        return failure.partition(". So nothing")[0].rstrip(".")
    return "; ".join([*_troubles(mode, brief=True), *_short_clauses(mode)]) or "no request was reported"


def _short_clauses(mode: ModeSummary) -> Iterator[str]:
    if mode.answered:
        if mode.tasks["waited_for_work"]:
            yield "callers waited in line" if _is_queue(mode) else "each caller waited for its own work"
        elif mode.tasks["held_up"]:
            yield "callers waited for the work of others"
        elif not mode.tasks["answered_before_end"]:
            yield _answered(mode)
        elif mode.is_bounded and not mode.placement.in_threads:
            yield f"answered first; {bounded(mode, brief=True)}"
        else:
            yield "answered first, then worked on"
    if mode.waited is not None and not mode.is_answered:
        yield f"others waited at least {format_seconds(mode.waited)}"
    elif mode.waited is not None and mode.waited >= HELD_UP_S:
        yield "others were held up"


def _troubles(mode: ModeSummary, *, brief: bool = False) -> Iterator[str]:
    if mode.errors:
        failed = f"{mode.errors.total():,} of {format_count(mode.requests, 'request')} failed"
        yield failed if brief else f"{failed} ({_errors(mode.errors)}{_refused(mode)}{_going_on(mode)})"
    tasks = mode.tasks["accepted"]
    error = f" ({shortened(mode.error, LONGEST_ERROR)})" if mode.error and not brief else ""
    loss = f" ({shortened(mode.loss, LONGEST_ERROR)})" if mode.loss and not brief else ""
    ends = [
        f"the task {words}" if tasks == 1 else f"{mode.tasks[name]:,} {words}"
        for name, words in (
            ("failed", f"failed{error}"),
            ("cancelled", "was cancelled" if tasks == 1 else "cancelled"),
            ("lost", f"was lost{loss}" if tasks == 1 else f"lost{loss}"),
            ("unfinished", "had not ended when we stopped looking"),
        )
        if mode.tasks[name] and not (name == "unfinished" and mode.is_partial)
    ]
    if ends:
        yield ends[0] if tasks == 1 else f"of {format_count(tasks, 'task')} {', '.join(ends)}"
    if mode.tasks["begun"] > tasks:
        yield f"the work of {format_count(tasks, 'task')} was begun {mode.tasks['begun']:,} times"
    if mode.is_partial and mode.tasks["unfinished"]:
        yield f"no word had come of the end of {format_count(mode.tasks['unfinished'], 'task')}"


def _bystander(mode: ModeSummary, explain: bool) -> Iterator[str]:
    who = f"{BYSTANDER} (GET /ping)" if explain else BYSTANDER
    waited = mode.waited
    if waited is None:
        return
    shown = format_seconds(waited)
    if not mode.bystanders_answered:
        yield f"{who} waited {shown} and got no answer at all"
        return
    is_close = HELD_UP_S / CLOSE < waited < CLOSE * HELD_UP_S
    close = f" (close to the limit of {format_seconds(HELD_UP_S)})" if is_close else ""
    if not mode.is_answered:
        shown = f"at least {shown}"
    if waited >= HELD_UP_S:
        yield f"{who} were held up for {shown}{close}{_why_held_up(mode)}"
    else:
        yield f"{who} waited {'at most ' if mode.is_answered else ''}{shown}{close}"


def _why_held_up(mode: ModeSummary) -> str:
    if not mode.placement.in_threads or _shares_interpreter(mode) or not mode.placement.computes:
        return ""
    if mode.placement.lets_go:
        return ""
    return ", because the work computes in threads, which share one interpreter with the server"


def _is_stretched(mode: ModeSummary) -> bool:
    return bool(mode.work and mode.asked_work and mode.work > STRETCHED * mode.asked_work)


def _shares_interpreter(mode: ModeSummary) -> bool:
    return (
        _is_stretched(mode) and mode.placement.computes and mode.placement.in_threads and mode.tasks["max_parallel"] > 1
    )


def _refused(mode: ModeSummary) -> str:
    """Return how soon the answers with an error came: they are in no other figure."""
    if mode.refused_median is None:
        return ""
    took = format_seconds(mode.refused_median)
    return f"; that answer took {took}" if mode.refused == 1 else f"; half of these answers took {took} or less"


def _going_on(mode: ModeSummary) -> str:
    """Return how many answers had begun, and when; of the user's own application that is told of its endpoint."""
    if not mode.going_on or mode.placement.is_app:
        return ""
    were = "1 answer was" if mode.going_on == 1 else f"{mode.going_on:,} answers were"
    begun = "" if mode.first_byte is None else f", begun within {format_seconds(mode.first_byte)}"
    return f"; {were} still going on, as those of a stream do{begun}"


def _errors(errors: Counter[str]) -> str:
    kinds = [f"{count:,} {shortened(kind, LONGEST_ERROR)}" for kind, count in errors.most_common(3)]
    others = errors.total() - sum(count for _, count in errors.most_common(3))
    return ", ".join(kinds + ([f"{others:,} of other kinds"] if others else [])) or "no error was reported"
