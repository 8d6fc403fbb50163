"""The types of every document: run, comparison, limits, capacity, scan.

What is printed as JSON, what is accepted of a saved file, and `schema.json` beside this module all come from them.
Nothing here computes a figure, reads a clock or opens a file. Seconds everywhere, as floats in names ending in `_s`;
offsets count from the first planned send of the run; None where not measured, UNSET where a document leaves it out.
A field has a default where files of earlier versions may lack it. Each document is made once and whole:
`msgspec.structs.replace` makes another one of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypedDict

from msgspec import UNSET, Meta, Struct, UnsetType

from taskdemo_cli.stats import Bin, Statistics
from taskdemo_server.contract.events import VERSION, TaskState

LONGEST_S: Final = 1e9
"""No time is longer than these 31 years; a scale for a longer one could not be drawn."""
Seconds = Annotated[float, Meta(ge=-LONGEST_S, le=LONGEST_S)]


class RequestCounts(Struct, frozen=True, kw_only=True):
    """Every request is either ok or failed; `errors` counts the failed ones by kind."""

    ok: int
    failed: int
    errors: dict[str, int] = {}
    reasons: dict[str, dict[str, int]] | UnsetType = UNSET
    """How often each cause is known of errors of that kind: `{"ConnectError": {"Connection refused": 3}}`."""
    statuses: dict[str, int] = {}
    """How often each status came, of the failed ones too."""
    bytes: int = 0
    """Of the bodies of all answers."""


class TaskCounts(Struct, frozen=True, kw_only=True):
    """`accepted` counts all tasks; finished + failed + cancelled + lost + unfinished add up to it."""

    accepted: int
    finished: int
    failed: int
    cancelled: int
    lost: int
    unfinished: int
    """Neither ended nor known to be lost when we stopped looking."""
    begun: int | None = None
    """How often their work was begun: more often than there are tasks where an engine has begun some again."""
    max_parallel: int
    """The most executions of work at the same moment."""
    last_ended_s: Seconds | None = None
    answered_before_end: int
    """Requests whose last byte came before the work of their own task had ended; not those whose tasks are
    unfinished, because word of the end may not have come."""
    answered_after_end: int
    """Requests whose last byte came after it."""
    waited_for_work: int | None = None
    """Of those the ones for whom work, their own or of others, ran during half of their waiting or more: that is what
    they waited for. The others were answered late, and by chance after the end."""
    held_up: int
    """Of those answered before the end, the ones that nevertheless waited for a quarter of a median work or more, most
    of it while the event loop did the work of others, one after another, and were answered when it did none."""


class Client(Struct, frozen=True, kw_only=True):
    """The run's doubt about itself. `overhead_s` is the client's own share of a response at this concurrency."""

    cpu_share: float | None = None
    loop_lag_p99_s: Seconds | None = None
    overhead_s: Seconds | None = None
    trusted: bool | None = None
    """None where the overhead was not measured."""


class Summary(Struct, frozen=True, kw_only=True):
    """Every figure of a run, folded from its requests, tasks and bystander."""

    response_s: Statistics | None = None
    """Sent to last byte, of every request that went well; at a rate it counts from the planned send."""
    failed_s: Statistics | None = None
    """The same of every request that was answered with an error, a status of 400 or more."""
    corrected_s: Statistics | None = None
    """What `response_s` is at a rate; None without one."""
    completion_s: Statistics | None = None
    """Sent, at a rate its plan, to the end of the task's work, of tasks that finished."""
    bystander_s: Statistics | None = None
    bystander_threads_s: Statistics | UnsetType | None = UNSET
    """As `bystander_s`, of a second one, answered from a worker thread; beside the user's own application only."""
    wait_s: Statistics | None = None
    """Planned send to sent."""
    first_byte_s: Statistics | None = None
    """Sent to first byte."""
    transfer_s: Statistics | None = None
    """First byte to last byte."""
    queue_s: Statistics | None = None
    """Task accepted to its work started."""
    work_s: Statistics | None = None
    """Work started to ended, of tasks that finished; of one that was begun again, the execution that finished it."""
    work_cpu_share: float | None = None
    """How much of that time the work computed: its CPU seconds, divided by it."""
    histogram: list[Bin] = []
    """Of response_s; empty where that is None."""
    requests: RequestCounts
    tasks: TaskCounts
    wall_s: Seconds
    requests_per_s: Seconds
    client: Client


