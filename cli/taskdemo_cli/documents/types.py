"""The shape of every document: run, comparison, limits.

Types only: nothing here computes a figure, reads a clock or opens a file. Seconds everywhere, as floats in
names ending in `_s`; offsets count from the first planned send of the run; None where not measured. `schema.json`
beside this module says the same to programs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NotRequired, TypedDict

from taskdemo_cli.stats import Bin, Statistics
from taskdemo_server.contract.events import TaskState


class RequestCounts(TypedDict):
    """Every request is either ok or failed; `errors` counts the failed ones by kind."""

    ok: int
    failed: int
    errors: dict[str, int]


class TaskCounts(TypedDict):
    """`accepted` counts all tasks; finished + failed + cancelled + lost + unfinished add up to it."""

    accepted: int
    finished: int
    failed: int
    cancelled: int
    lost: int
    unfinished: int
    """Neither ended nor known to be lost when we stopped looking."""
    max_parallel: int
    """The most tasks whose work ran at the same moment."""
    last_ended_s: float | None
    answered_before_end: int
    """Requests whose last byte came before the work of their own task had ended; not those whose tasks are
    unfinished, because word of the end may not have come."""
    answered_after_end: int
    """Requests whose last byte came after it: their callers waited for the work."""
    held_up: int
    """Of those answered before the end, the ones that nevertheless waited for a quarter of a median work or more, and
    got their answer at a moment when no work ran: the work of others stood in their way."""


class Client(TypedDict):
    """The run's doubt about itself. `overhead_s` is the client's own share of a response at this concurrency."""

    cpu_share: float | None
    loop_lag_p99_s: float | None
    overhead_s: float | None
    trusted: bool | None
    """None where the overhead was not measured."""


class Summary(TypedDict):
    """Every figure of a run, folded from its requests, tasks and bystander."""

    response_s: Statistics | None
    """Sent to last byte, of every request that was answered, whatever its status."""
    corrected_s: Statistics | None
    """Planned send to last byte; None without a rate."""
    completion_s: Statistics | None
    """Sent to the end of the task's work."""
    bystander_s: Statistics | None
    bystander_threads_s: NotRequired[Statistics | None]
    """As `bystander_s`, of a second one, answered from a worker thread; beside the user's own application only."""
    wait_s: Statistics | None
    """Planned send to sent."""
    first_byte_s: Statistics | None
    """Sent to first byte."""
    transfer_s: Statistics | None
    """First byte to last byte."""
    queue_s: Statistics | None
    """Task accepted to its work started."""
    work_s: Statistics | None
    """Work started to ended."""
    histogram: list[Bin]
    """Of response_s; empty where that is None."""
    requests: RequestCounts
    tasks: TaskCounts
    wall_s: float
    requests_per_s: float
    client: Client


class RequestRow(TypedDict):
    """What the client saw of one request."""

    n: int
    task_id: str | None
    status: int | None
    error: str | None
    """An httpx exception's class name, or `HTTP 503`."""
    planned_s: float | None
    sent_s: float | None
    first_byte_s: float | None
    done_s: float | None
    response_s: float | None


class TaskRow(TypedDict):
    """What the journal says of one task. `runs` counts how often its work was started."""

    id: str
    state: TaskState
    accepted_s: float | None
    started_s: float | None
    """The first start."""
    ended_s: float | None
    """The last end; None for a task that was lost."""
    cpu_s: NotRequired[float | None]
    """CPU seconds that its work took of its thread; not in files of earlier versions."""
    where: str | None
    message: str | None
    error: str | None
    runs: int
    output: str | None
    """The beginning of what the user's own work has printed."""


class BystanderRow(TypedDict):
    """One `GET /ping` beside the run."""

    sent_s: float | None
    done_s: float | None
    response_s: float | None
    status: int | None
    error: str | None


class Place(TypedDict):
    """Where in the code the event loop was held, in this share of the looks at it while it was late."""

    place: str
    """`file.py:12 in function`."""
    share: float


class Blocking(TypedDict):
    """Whether the endpoint of the user's own application holds up others, and a guess at the cause."""

    blocks: bool
    """False also where nothing is proven: with the cause `not found`."""
    cause: Literal["event loop held", "interpreter busy", "threads used up", "not found", "neither"]
    """`not found`: a bystander waited for long, and nothing that was seen explains it."""
    loop_wait_s: float | None
    """The longest that the bystander on the event loop waited."""
    threads_wait_s: float | None
    """The longest that the bystander in a worker thread waited."""
    places: list[Place]


class ThresholdRow(TypedDict):
    """What became of one `--fail-if`; `value` is the measured one, in seconds where it is a time."""

    expression: str
    value: float | None
    held: bool
    text: str


class OwnFunction(TypedDict):
    """How the user's own work is called: awaited or not, with the message or with nothing."""

    is_async: bool
    takes_message: bool


