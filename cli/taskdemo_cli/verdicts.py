"""What the figures of a run say, in one sentence a mode: who waited, who was held up, how much ran at once.

Every clause is chosen by measured figures alone; no name of a mode decides anything, so a mode that promises not to
block and does is described as blocking. Over several rounds a typical time is the mean of what each round gives, as
the intervals of --rounds have it; a slowest, longest or last one is that of all rounds, so that "at most" is true of
each; counts are sums.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any, Final

from taskdemo_cli.documents import (
    ComparisonDocument,
    Difference,
    Interval,
    RunDocument,
    Skipped,
    Statistics,
    Verdict,
)
from taskdemo_cli.results import BUSY_SHARE, TRUSTED_SHARE
from taskdemo_cli.statistics import interval, supported
from taskdemo_cli.units import format_count, format_seconds, format_share
from taskdemo_server.events import VERSION
from taskdemo_server.visible import shortened

QUEUED: Final = 1.5
"""Callers queued if the slowest waited so many times the longest work."""
BYSTANDER: Final = "a bystander"
HELD_UP_S: Final = 0.1
"""A bystander that waited for less was not held up, however short the work is."""
CLEAR_FACTOR: Final = 1.5
"""One round tells a difference only from this factor on."""
STRETCHED: Final = 1.5
"""Work that takes so many times what it was asked to has had to share something: a CPU, or Python's lock."""
CLOSE: Final = 2.0
"""A wait within this factor of a limit could be on its other side next time."""
TELLING_S: Final = 0.01
"""Where the work takes less, it explains no waiting."""
MOSTLY: Final = 0.5
"""From this share on a time is called the client's figure rather than the server's."""
LOOKED_AT: Final = 1000
"""So many tasks of a run are enough to see where the work ran."""
LONGEST_ERROR: Final = 100
THE_SAME: Final = "the same error"
"""For an error that was given in full for a mode before."""
FEW: Final = 5
"""With fewer answers a comparison says how many there were."""
FIGURES: Final = (
    "response_s.p50",
    "response_s.p95",
    "response_s.max",
    "completion_s.p50",
    "bystander_s.max",
    "requests_per_s",
)
"""What gets an interval over the rounds."""
SHARE_OF: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was measured of one mode, over its rounds; one that the user cut short counts where there is no other.

    Seconds; None where not measured.
    """

    requests: int
    answered: int
    errors: Counter[str]
    """Without the requests that were given up because the user stopped."""
    median: float | None
    slowest: float | None
    work: float | None
    asked_work: float | None
    """How long the work was asked to take; a user's own function is not asked."""
    longest_work: float | None
    tasks: Counter[str]
    last_ended: float | None
    completed: float | None
    """The longest time from sent to the end of the task."""
    tasks_in_a_run: int
    all_at_once: bool
    """Whether in every round all tasks ran at the same moment."""
    ran: "_Places"
    error: str | None
    """What the first task that failed said."""
    waited: float | None
    """The longest that a bystander waited, answered or not."""
    is_answered: bool
    """Whether that one was answered; otherwise it waited at least so long."""
    bystanders_answered: int
    overhead: float | None
    doubted: bool
    busy: bool
    is_partial: bool
    """Whether there is no round that the user let come to its end."""
    stopped: str
    """The sentence that says when the user stopped, and what was under way; empty where nobody did."""

    @classmethod
    def of(cls, all_runs: Sequence[RunDocument]) -> "_Seen":
        runs = [run for run in all_runs if not run["interrupted"]] or all_runs
        summaries = [run["summary"] for run in runs]
        tasks: Counter[str] = Counter()
        for counts in (summary["tasks"] for summary in summaries):
            tasks.update({name: value for name, value in counts.items() if isinstance(value, int)})
        tasks["max_parallel"] = max(summary["tasks"]["max_parallel"] for summary in summaries)
        errors = sum((_failures(run) for run in runs), Counter[str]())
        waits = list(_waits(runs))
        waited, is_answered = max(waits, default=(None, True))
        return cls(
            requests=sum(s["requests"]["ok"] for s in summaries) + errors.total(),
            answered=sum(s["response_s"]["count"] for s in summaries if s["response_s"]),
            errors=errors,
            median=_mean(_value(s["response_s"], "p50") for s in summaries),
            slowest=_most(_value(s["response_s"], "max") for s in summaries),
            work=_mean(_value(s["work_s"], "p50") for s in summaries),
            asked_work=_most(run["duration_s"] for run in runs if run["work"] in {"sleep", "cpu"}),
            longest_work=_most(_value(s["work_s"], "max") for s in summaries),
            tasks=tasks,
            last_ended=_most(s["tasks"]["last_ended_s"] for s in summaries),
            completed=_most(_value(s["completion_s"], "max") for s in summaries),
            tasks_in_a_run=max(s["tasks"]["accepted"] for s in summaries),
            all_at_once=all(s["tasks"]["max_parallel"] == s["tasks"]["accepted"] for s in summaries),
            ran=_Places.of(runs[0]),
            error=_first_error(runs) if tasks["failed"] else None,
            waited=waited,
            is_answered=is_answered,
            bystanders_answered=sum(answered for _, answered in waits),
            overhead=_most(s["client"]["overhead_s"] for s in summaries),
            doubted=any(s["client"]["trusted"] is False for s in summaries),
            busy=any((s["client"]["cpu_share"] or 0.0) >= BUSY_SHARE for s in summaries),
            is_partial=any(run["interrupted"] for run in runs),
            stopped=next((_stopped(run) for run in all_runs if run["interrupted"]), ""),
        )

    @property
    def clients_share(self) -> float:
        """The client's own share of the median response, where that is doubted."""
        return self.overhead / self.median if self.doubted and self.overhead and self.median else 0.0

    @property
    def is_clients(self) -> bool:
        """Whether how long an answer took says more of the client than of the server."""
        return self.clients_share >= MOSTLY or (self.doubted and self.busy)

    @property
    def failure(self) -> str:
        """The sentence that says that nothing went well; empty where something did."""
        error = f": {shortened(self.error, LONGEST_ERROR)}" if self.error else ""
        if self.errors and self.errors.total() == self.requests:
            if not self.answered:
                return f"None of {format_count(self.requests, 'request')} was answered ({_errors(self.errors)})."
            every = "The request" if self.requests == 1 else f"All {self.requests:,} requests"
            kinds = shortened(next(iter(self.errors)), 40) if len(self.errors) == 1 else _errors(self.errors)
            return f"{every} failed ({kinds}){error}. So nothing can be said of waiting."
        if self.tasks["failed"] and self.tasks["failed"] == self.tasks["accepted"]:
            every = "The task" if self.tasks["failed"] == 1 else f"All {self.tasks['failed']:,} tasks"
            return f"{every} failed{error}. So nothing can be said of waiting."
        return ""


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the work of a run ran, by what its tasks say: all on the event loop, all in threads, or in processes."""

    on_loop: bool = False
    in_threads: bool = False
    processes: int = 0
    """How many other processes; 0 where it ran in the server's."""
    cpus: int | None = None
    computes: bool = False
    """Whether the work is known to compute, and not to wait."""
    is_app: bool = False
    """Whether the tasks are requests to the user's own application, of whose work no more is known."""
    is_own: bool = False
    """Whether it is the user's own function, of which that is not known."""

    @classmethod
    def of(cls, run: RunDocument) -> "_Places":
        if "app" in run:
            return cls(is_app=True)
        wheres = [where for task in islice(run["tasks"], LOOKED_AT) if (where := task["where"])]
        on_loop = bool(wheres) and all(where.endswith(" event loop") for where in wheres)
        in_threads = bool(wheres) and all("worker thread" in where for where in wheres)
        pids = {found[0] for where in wheres if (found := re.match(r"\S+ pid \d+", where))}
        cpus = run["environment"].get("cpus")
        return cls(
            on_loop=on_loop,
            in_threads=in_threads,
            processes=0 if on_loop or in_threads else len(pids),
            cpus=cpus if isinstance(cpus, int) else None,
            computes=run["work"] == "cpu",
            is_own=run["work"] not in {None, "sleep", "cpu"},
        )