class RequestRow(Struct, frozen=True, kw_only=True):
    """What the client saw of one request."""

    n: int
    task_id: str | None = None
    status: int | None = None
    error: str | None = None
    """An httpx exception's class name, or `HTTP 503`."""
    reason: str | None = None
    """The cause of that exception, in the words of the system or the parser."""
    planned_s: Seconds | None = None
    sent_s: Seconds | None = None
    first_byte_s: Seconds | None = None
    done_s: Seconds | None = None
    response_s: Seconds | None = None
    """Sent, at a rate planned, to last byte; of an answer with an error, too."""


class TaskRow(Struct, frozen=True, kw_only=True):
    """What the journal says of one task. `runs` counts how often its work was started."""

    id: str
    state: TaskState
    accepted_s: Seconds | None = None
    started_s: Seconds | None = None
    """The first start."""
    ended_s: Seconds | None = None
    """The last end; None for a task that was lost."""
    cpu_s: Seconds | None = None
    """CPU seconds that its work took of its thread."""
    where: str | None = None
    """Host, process and thread in one text, for people."""
    host: str | None = None
    pid: int | None = None
    thread: str | None = None
    message: str | None = None
    error: str | None = None
    work_s: Seconds | None = None
    """How long the execution took that finished the task."""
    runs: int
    output: str | None = None
    """The beginning of what the user's own work has printed."""


class BystanderRow(Struct, frozen=True, kw_only=True):
    """One `GET /ping` beside the run."""

    sent_s: Seconds | None = None
    done_s: Seconds | None = None
    response_s: Seconds | None = None
    status: int | None = None
    error: str | None = None


class Place(Struct, frozen=True, kw_only=True):
    """Where in the code the event loop was held, in this share of the looks at it while it was late."""

    place: str
    """`file.py:12 in function`: the innermost line of the application, or what its framework does for it."""
    share: float
    call: str | None = None
    """What is called there, and where that call was: `requests.get -> socket.recv_into`."""
    waits: bool | None = None
    """Whether it waits there, or computes; None where that was not measured."""
    caller: str | None = None
    """The line of the `async def` that led there, where that is another one."""


class Answer(Struct, frozen=True, kw_only=True):
    """What was answered so many times, where not all answers were successes."""

    status: int
    count: int
    location: str | None = None
    """Where a redirect leads."""
    detail: str | None = None
    """The beginning of what it said."""


class LeftTask(Struct, frozen=True, kw_only=True):
    """The asyncio tasks that one line of the application created and that outlived their requests."""

    call: str
    """The coroutine function's name."""
    place: str
    count: int
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    lost: int = 0
    """Taken by the garbage collector before they ended."""
    unfinished: int = 0
    """Not ended when we stopped looking."""
    longest_s: Seconds
    """From the answer to the end of the last one, or to when we stopped looking."""
    error: str | None = None
    """Of the first one that failed."""
    kept: bool
    """Whether anybody keeps a reference to them, without which they may vanish before they end."""


class Blocking(Struct, frozen=True, kw_only=True):
    """Whether the endpoint of the user's own application holds up others, and a guess at the cause."""

    blocks: bool
    """False also where nothing is proven: with the cause `not found`."""
    cause: Literal[
        "event loop held",
        "interpreter busy",
        "garbage collection",
        "threads used up",
        "waiting in line",
        "application",
        "not reached",
        "not found",
        "neither",
    ]
    """`waiting in line`: callers wait for one lock or pool, and hold up nobody else. `application`: its own task or
    thread held others up, and not this endpoint. `not reached`: most answers were refusals or errors. `not found`: a
    bystander waited for long, and nothing that was seen explains it."""
    loop_wait_s: Seconds | None = None
    """The longest that the bystander on the event loop waited."""
    threads_wait_s: Seconds | None = None
    """The longest that the bystander in a worker thread waited."""
    places: list[Place] = []
    longest_s: Seconds | None = None
    """The longest time for which the event loop was seen blocked in one piece."""
    change: str | None = None
    """What to write instead."""
    rule: str | None = None
    """The rule of ruff that finds such a call in the source."""
    answers: list[Answer] = []
    """Empty where all were successes."""
    type_instead: str | None = None
    """The option that would reach the endpoint."""
    after_answer_s: Seconds | None = None
    """For how long background tasks went on after the answer, at the longest."""
    after_answer_error: str | None = None
    """What the first background task that failed has said."""
    left: list[LeftTask] = []