class RunFacts(TypedDict, total=False):
    """What only the caller knows of a run; as in RunDocument. What is left out is None, 1 or empty there."""

    mode: str | None
    url: str
    path: str
    method: str
    work: str | None
    duration_s: float | None
    count: int | None
    for_s: float | None
    concurrency: int | None
    rate: float | None
    message: str | None
    round: int
    started_at: str
    command: str
    environment: dict[str, Any]
    app: str | None
    own_work: OwnFunction | None


class RunDocument(TypedDict):
    """One server in one mode, and one burst of requests."""

    taskdemo: str
    kind: Literal["run"]
    mode: str | None
    """None where the server is not taskdemo's."""
    url: str
    path: str
    work: str | None
    duration_s: float | None
    count: int | None
    """As asked for; None where `for_s` bounds the run."""
    for_s: float | None
    concurrency: int | None
    rate: float | None
    message: str | None
    """The template."""
    round: int
    started_at: str
    interrupted: bool
    timed_out: bool
    ended_because: str | None
    transport: str | None
    not_sent: int
    late_sends: int
    unreported: int
    """Requests that were sent, but the load process ended before it could say what became of them."""
    command: str
    environment: dict[str, Any]
    summary: Summary
    requests: Sequence[RequestRow]
    tasks: Sequence[TaskRow]
    bystander: Sequence[BystanderRow]
    method: NotRequired[str]
    """GET where a document does not say."""
    app: NotRequired[str]
    """The user's own application, `module:name`, where that was served: then `tasks` are its requests, each ended when
    the application's call returned, background tasks included."""
    own_work: NotRequired[OwnFunction]
    bystander_threads: NotRequired[Sequence[BystanderRow]]
    blocking: NotRequired[Blocking]
    verdict: NotRequired[str]
    """One sentence that says what was seen."""
    thresholds: NotRequired[list[ThresholdRow]]


class Verdict(TypedDict):
    """One sentence about one mode, computed from its figures."""

    mode: str
    text: str


class Difference(TypedDict):
    """A figure minus the reference's, over the rounds, with the interval that it lies in."""

    mean: float
    low: float
    high: float
    within_noise: bool


class Interval(TypedDict):
    """One figure of one mode over the rounds: its mean, the 95 % interval, the difference to the reference."""

    mode: str
    figure: str
    """A path into the summary, such as `response_s.p50`."""
    rounds: int
    mean: float
    low: float
    high: float
    difference: Difference | None
    """None for the reference itself, and where fewer than two rounds have both figures."""


class Skipped(TypedDict):
    """A mode that could not be run, and why."""

    mode: str
    why: str


class Recommendation(TypedDict):
    """Which mode to use, on what evidence, what it gives up, and the endpoint to paste."""

    mode: str
    why: str
    gives_up: list[str]
    code: str
    basis: NotRequired[str]
    """Whether what it gives up was measured or is known, in words."""


LIMITS: Final = (
    "track",
    "cancel",
    "retry",
    "orchestrate",
    "offload",
    "distribute",
    "survive_server_kill",
    "survive_worker_kill",
    "failure",
)
"""The limits, in the order of every table."""


class Cell(TypedDict):
    """What the experiment about one limit of one mode showed."""

    verdict: Literal["yes", "no", "partly"]
    measured: dict[str, Any]
    """The figures; `figure` among them is the one beside the verdict, a few characters of text."""
    text: str


class FailedExperiment(TypedDict):
    """An experiment that could not be carried out to its end, and why: its cell is missing."""

    mode: str
    limit: str
    why: str


class LimitsDocument(TypedDict):
    """Every experiment of `taskdemo limits`."""

    taskdemo: str
    kind: Literal["limits"]
    modes: dict[str, dict[str, Cell]]
    skipped: list[Skipped]
    failed: NotRequired[list[FailedExperiment]]
    interrupted: NotRequired[bool]
    started_at: NotRequired[str]
    """ISO 8601, in UTC; results of older versions have none."""
    environment: dict[str, Any]
    command: str


class ComparisonDocument(TypedDict):
    """The same burst at several modes."""

    taskdemo: str
    kind: Literal["comparison"]
    reference: str
    rounds: int
    runs: list[RunDocument]
    verdicts: list[Verdict]
    intervals: list[Interval]
    """Empty with one round."""
    skipped: list[Skipped]
    environment: dict[str, Any]
    command: str
    thresholds: NotRequired[list[ThresholdRow]]
    recommendation: NotRequired[Recommendation | None]
    """Missing where the runs show too little, or nothing that one could recommend."""


def limits_in(modes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the limits of which these modes have cells: those we know in their own order, then any others."""
    found = dict.fromkeys(name for cells in modes.values() for name in cells)
    return [*(name for name in LIMITS if name in found), *(name for name in found if name not in LIMITS)]


def asked(run: RunDocument) -> str:
    """Return what was asked for: the URL, with its path if it has one, and the method if that is not GET."""
    method = run.get("method", "GET")
    url = run["url"] + (run["path"] if run["path"] != "/" else "")
    return url if method == "GET" else f"{url} ({method})"


def name_of(run: Mapping[str, Any]) -> str:
    """Return what a run goes by: its mode, the user's application, or the URL of a server that is not taskdemo's."""
    name: str = run["mode"] or run.get("app") or run["url"]
    return name