def _failures(run: RunDocument) -> Counter[str]:
    """Return the errors of the requests that failed: one that was given up because the user stopped did not."""
    failures = Counter(run["summary"]["requests"]["errors"])
    if run["interrupted"]:
        del failures["Cancelled"]
    return failures


def _waits(runs: Iterable[RunDocument]) -> Iterator[tuple[float, bool]]:
    """Yield how long each bystander waited and whether it was answered, as far as one knows how long it waited."""
    for run in runs:
        for call in run["bystander"]:
            if call["response_s"] is not None:
                yield call["response_s"], True
            elif call["sent_s"] is not None and call["done_s"] is not None:
                yield call["done_s"] - call["sent_s"], False


def longest_wait(runs: Iterable[RunDocument]) -> float | None:
    """Return the longest that a bystander waited in these runs, answered or not; None where none called."""
    return max((waited for waited, _ in _waits(runs)), default=None)


def _first_error(runs: Iterable[RunDocument]) -> str | None:
    return next((task["error"] for run in runs for task in run["tasks"] if task["state"] == "failed"), None)


def _stopped(run: RunDocument) -> str:
    requests = run["summary"]["requests"]
    waiting = requests["errors"].get("Cancelled", 0)
    answered = requests["ok"] + requests["failed"] - waiting
    calls = [call["sent_s"] for call in run["bystander"] if call["sent_s"] is not None]
    after = max([run["summary"]["wall_s"], *calls])
    of = "" if run["count"] is None else f" of {run['count']:,}"
    words = [f"{answered:,}{of} {'was' if answered == 1 else 'were'} answered"]
    if waiting:
        words.append(f"{waiting:,} {'was' if waiting == 1 else 'were'} still waiting when you stopped")
    if run["not_sent"]:
        words.append(f"{run['not_sent']:,} not sent")
    which = f"Round {run['round']} was interrupted" if run["round"] > 1 else "Interrupted"
    return f"{which} after {format_seconds(after)}; {', '.join(words)}."