class ThresholdRow(Struct, frozen=True, kw_only=True):
    """What became of one `--fail-if`; `value` is the measured one, in seconds where it is a time."""

    expression: str
    value: float | None = None
    held: bool
    text: str


class OwnFunction(Struct, frozen=True, kw_only=True):
    """How the user's own work is called: awaited or not, with the message or with nothing."""

    is_async: bool
    takes_message: bool


class RunHeader(TypedDict, total=False):
    """What only the caller knows of a run; as in RunDocument, which has a default for what is left out."""

    mode: str | None
    url: str
    path: str
    method: str
    work: str | None
    duration_s: Seconds | None
    count: int | None
    for_s: Seconds | None
    concurrency: int | None
    rate: float | None
    message: str | None
    round: int
    started_at: str
    command: str
    environment: dict[str, Any]
    app: str | UnsetType
    own_work: OwnFunction | UnsetType
    warm_up: int | UnsetType
    slots: int | UnsetType | None


class RunDocument(Struct, frozen=True, kw_only=True):
    """One server in one mode, and one burst of requests."""

    taskdemo: str = VERSION
    kind: Literal["run"] = "run"
    mode: str | None = None
    """None where the server is not taskdemo's."""
    url: str = ""
    path: str = "/"
    method: str = "GET"
    work: str | None = None
    duration_s: Seconds | None = None
    count: int | None = None
    """As asked for; None where `for_s` bounds the run."""
    for_s: Seconds | None = None
    concurrency: int | None = None
    rate: float | None = None
    message: str | None = None
    """The template."""
    round: int = 1
    started_at: str = ""
    interrupted: bool = False
    timed_out: bool = False
    ended_because: str | None = None
    transport: str | None = None
    not_sent: int = 0
    late_sends: int = 0
    """Open loop: sends that came later than planned."""
    late_connecting: int = 0
    """Those of them that waited for their own connection to be opened."""
    late_unconnected: int = 0
    """Those of them that waited for another's connection, because no more could be opened."""
    unreported: int = 0
    """Requests that were sent, but the load process ended before it could say what became of them."""
    command: str = ""
    environment: dict[str, Any] = {}
    summary: Summary
    requests: Sequence[RequestRow] = ()
    tasks: Sequence[TaskRow] = ()
    bystander: Sequence[BystanderRow] = ()
    app: str | UnsetType = UNSET
    """The user's own application, `module:name`, where that was served: then `tasks` are its requests, each ended when
    the application's call returned, background tasks included."""
    own_work: OwnFunction | UnsetType = UNSET
    warm_up: int | UnsetType = UNSET
    """Requests that were sent before, for work that does nothing, and are counted nowhere."""
    slots: int | UnsetType | None = UNSET
    """How many works the server could run at once, in threads or processes; None where no such number is known."""
    bystander_threads: Sequence[BystanderRow] | UnsetType = UNSET
    blocking: Blocking | UnsetType = UNSET
    verdict: str | UnsetType = UNSET
    """One sentence that says what was seen."""
    thresholds: list[ThresholdRow] | UnsetType = UNSET


class Verdict(Struct, frozen=True, kw_only=True):
    """What was seen in one mode, computed from its figures."""

    mode: str
    text: str
    short: str | UnsetType = UNSET
    """The same in one line; results of older versions have none."""


class Difference(Struct, frozen=True, kw_only=True):
    """A figure minus the reference's, over the rounds, with the interval that it lies in."""

    mean: float
    low: float
    high: float
    within_noise: bool


