"""Canned documents for tests: made by the real fold, from samples and events that a clock never saw."""

import functools
import heapq
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import convert, to_builtins
from msgspec.structs import replace

from taskdemo_cli.analysis.capacity.step import read_step
from taskdemo_cli.analysis.capacity.subject import Subject
from taskdemo_cli.analysis.capacity.verdict import judge
from taskdemo_cli.analysis.verdicts import comparison
from taskdemo_cli.documents.blocking import Answer, Blocking, Place
from taskdemo_cli.documents.capacity import CapacityDocument, Confirmation
from taskdemo_cli.documents.codec import KINDS, AnyDocument, json_chunks
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.limits import LIMITS, Cell, LimitsDocument
from taskdemo_cli.documents.run import RunDocument, Skipped
from taskdemo_cli.documents.scan import EndpointRow, ScanDocument
from taskdemo_cli.loadgen.protocol import Batch, Done, Sample, Started
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.recording.summary import EMPTY, doubted
from taskdemo_server.contract.events import TaskEvent, TaskState
from taskdemo_server.contract.settings import Settings

T0 = 5000.0
"""The first planned send, on the canned monotonic clock."""
WORK_S = 0.1
SETTLE_S, STEP_S = 0.4, 3.0
"""The work, and the settling and measuring times, of the open loops below."""
UNIX = 1_760_000_000.0
ENVIRONMENT = {"python": "3.11.9", "platform": "Linux", "cpus": 2, "taskdemo": "0.1.0"}
HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]rich[/bold] <script>alert('x')</script> \u202egnp.exe & \ud800"


def sample(
    n: int,
    done: float,
    *,
    planned: float = 0.0,
    sent: float | None = None,
    status: int | None = 200,
    error: str | None = None,
    reason: str | None = None,
    task: str | None = None,
) -> Sample:
    """A sample whose times are offsets from T0; sent 0.1 ms after the plan unless said."""
    sent = planned + 0.0001 + n * 0.00002 if sent is None else sent
    return (
        n,
        T0 + planned,
        T0 + sent,
        None if status is None else T0 + max(done - 0.0002, sent),
        T0 + done,
        status,
        error,
        task,
        reason,
    )


def event(
    task: str,
    state: TaskState,
    at: float,
    *,
    mode: str = "background",
    where: str = "laptop pid 4711 worker thread 1",
    message: str | None = None,
    error: str | None = None,
    cpu_s: float | None = None,
) -> TaskEvent:
    """An event `at` seconds after T0."""
    host, _, rest = where.partition(" pid ")
    pid, _, thread = rest.partition(" ")
    return TaskEvent(task, state, UNIX + at, T0 + at, mode, host, int(pid or 0), thread, message, error, cpu_s=cpu_s)


HEARD: dict[str, tuple[float, float | None, TaskState, int, float | None, str | None]] = {
    # It ran twice: its first start and its last end, and how long its last execution took.
    "accepted 0 s, started 0.1 a, started 2 b, finished 3 b": (0.1, 3.0, "finished", 2, 1.0, None),
    "started 0.1 a, failed 0.5 a no, started 0.7 a": (0.1, None, "started", 2, None, None),
    # An end that others conclude does not overwrite one that came.
    "started 0 a, lost 1 s, finished 2 a": (0.0, 2.0, "finished", 1, 2.0, None),
    "started 0 a, cancelled 1 s, finished 2 a": (0.0, 2.0, "finished", 1, 2.0, None),
    "started 0 a, finished 1 b, lost 2 s it-died": (0.0, 1.0, "finished", 1, 1.0, None),
    "started 0 a, finished 1 a, cancelled 2 s": (0.0, 1.0, "finished", 1, 1.0, None),
    "started 0 a, failed 1 a 404, lost 2 s it-died": (0.0, 1.0, "failed", 1, None, "404"),
    "started 0 a, cancelled 1 s, lost 2 s it-died": (0.0, 1.0, "cancelled", 1, None, None),
    "started 0 a, lost 1 s given-up, cancelled 2 s": (0.0, None, "lost", 1, None, "given-up"),
    # It failed, and was retried.
    "started 0 a, failed 1 a no, started 2 b, finished 3 b": (0.0, 3.0, "finished", 2, 1.0, None),
    "started 0 a, lost 1 s killed, started 2 b": (0.0, None, "started", 2, None, None),
    # A worker on another machine had no answer to its report, and sent it again.
    "started 0 a, started 0 a, finished 1 a, finished 1 a": (0.0, 1.0, "finished", 1, 1.0, None),
    # It was begun again, of which no word came.
    "started 0 a, failed 1 a, finished 2 b": (0.0, 2.0, "finished", 1, None, None),
    "started 0 a, lost 1 s killed": (0.0, None, "lost", 1, None, "killed"),
}
"""What is heard of one task, each time with its moment, place and error; and what is made of it: the first start, the
end, the state, how often it was begun, how long the work took, and the error."""