def verdict(run: RunDocument, endpoint: str = "") -> str:
    """Return what was seen in this run, in a sentence or two.

    `endpoint` is what is said already of the user's own endpoint, and of how long the bystanders waited beside it.
    """
    return _text(_Seen.of([run]), [], endpoint)


def reference_of(modes: Sequence[str]) -> str:
    """Return the mode that the others are compared to: `blocking` if it was run, otherwise the first."""
    return "blocking" if "blocking" in modes else modes[0]


def comparison(
    runs: Sequence[RunDocument],
    *,
    reference: str | None = None,
    skipped: Sequence[Skipped] = (),
    environment: dict[str, Any] | None = None,
    command: str = "",
    seed: int = 0,
) -> ComparisonDocument:
    """Return the comparison of these runs, at least one, with its intervals and verdicts. `seed` is chance's."""
    grouped = by_mode(runs)
    chosen = reference or reference_of(list(grouped))
    measured = intervals(runs, chosen, seed)
    return {
        "taskdemo": VERSION,
        "kind": "comparison",
        "reference": chosen,
        "rounds": max(len(group) for group in grouped.values()),
        "runs": list(runs),
        "verdicts": compare(runs, chosen, measured),
        "intervals": measured,
        "skipped": list(skipped),
        "environment": environment or {},
        "command": command,
    }


def compare(runs: Sequence[RunDocument], reference: str, measured: Sequence[Interval] = ()) -> list[Verdict]:
    """Return one sentence a mode, in the order in which the modes were run first."""
    grouped = by_mode(runs)
    seen = {mode: _Seen.of(group) for mode, group in grouped.items()}
    verdicts: list[Verdict] = []
    explain = True
    told: set[str | None] = set()
    for mode, facts in seen.items():
        clauses: list[str] = []
        if mode != reference and reference in seen:
            noise = next(
                (
                    entry["difference"]["within_noise"]
                    for entry in measured
                    if entry["mode"] == mode and entry["figure"] == "response_s.p50" and entry["difference"]
                ),
                None,
            )
            clauses = list(_against(facts, seen[reference], reference, noise))
        if facts.error and facts.error in told:
            facts = replace(facts, error=THE_SAME)
        else:
            told.add(facts.error)
        text = _text(facts, clauses, explain=explain)
        explain = explain and BYSTANDER not in text
        verdicts.append({"mode": mode, "text": text})
    return verdicts