class Interval(Struct, frozen=True, kw_only=True):
    """One figure of one mode over the rounds: its mean, the 95 % interval, the difference to the reference."""

    mode: str
    figure: str
    """A path into the summary, such as `response_s.p50`."""
    rounds: int
    mean: float
    low: float
    high: float
    difference: Difference | None = None
    """None for the reference itself, and where fewer than two rounds have both figures."""


class Skipped(Struct, frozen=True, kw_only=True):
    """A mode that could not be run, and why."""

    mode: str
    why: str


class Recommendation(Struct, frozen=True, kw_only=True):
    """Which mode to use for a need, on what evidence, what it gives up, and the endpoint to paste."""

    need: str | UnsetType = UNSET
    """By the name that --need takes, several with commas between; empty where none was named."""
    mode: str | None
    """None where no mode that was run has it, or the runs allow no recommendation: `why` says which."""
    why: str
    gives_up: list[str] = []
    code: str = ""
    """Empty where there is no mode."""
    basis: str | UnsetType = UNSET
    """Whether what it gives up was measured or is known, in words."""


LIMITS: Final = (
    "track",
    "cancel",
    "retry",
    "orchestrate",
    "offload",
    "neighbours",
    "distribute",
    "survive_restart",
    "survive_server_kill",
    "survive_worker_kill",
    "failure",
    "late_error",
    "hang_up",
    "middleware",
    "session",
    "context",
)
"""The limits, in the order of every table."""


class Cell(Struct, frozen=True, kw_only=True):
    """What the experiment about one limit of one mode showed."""

    verdict: Literal["yes", "no", "partly"]
    measured: dict[str, Any] = {}
    """The figures; `figure` among them is the one beside the verdict, a few characters of text."""
    text: str


class FailedExperiment(Struct, frozen=True, kw_only=True):
    """An experiment that could not be carried out to its end, and why: its cell is missing."""

    mode: str
    limit: str
    why: str


class LimitsDocument(Struct, frozen=True, kw_only=True):
    """Every experiment of `taskdemo limits`."""

    taskdemo: str = VERSION
    kind: Literal["limits"] = "limits"
    modes: dict[str, dict[str, Cell]] = {}
    skipped: list[Skipped] = []
    failed: list[FailedExperiment] | UnsetType = UNSET
    interrupted: bool | UnsetType = UNSET
    started_at: str | UnsetType = UNSET
    """ISO 8601, in UTC; results of older versions have none."""
    environment: dict[str, Any] = {}
    command: str = ""


CapacityCause = Literal[
    "threads",
    "processes",
    "event loop",
    "interpreter",
    "broker",
    "client",
    "threshold",
    "refused",
    "not reached",
    "unknown",
]
"""What gave in. `refused`: requests failed, or the server ended; `unknown`: nothing seen from outside says it."""


Rate = Annotated[float, Meta(ge=1e-6, le=1e9)]
"""Requests per second."""
Growth = Annotated[float, Meta(ge=-1e9, le=1e9)]
Backlog = Annotated[float, Meta(ge=0, le=1e12)]


class CapacityStep(Struct, frozen=True, kw_only=True):
    """One run at one rate, and whether it was sustained.

    A request is in the backlog from its planned send until its task has ended, or its answer where it has no task.
    """

    rate: Rate
    """Requests per second."""
    response_s: Statistics | None = None
    corrected_s: Statistics | None = None
    completion_s: Statistics | None = None
    work_s: Statistics | None = None
    bystander_s: Statistics | None = None
    backlog: Backlog
    """At the end of what was judged, averaged over the last span of `curve`."""
    backlog_growth_per_s: Growth
    """The slope of the line fitted to `curve`."""
    growth_low_per_s: Growth
    growth_high_per_s: Growth
    """The 95 % interval of that slope."""
    curve: list[Backlog] = []
    """The backlog, averaged over spans of equal length from `from_s` to `to_s`."""
    from_s: Seconds
    """Where what is judged begins, after the settling time."""
    to_s: Seconds
    failed: int
    max_parallel: int
    """The most tasks that ran at the same moment."""
    sustained: bool
    cause: CapacityCause | None = None
    """None where it was sustained."""
    why: str | None = None
    """The same in words."""