def heard(text: str) -> list[TaskEvent]:
    """The events of a key of HEARD, all of task `t`."""
    events = []
    state: Any
    for each in text.split(", "):
        state, at, place, *error = each.split(" ")
        events.append(event("t", state, float(at), where=f"{place} pid 1 x", error=error[0] if error else None))
    return events


def events_of(
    task: str,
    accepted: float,
    started: float,
    ended: float,
    *,
    mode: str = "background",
    where: str = "laptop pid 4711 worker thread 1",
    state: TaskState = "finished",
    error: str | None = None,
    message: str = "Hello from the background",
    cpu_s: float | None = None,
) -> list[TaskEvent]:
    """The three events of a task that came to an end."""
    return [
        event(task, "accepted", accepted, mode=mode, where="laptop pid 4711", message=message),
        event(task, "started", started, mode=mode, where=where),
        event(task, state, ended, mode=mode, where=where, error=error, cpu_s=cpu_s),
    ]


def pings(until: float, held: Sequence[tuple[float, float]] = ()) -> list[Sample]:
    """A bystander's samples: 2 ms each, but a ping sent in one of the `held` spans is answered when that ends."""
    made = []
    for n in range(1, int(until / 0.1) + 2):
        sent = (n - 1) * 0.1
        end = next((stop for start, stop in held if start <= sent < stop), sent)
        made.append(sample(n, end + 0.002, planned=sent, sent=sent))
    return made


def recorder(
    samples: Iterable[Sample],
    events: Iterable[TaskEvent] = (),
    bystander: Iterable[Sample] = (),
    *,
    private: bool = True,
    not_sent: int = 0,
    count: int | None = None,
    rated: bool = False,
) -> Recorder:
    """A recorder that was told all this, in this order."""
    recorded = Recorder(private=private, count=count, rated=rated)
    recorded.load(Started(T0))
    for one in events:
        recorded.event(one)
    samples = list(samples)
    recorded.load(Batch(samples, [], len(samples)))
    recorded.bystander(Started(T0))
    recorded.bystander(Batch(list(bystander)))
    recorded.load(Done(wall=6.0, cpu_share=0.04, loop_lag_p99=0.0008, not_sent=not_sent))
    return recorded


def header(**fields: Any) -> RunDocument:
    """A run of which these fields are known, and nothing is recorded."""
    return RunDocument(summary=EMPTY, **fields)


def facts(mode: str, count: int, *, round_number: int = 1, duration: float = 1.0, **more: Any) -> RunDocument:
    """What is known of a run of `count` at once before it."""
    return replace(
        header(
            mode=mode,
            url="http://127.0.0.1:8000",
            work="sleep",
            duration_s=duration,
            count=count,
            concurrency=count,
            round=round_number,
            started_at="2026-01-02T03:04:05.678+00:00",
            command=f"taskdemo fire --mode {mode} --count {count}",
            environment=ENVIRONMENT,
        ),
        **more,
    )


def blocking_run(count: int = 5, *, round_number: int = 1, late: float = 0.0) -> RunDocument:
    """Every caller waits for all before it, and so does the bystander."""
    samples, events = [], []
    for n in range(1, count + 1):
        start = 0.002 + (n - 1) * (1.001 + late)
        end = start + 1.0 + late
        events += events_of(f"b{n}", start, start, end, mode="blocking", where="laptop pid 4711 event loop")
        samples.append(sample(n, end + 0.0015, task=f"b{n}"))
    over = count * (1.001 + late)
    recorded = recorder(samples, events, pings(over, [(0.0015, over + 0.003)]))
    return doubted(recorded.finish(facts("blocking", count, round_number=round_number)), 0.0004)