def intervals(runs: Sequence[RunDocument], reference: str, seed: int) -> list[Interval]:
    """Return every figure's interval over the rounds, and that of its difference to the reference in the same round.

    Empty unless some mode was run twice or more.
    """
    grouped = by_mode(runs)
    entries: list[Interval] = []
    for mode, group in grouped.items():
        for figure in FIGURES:
            values = _by_round(group, figure)
            if len(values) < 2:
                continue
            low, high = interval(list(values.values()), seed)
            low = max(low, 0.0)  # no figure of ours can be less than nothing; a difference can
            others = {} if mode == reference else _by_round(grouped.get(reference, []), figure)
            pairs = [values[number] - others[number] for number in values if number in others]
            entries.append(
                {
                    "mode": mode,
                    "figure": figure,
                    "rounds": len(values),
                    "mean": fmean(values.values()),
                    "low": low,
                    "high": high,
                    "difference": _difference(pairs, seed) if len(pairs) >= 2 else None,
                }
            )
    return entries


def by_mode(runs: Iterable[RunDocument]) -> dict[str, list[RunDocument]]:
    """Return the runs of each mode; a server that is not taskdemo's goes by its URL."""
    grouped: dict[str, list[RunDocument]] = {}
    for run in runs:
        grouped.setdefault(run["mode"] or run["url"], []).append(run)
    return grouped


def figure_of(run: RunDocument, figure: str) -> float | None:
    """Return one figure of the summary by its path; None where it was not measured or too little of it.

    A percentile that the count does not support is too little.
    """
    name, _, statistic = figure.partition(".")
    summary: dict[str, Any] = {**run["summary"]}
    value = summary[name]
    if not statistic or value is None:
        return value  # type: ignore[no-any-return]  # a number: the caller names a figure of the summary
    if statistic in SHARE_OF and not supported(SHARE_OF[statistic], value["count"]):
        return None
    return float(value[statistic])


def _by_round(group: Sequence[RunDocument], figure: str) -> dict[int, float]:
    found = ((run["round"], figure_of(run, figure)) for run in group if not run["interrupted"])
    return {number: value for number, value in found if value is not None}


def _difference(pairs: Sequence[float], seed: int) -> Difference:
    low, high = interval(pairs, seed)
    return {"mean": fmean(pairs), "low": low, "high": high, "within_noise": low <= 0 <= high}


def _text(seen: _Seen, more: Iterable[str], endpoint: str = "", *, explain: bool = True) -> str:
    return " ".join(filter(None, [seen.stopped, *_sentences(seen, more, endpoint, explain)]))


def _sentences(seen: _Seen, more: Iterable[str], endpoint: str, explain: bool) -> Iterator[str]:
    if seen.failure:
        yield seen.failure
        return
    yield endpoint
    bystander = () if endpoint else _bystander(seen, explain)
    if not seen.answered:
        if not seen.is_partial:
            yield "No request was reported, so nothing can be said."
        clauses = [*bystander] if seen.is_partial else []
    else:
        if seen.is_clients:  # then how it compares with others would compare clients
            more = ()
        clauses = [_who_waited(seen), *_clients_part(seen), *more, *_at_once(seen), *_troubles(seen), *bystander]
    if clauses:
        text = "; ".join(clauses)
        yield text[0].upper() + text[1:] + "."


def _clients_part(seen: _Seen) -> Iterator[str]:
    share = seen.clients_share
    if share > TRUSTED_SHARE:
        assert seen.overhead is not None  # noqa: S101  # it has a share
        assert seen.median is not None  # noqa: S101  # it has a share
        if share >= 1:
            yield "the client's own time could account for all of that median, so it says nothing of the server"
            return
        these = f"these {format_seconds(seen.median)}" if seen.answered == 1 else "that median"
        own = f"{format_seconds(seen.overhead)} of {these} ({format_share(share)}) are the client's own time"
        yield f"{own}, so take it as the client's figure rather than the server's" if share >= MOSTLY else own
    elif seen.doubted and seen.busy:
        yield "the client was busy all the time, so it set the pace rather than the server"


