"""A run: one server in one mode, and what came of one burst of requests; the other documents are made of its parts."""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.stats import Bin, Seconds, Statistics
from taskdemo_cli.units import format_seconds
from taskdemo_server.contract.events import TaskState
from taskdemo_server.contract.settings import VERSION


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

    @property
    def total(self) -> int:
        """All requests."""
        return self.ok + self.failed


class TaskCounts(Struct, frozen=True, kw_only=True):
    """`accepted` counts all tasks; finished + failed + cancelled + lost + unfinished add up to it."""

    accepted: int
    finished: int
    failed: int
    cancelled: int
    lost: int
    unfinished: int
    """Neither ended nor known to be lost when we stopped looking."""
    begun: int = 0
    """How often their work was begun: more often than there are tasks where an engine has begun some again."""
    max_parallel: int
    """The most executions of work at the same moment."""
    last_ended_s: Seconds | None = None
    answered_before_end: int
    """Requests whose last byte came before the work of their own task had ended; not those whose tasks are
    unfinished, because word of the end may not have come."""
    answered_after_end: int
    """Requests whose last byte came after it."""
    waited_for_work: int = 0
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
    """Sent to last byte; of one that was not answered, to the end of the run, or of its connection."""
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
    """How much of that time the work computed: its CPU seconds, divided by it without the wait for a processor."""
    histogram: list[Bin] = []
    """Of response_s; empty where that is None."""
    requests: RequestCounts
    tasks: TaskCounts
    wall_s: Seconds
    requests_per_s: Seconds
    """Answers per second, also those with an error; a request that got no answer does not count."""
    client: Client


class RequestRow(Struct, frozen=True, kw_only=True):
    """What the client saw of one request, or of one `GET /ping` of a bystander."""

    n: int = 0
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
    queued_s: Seconds | None = None
    """Seconds of its work in which that could have run, and waited for a processor; None where the system does not
    tell."""
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
    """The beginning and the end of what the user's own work has printed."""


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


class Document(Struct, frozen=True, kw_only=True):
    """What every document says: by what it was made, on what, and by which command."""

    taskdemo: str = VERSION
    environment: dict[str, Any] = {}
    command: str = ""


class RunDocument(Document, frozen=True, kw_only=True):
    """One server in one mode, and one burst of requests."""

    kind: Literal["run"] = "run"
    mode: str | None = None
    """None where the server is not taskdemo's."""
    url: str = ""
    path: str = "/"
    method: str = "GET"
    work: str | None = None
    duration_s: Seconds | None = None
    """How long the work was asked to take; None where it is the user's own, which is not asked."""
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
    not_sent: int = 0
    late_sends: int = 0
    """Open loop: sends that came later than planned."""
    late_connecting: int = 0
    """Those of them that waited for their own connection to be opened."""
    late_unconnected: int = 0
    """Those of them that waited for another's connection, because no more could be opened."""
    unreported: int = 0
    """Requests that were sent, but the load process ended before it could say what became of them."""
    others_share: float | UnsetType = UNSET
    """How much of all processors other programs used just before the run, or before its round; of 1."""
    summary: Summary
    requests: Sequence[RequestRow] = ()
    tasks: Sequence[TaskRow] = ()
    bystander: Sequence[RequestRow] = ()
    app: str | UnsetType = UNSET
    """The user's own application, `module:name`, where that was served: then `tasks` are its requests, each ended when
    the application's call returned, background tasks included."""
    own_work: OwnFunction | UnsetType = UNSET
    warm_up: int | UnsetType = UNSET
    """Requests that were sent before, for work that does nothing, and are counted nowhere."""
    slots: int | UnsetType | None = UNSET
    """How many works the server could run at once, in threads or processes; None where no such number is known."""
    proxy: str | UnsetType = UNSET
    """The proxy of the environment through which the requests went, without its password: its time is in theirs."""
    bystander_threads: Sequence[RequestRow] | UnsetType = UNSET
    blocking: Blocking | UnsetType = UNSET
    verdict: str | UnsetType = UNSET
    """One sentence that says what was seen."""
    thresholds: list[ThresholdRow] | UnsetType = UNSET

    @property
    def is_burst(self) -> bool:
        """Whether all requests were sent at once."""
        return self.count is not None and self.concurrency == self.count


class Skipped(Struct, frozen=True, kw_only=True):
    """A mode that could not be run, and why."""

    mode: str
    why: str


def describe_request(run: RunDocument) -> str:
    """Return what was asked for: the URL, with its path if it has one, and the method if that is not GET."""
    url = run.url + (run.path if run.path != "/" else "")
    return url if run.method == "GET" else f"{url} ({run.method})"


def describe_work(work: str, duration_s: float | None) -> str:
    """Return which work it is, and how long it was asked to take, if it was."""
    return work if duration_s is None else f"{work} of {format_seconds(duration_s)}"


def name_of(run: RunDocument) -> str:
    """Return what a run goes by: its mode, the user's application, or the URL of a server that is not taskdemo's."""
    return run.mode or run.app or run.url