class Confirmation(Struct, frozen=True, kw_only=True):
    """A step with more of what gave in: what it showed is measured, not reckoned."""

    option: str
    """As one types it: `--threads 80`."""
    step: CapacityStep


class ModeCapacity(Struct, frozen=True, kw_only=True):
    """How much one mode, application or URL takes."""

    sustained_per_s: Rate | None
    """The highest rate that was sustained; None where none was. The limit lies between it and the next."""
    failed_at_per_s: Rate | None
    """The lowest rate that was not; None where that was not reached."""
    cause: CapacityCause
    text: str
    expected_per_s: Rate | None
    """What arithmetic says: threads / work, processes / work or 1 / work; None where the work bounds nothing."""
    steps: list[CapacityStep] = []
    """In the order in which they were measured."""
    confirmed: Confirmation | None = None


class CapacityDocument(Struct, frozen=True, kw_only=True):
    """How much each mode takes: a rate that rises until it gives in, and then closes in."""

    taskdemo: str = VERSION
    kind: Literal["capacity"] = "capacity"
    modes: dict[str, ModeCapacity] = {}
    """By mode, application or URL."""
    work: str | None = None
    duration_s: Seconds | None = None
    step_s: Seconds
    conditions: list[str] = []
    """What --while asked for."""
    skipped: list[Skipped] = []
    interrupted: bool = False
    started_at: str = ""
    environment: dict[str, Any] = {}
    command: str = ""
    thresholds: list[ThresholdRow] | UnsetType = UNSET


class EndpointRow(Struct, frozen=True, kw_only=True):
    """One operation of the user's own application: what a burst at it did to everybody else, or why there was none."""

    method: str
    path: str
    """As its OpenAPI document has it: `/items/{item_id}`."""
    target: str | None = None
    """What was asked for, with the example values of the document in it; None where it was not called."""
    skipped: str | None = None
    """Why it was not called."""
    summary: Summary | None = None
    """Of its burst; None where it was not called."""
    blocking: Blocking | None = None
    text: str = ""
    """One sentence that says what was seen."""


class ScanDocument(Struct, frozen=True, kw_only=True):
    """Every endpoint of the user's own application, each judged by a short burst of its own."""

    taskdemo: str = VERSION
    kind: Literal["scan"] = "scan"
    app: str
    count: int
    """Requests of each burst at the most: of an endpoint that answers one after another, fewer."""
    endpoints: list[EndpointRow] = []
    verdict: str = ""
    """One sentence about all of them."""
    interrupted: bool = False
    started_at: str = ""
    environment: dict[str, Any] = {}
    command: str = ""


class ComparisonDocument(Struct, frozen=True, kw_only=True):
    """The same burst at several modes."""

    taskdemo: str = VERSION
    kind: Literal["comparison"] = "comparison"
    reference: str
    rounds: int
    runs: list[RunDocument] = []
    verdicts: list[Verdict] = []
    intervals: list[Interval] = []
    """Empty with one round."""
    skipped: list[Skipped] = []
    environment: dict[str, Any] = {}
    command: str = ""
    thresholds: list[ThresholdRow] | UnsetType = UNSET
    recommendations: list[Recommendation] | UnsetType = UNSET
    """For each need by itself; empty where nothing can be recommended."""
    recommendation: Recommendation | UnsetType | None = UNSET
    """For all needs that were named, or for none; missing where the runs show too little."""


def limits_in(modes: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the limits of which these modes have cells: those we know in their own order, then any others."""
    found = dict.fromkeys(name for cells in modes.values() for name in cells)
    return [*(name for name in LIMITS if name in found), *(name for name in found if name not in LIMITS)]


def asked(run: RunDocument) -> str:
    """Return what was asked for: the URL, with its path if it has one, and the method if that is not GET."""
    url = run.url + (run.path if run.path != "/" else "")
    return url if run.method == "GET" else f"{url} ({run.method})"


def name_of(run: RunDocument) -> str:
    """Return what a run goes by: its mode, the user's application, or the URL of a server that is not taskdemo's."""
    return run.mode or run.app or run.url