def _answered(seen: _Seen) -> str:
    assert seen.median is not None  # noqa: S101  # there were answers
    assert seen.slowest is not None  # noqa: S101  # there were answers
    if seen.answered == 1:
        return f"answered in {format_seconds(seen.slowest)}"
    return f"answered in {format_seconds(seen.median)} (median; slowest {format_seconds(seen.slowest)})"


def _who_waited(seen: _Seen) -> str:
    one, answered = seen.answered == 1, _answered(seen)
    before, after = seen.tasks["answered_before_end"], seen.tasks["answered_after_end"]
    if not before and not after:
        return answered
    if seen.work is not None and seen.work < TELLING_S:
        return answered + _afterwards(seen, one) if before else answered
    if before and after:
        return f"{after:,} of {before + after:,} callers waited for their work to end, {before:,} did not: {answered}"
    if after:
        return _own_work(seen, one)
    if seen.tasks["held_up"]:
        return (
            f"{answered}: {seen.tasks['held_up']:,} of {before:,} callers had to wait for the work of others"
            + _afterwards(seen, one)
        )
    return answered + _afterwards(seen, one)


def _own_work(seen: _Seen, one: bool) -> str:
    assert seen.slowest is not None  # noqa: S101  # there were answers
    assert seen.median is not None  # noqa: S101  # there were answers
    if seen.work is None or seen.longest_work is None:
        return f"the slowest caller waited {format_seconds(seen.slowest)}, until the work had ended"
    work = format_seconds(seen.work)
    if seen.ran.is_app and (one or seen.slowest <= QUEUED * seen.longest_work):
        # The call includes whatever the application itself had to wait for, a worker thread among it.
        return _answered(seen)
    if one:
        return f"the caller waited {format_seconds(seen.slowest)}, for {work} of work"
    if seen.slowest > QUEUED * seen.longest_work:
        return (
            f"callers queued: they waited {format_seconds(seen.median)} (median; the last "
            f"{format_seconds(seen.slowest)}), each for {work} of work"
        )
    return f"each caller waited for its own work of {work} and for little else: {_answered(seen)}"


def _afterwards(seen: _Seen, one: bool) -> str:
    if one and seen.completed is not None and seen.slowest is not None:
        later = seen.completed - seen.slowest
        return f"; the task ended {format_seconds(later)} later" if later > 0 else "; the task had ended by then"
    return "" if seen.last_ended is None else f"; the last task ended {format_seconds(seen.last_ended)} after the start"


def _against(seen: _Seen, reference: _Seen, name: str, within_noise: bool | None) -> Iterator[str]:
    if not seen.median or not reference.median or reference.is_clients or reference.failure:
        return
    if seen.is_partial or reference.is_partial:
        return
    factor = reference.median / seen.median
    answers = min(seen.answered, reference.answered)
    few = f" (as far as {format_count(answers, 'answer')} can tell)" if answers < FEW else ""
    if within_noise:
        yield f"the difference to the responses of {name} is within noise{few}"
    elif within_noise is None and 1 / CLEAR_FACTOR < factor < CLEAR_FACTOR:
        yield f"callers were answered about as soon as with {name}{few}"
    elif factor >= 1:
        yield f"callers were answered {_times(factor)} sooner than with {name}{few}"
    else:
        yield f"callers were answered {_times(1 / factor)} later than with {name}{few}"


def _times(factor: float) -> str:
    if factor < CLEAR_FACTOR:
        return format_share(factor - 1)
    shown = f"{factor:,.0f}" if factor >= 9.5 else f"{factor:.1f}"
    return f"{shown} times"