def background_run(count: int = 5, *, round_number: int = 1, late: float = 0.0) -> RunDocument:
    """Everybody is answered in milliseconds; the work ends a second later."""
    samples, events = [], []
    for n in range(1, count + 1):
        start = 0.003 + n * 0.0004
        where = f"laptop pid 4711 worker thread {n}"
        events += events_of(f"g{n}", start - 0.001, start, start + 1.0, where=where)
        samples.append(sample(n, start + 0.0008 + late, task=f"g{n}"))
    recorded = recorder(samples, events, pings(1.0))
    return doubted(recorded.finish(facts("background", count, round_number=round_number)), 0.0002)


def threadpool_run(count: int = 60, threads: int = 40, *, round_number: int = 1) -> RunDocument:
    """Each caller waits for its own work; with more callers than threads the rest wait twice as long."""
    samples, events = [], []
    for n in range(1, count + 1):
        start = 0.004 + n * 0.0002 + (n - 1) // threads * 1.0005
        where = f"laptop pid 4711 worker thread {(n - 1) % threads + 1}"
        events += events_of(f"t{n}", start, start, start + 1.0, mode="threadpool", where=where)
        samples.append(sample(n, start + 1.002, task=f"t{n}"))
    recorded = recorder(samples, events, pings(1.0 + (count - 1) // threads))
    return doubted(recorded.finish(facts("threadpool", count, round_number=round_number)), 0.001)


def failed_run() -> RunDocument:
    """Six requests: two are well, one task fails, one request is refused, one has an error, one task is lost."""
    events = [
        *events_of("f1", 0.002, 0.003, 1.003),
        *events_of("f2", 0.002, 0.003, 0.5, state="failed", error="ValueError: no such report"),
        *events_of("f3", 0.002, 0.003, 1.004),
        event("f6", "accepted", 0.003, message="Hello from the background"),
        event("f6", "started", 0.004),
    ]
    samples = [
        sample(1, 0.004, task="f1"),
        sample(2, 0.005, task="f2"),
        sample(3, 0.004, task="f3"),
        sample(4, 0.003, status=503),
        sample(5, 6.0, status=None, error="ReadTimeout"),
        sample(6, 0.006, task="f6"),
    ]
    because = "the background server ended (SIGKILL) during the run"
    recorded = recorder(samples, events, pings(1.0))
    return recorded.finish(facts("background", 6), server_gone=True, ended_because=because)


def interrupted_run() -> RunDocument:
    """Ctrl-C after one of three blocking requests; two were cancelled by us, their tasks are unfinished."""
    events = [
        *events_of("i1", 0.002, 0.002, 1.002, mode="blocking", where="laptop pid 4711 event loop"),
        event("i2", "accepted", 1.003, mode="blocking", where="laptop pid 4711", message="Hello from the background"),
        event("i2", "started", 1.003, mode="blocking", where="laptop pid 4711 event loop"),
    ]
    samples = [
        sample(1, 1.004, task="i1"),
        sample(2, 6.0, status=None, error="Cancelled"),
        sample(3, 6.0, status=None, error="Cancelled"),
    ]
    recorded = recorder(samples, events, not_sent=2)
    return recorded.finish(facts("blocking", 5, concurrency=3), interrupted=True)


def hostile_run() -> RunDocument:
    """Every text that comes from outside tries to be more than text."""
    events = events_of(
        HOSTILE, 0.002, 0.003, 1.003, where=HOSTILE, state="failed", error=HOSTILE + "x" * 5000, message=HOSTILE
    )
    samples = [sample(1, 0.004, task=HOSTILE), sample(2, 0.004, status=None, error=HOSTILE)]
    hostile = facts("background", 2, message=HOSTILE, url=f"http://x/{HOSTILE}", command=HOSTILE, work=HOSTILE)
    return recorder(samples, events).finish(hostile, ended_because=HOSTILE)


def rate_run() -> RunDocument:
    """An open loop at a server that stalls for the second second; no tasks, because it is not taskdemo's."""
    samples, rate = [], 50.0
    for n in range(1, 501):
        planned = (n - 1) / rate
        sent = max(planned, 2.0) if 1.5 <= planned < 2.0 else planned
        begun = max(sent, 2.0) if 1.0 <= planned < 2.0 else sent
        samples.append(sample(n, begun + 0.004 + (n % 7) * 0.0003, planned=planned, sent=sent))
    recorded = recorder(samples, bystander=pings(10.0, [(1.0, 2.0)]), private=False, rated=True)
    unknown: dict[str, Any] = dict.fromkeys(("mode", "work", "duration_s", "count", "concurrency"))
    return recorded.finish(replace(facts("background", 1), **unknown, for_s=10.0, rate=rate))


def comparison_document(rounds: int = 1) -> ComparisonDocument:
    """Blocking, threadpool and background, five callers each, and a mode that was skipped."""
    runs = []
    for number in range(1, rounds + 1):
        late = (number * 7 % 5) * 0.001
        runs += [
            blocking_run(round_number=number, late=late),
            threadpool_run(5, round_number=number),
            background_run(round_number=number, late=late / 2),
        ]
    return comparison(
        runs,
        skipped=[Skipped(mode="celery", why="celery is not installed; pip install 'taskdemo[celery]'")],
        environment=ENVIRONMENT,
        command=f"taskdemo compare --count 5 --rounds {rounds}",
    )


def limits_document() -> LimitsDocument:
    """Two modes and all limits, with invented but plausible figures."""
    return LimitsDocument(
        modes={
            "background": {
                name: Cell(
                    verdict="no",
                    measured={"figure": "0 of 3", "runs": 1},
                    text=f"BackgroundTasks cannot {name}: 0 of 3.",
                )
                for name in LIMITS
            },
            "celery": {
                name: Cell(
                    verdict="partly" if name == "orchestrate" else "yes",
                    measured={"figure": "3 of 3", "runs": 2, "delays_s": [0.1, 0.2]},
                    text=f"Celery did {name}: 3 of 3.",
                )
                for name in LIMITS
            },
        },
        skipped=[Skipped(mode="process", why="left out by --modes")],
        environment=ENVIRONMENT,
        command="taskdemo limits --modes background,celery",
    )


def open_loop_run(
    rate: float,
    at_once: int,
    *,
    mode: str = "background",
    work_s: float = WORK_S,
    waits: bool = False,
    stalls: Sequence[tuple[float, float]] = (),
    cut_s: float | None = None,
    failing: int = 0,
    sent_late_s: float = 0.0,
) -> RunDocument:
    """A run of an open loop at a queue with so many servers; no server begins work in a stall (from, to)."""
    free = [0.0] * at_once
    samples, events = [], []
    for n in itertools.count(1):
        planned = (n - 1) / rate
        if planned >= min(SETTLE_S + STEP_S, cut_s or 1e9) - 1e-9:
            break
        sent = planned + 0.0001 + sent_late_s
        started = max(planned + 0.001, heapq.heappop(free))
        started = next((to for begin, to in stalls if begin <= started < to), started)
        ended = started + work_s
        heapq.heappush(free, ended)
        answered = ended + 0.0005 if waits else planned + 0.002
        if n <= failing:
            samples.append(sample(n, answered, planned=planned, sent=sent, status=503))
            continue
        task = f"task {n}"
        if cut_s is not None and answered > cut_s:
            samples.append(sample(n, cut_s, planned=planned, sent=sent, status=None, error="Cancelled"))
            continue
        samples.append(sample(n, answered + sent_late_s, planned=planned, sent=sent, task=task))
        told = events_of(task, planned + 0.001, started, ended, mode=mode)
        events += [event for event in told if cut_s is None or event.clock <= told[0].clock - planned - 0.001 + cut_s]
    return recorder(samples, events).finish(header(mode=mode, url="http://x", rate=rate))


@functools.cache  # three files have tests of it, and five processes collect them
def capacity_document() -> CapacityDocument:
    """Three modes and the application of a stranger, measured at queues that a clock never saw."""
    modes = {}
    for mode, at_once, rates in (("blocking", 1, (9.5, 19.0, 10.4)), ("background", 4, (38.0, 76.0, 41.2))):
        settings = Settings(mode=mode, journal="", threads=at_once)
        subject = Subject(settings, WORK_S)
        runs = [open_loop_run(rate, at_once, mode=mode, waits=mode == "blocking") for rate in rates]
        steps = [read_step(run, SETTLE_S, STEP_S, subject) for run in runs]
        more = read_step(open_loop_run(68.4, 8, mode=mode), SETTLE_S, STEP_S, subject)
        confirmed = Confirmation(option="--threads 8", step=more) if mode == "background" else None
        modes[mode] = judge(subject, steps, STEP_S, confirmed=confirmed)
    few = [read_step(open_loop_run(rate, 40), SETTLE_S, STEP_S, Subject()) for rate in (50.0, 100.0)]
    modes["async"] = judge(Subject(Settings(mode="async", journal=""), WORK_S), few, STEP_S)
    failing = [read_step(open_loop_run(rate, 4, failing=9), SETTLE_S, STEP_S, Subject()) for rate in (4.0, 2.0)]
    modes["http://127.0.0.1:9/slow?<b>"] = judge(Subject(), failing, STEP_S)
    return CapacityDocument(
        modes=modes,
        work="sleep",
        duration_s=WORK_S,
        step_s=STEP_S,
        conditions=["response.p95 < 200ms"],
        skipped=[Skipped(mode="celery", why="not installed")],
        started_at="2026-01-02T03:04:05.678+00:00",
        environment=ENVIRONMENT,
        command="taskdemo capacity --threads 4",
    )


def scan_document() -> ScanDocument:
    """An application of one endpoint of each kind, with invented but plausible figures."""
    summary = background_run(3).summary

    def row(path: str, cause: Any, text: str, target: str | None = None, **found: Any) -> EndpointRow:
        blocks = cause == "event loop held"
        judged = Blocking(
            blocks=blocks, cause=cause, loop_wait_s=0.4 if blocks else 0.002, threads_wait_s=0.003, **found
        )
        return EndpointRow(method="GET", path=path, target=target or path, summary=summary, blocking=judged, text=text)

    endpoints = [
        row("/", "neither", "This endpoint does not block the server."),
        row("/slow", "event loop held", "It blocks the event loop (at main.py:7 in slow).", places=PLACES),
        row("/orders/{order_id}", "not found", "Whether it blocks is not clear.", "/orders/7?kind=a"),
        *(
            row(
                path, "not reached", "The request failed.", answers=[Answer(status=401, count=1)], type_instead="-H KEY"
            )
            for path in ("/me", "/teams")
        ),
        EndpointRow(method="POST", path="/orders", skipped="POST may write"),
        EndpointRow(method="GET", path="/users/{id}", skipped="it needs id (path), but no example is given"),
    ]
    return ScanDocument(
        app="main:app",
        count=20,
        endpoints=endpoints,
        verdict="1 of 3 endpoints holds up everybody: GET /slow (400 ms). 2 were not reached, because the answers were "
        "redirects, refusals or errors. 2 were not called.",
        started_at="2026-01-02T03:04:05.678+00:00",
        environment=ENVIRONMENT,
        command="taskdemo scan --app main:app",
    )


PLACES = [Place(place="main.py:7 in slow", share=1.0)]
ALL_RUNS = {
    "blocking": blocking_run,
    "background": background_run,
    "threadpool": threadpool_run,
    "failed": failed_run,
    "interrupted": interrupted_run,
    "hostile": hostile_run,
    "rate": rate_run,
}


@functools.cache
def all_documents() -> Mapping[str, Any]:
    """Documents of every kind."""
    return {
        **{name: make() for name, make in ALL_RUNS.items()},
        "comparison": comparison_document(),
        "rounds": comparison_document(3),
        "limits": limits_document(),
        "capacity": capacity_document(),
        "scan": scan_document(),
    }


def saved(document: AnyDocument) -> Any:
    """The document as the JSON of it is read by anybody: of dicts and lists."""
    return json.loads("".join(json_chunks(document)))


def changed(document: AnyDocument, **fields: Any) -> Any:
    """The document with these fields in place of its own, as it could be read from a file."""
    return typed({**saved(document), **to_builtins(fields)})


def typed(data: Any) -> Any:
    """The document that a file would hold as these dicts and lists."""
    return convert(data, KINDS[data["kind"]])