def _at_once(seen: _Seen) -> Iterator[str]:
    most, tasks, ran = seen.tasks["max_parallel"], seen.tasks_in_a_run, seen.ran
    if _is_stretched(seen):
        took = f"work of {format_seconds(seen.asked_work or 0.0)} took {format_seconds(seen.work or 0.0)}"
        why = f", because {most:,} threads shared one interpreter with the server"
        yield took + (why if _shares_interpreter(seen) else "")
    if tasks < 2 or most < 1 or (ran.is_app and (most > 1 or (seen.work or 0.0) < TELLING_S)):
        return
    if most == 1:
        stuck = ran.on_loop and seen.waited is not None and seen.waited >= max((seen.work or 0.0) / 2, HELD_UP_S)
        yield "the work ran one at a time" + (": it never awaits, so it holds the event loop" if stuck else "")
    elif seen.all_at_once:
        yield f"all {tasks:,} ran at once"
    elif most == ran.processes:
        per_cpu = " (one per CPU)" if most == ran.cpus else ""
        yield f"at most {most:,} ran at once, one in each of its {most:,} processes{per_cpu}"
    else:
        yield f"at most {most:,} ran at once"


def _troubles(seen: _Seen) -> Iterator[str]:
    if seen.errors:
        yield f"{seen.errors.total():,} of {format_count(seen.requests, 'request')} failed ({_errors(seen.errors)})"
    tasks = seen.tasks["accepted"]
    error = f" ({shortened(seen.error, LONGEST_ERROR)})" if seen.error else ""
    ends = [
        f"the task {words}" if tasks == 1 else f"{seen.tasks[name]:,} {words}"
        for name, words in (
            ("failed", f"failed{error}"),
            ("cancelled", "was cancelled" if tasks == 1 else "cancelled"),
            ("lost", "was lost" if tasks == 1 else "lost"),
            ("unfinished", "had not ended when we stopped looking"),
        )
        if seen.tasks[name] and not (name == "unfinished" and seen.is_partial)
    ]
    if ends:
        yield ends[0] if tasks == 1 else f"of {format_count(tasks, 'task')} {', '.join(ends)}"
    if seen.is_partial and seen.tasks["unfinished"]:
        yield f"no word had come of the end of {format_count(seen.tasks['unfinished'], 'task')}"


def _bystander(seen: _Seen, explain: bool) -> Iterator[str]:
    who = f"{BYSTANDER} (GET /ping)" if explain else BYSTANDER
    waited = seen.waited
    if waited is None:
        return
    shown = format_seconds(waited)
    if not seen.bystanders_answered:
        yield f"{who} waited {shown} and got no answer at all"
        return
    is_close = HELD_UP_S / CLOSE < waited < CLOSE * HELD_UP_S
    close = f" (close to the limit of {format_seconds(HELD_UP_S)})" if is_close else ""
    if not seen.is_answered:
        shown = f"at least {shown}"
    if waited >= HELD_UP_S:
        yield f"{who} was held up for {shown}{close}{_why_held_up(seen)}"
    else:
        yield f"{who} waited {shown}{' at most' if seen.is_answered else ''}{close}"


def _why_held_up(seen: _Seen) -> str:
    if not seen.ran.in_threads or _shares_interpreter(seen) or not (seen.ran.computes or seen.ran.is_own):
        return ""
    probably = "" if seen.ran.computes else "probably "
    return f", {probably}because the work computes in threads, which share one interpreter with the server"


def _is_stretched(seen: _Seen) -> bool:
    return bool(seen.work and seen.asked_work and seen.work > STRETCHED * seen.asked_work)


def _shares_interpreter(seen: _Seen) -> bool:
    return _is_stretched(seen) and seen.ran.computes and seen.ran.in_threads and seen.tasks["max_parallel"] > 1


def _errors(errors: Counter[str]) -> str:
    kinds = [f"{count:,} {shortened(kind, 40)}" for kind, count in errors.most_common(3)]
    others = errors.total() - sum(count for _, count in errors.most_common(3))
    return ", ".join(kinds + ([f"{others:,} of other kinds"] if others else [])) or "no error was reported"


def _value(statistics: Statistics | None, name: str) -> float | None:
    return None if statistics is None else float(statistics[name])  # type: ignore[literal-required]  # p50 or max


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
