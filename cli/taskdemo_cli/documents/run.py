"""A run: one burst of requests at one server. Other documents are made of its parts."""

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
    """How often each cause was seen, by kind of error: `{"ConnectError": {"Connection refused": 3}}`."""
    statuses: dict[str, int] = {}
    """How often each status was answered, error statuses included, in answers that did not break off."""
    bytes: int = 0
    """The total size of all response bodies."""

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
    """Neither ended nor known to be lost at the end of the run."""
    begun: int = 0
    """How often work was started; more than `accepted` if an engine started some of it again."""
    max_parallel: int
    """The most executions of work at the same moment."""
    last_ended_s: Seconds | None = None
    answered_before_end: int
    """Requests whose last byte came before the work of their own task had ended. Those of unfinished tasks do not
    count: they may have ended unheard."""
    answered_after_end: int
    """Requests whose last byte came after that."""
    waited_for_work: int = 0
    """Those among them for whom work, their own or of others, ran during at least half of their wait: that is what they
    waited for. The others were answered after the end by chance."""
    held_up: int
    """Those answered before the end that nevertheless waited for at least a quarter of the median work, mostly while
    the event loop did the work of others one by one, and were answered when it did none."""


class Client(Struct, frozen=True, kw_only=True):
    """How far the client affects the figures. `overhead_s` is its own share of a response at this concurrency."""

    cpu_share: float | None = None
    loop_lag_p99_s: Seconds | None = None
    overhead_s: Seconds | None = None
    trusted: bool | None = None
    """None if the overhead was not measured."""


class Summary(Struct, frozen=True, kw_only=True):
    """Every figure of a run, folded from its requests, tasks and bystander."""

    response_s: Statistics | None = None
    """Sent (at a rate: planned) to last byte, of every request that succeeded."""
    failed_s: Statistics | None = None
    """The same, of every request that was answered with an error, a status of 400 or more."""
    corrected_s: Statistics | None = None
    """The same as `response_s` at a rate; None without one."""
    completion_s: Statistics | None = None
    """Sent (at a rate: planned) to the end of the task's work, of tasks that finished."""
    bystander_s: Statistics | None = None
    """Sent to last byte; of an unanswered call, to the end of the run or of its connection."""
    bystander_threads_s: Statistics | UnsetType | None = UNSET
    """The same for a second bystander, answered by a worker thread; only with the user's own application."""
    wait_s: Statistics | None = None
    """Planned send to sent."""
    first_byte_s: Statistics | None = None
    """Sent to first byte."""
    transfer_s: Statistics | None = None
    """First byte to last byte."""
    queue_s: Statistics | None = None
    """Task accepted to work started."""
    work_s: Statistics | None = None
    """Work started to ended, of tasks that finished; if started again, of the execution that finished it."""
    work_cpu_share: float | None = None
    """The share of `work_s` in which the work computed: its CPU seconds by `work_s` less the wait for a processor."""
    histogram: list[Bin] = []
    """The histogram of `response_s`; empty if that is None."""
    requests: RequestCounts
    tasks: TaskCounts
    wall_s: Seconds
    requests_per_s: Seconds
    """Answers per second, error answers included; unanswered requests do not count."""
    client: Client


class RequestRow(Struct, frozen=True, kw_only=True):
    """One request, or one `GET /ping` of a bystander, as the client saw it."""

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
    """Sent (at a rate: planned) to last byte, error answers included."""


class TaskRow(Struct, frozen=True, kw_only=True):
    """One task according to the journal. `runs` counts how often its work was started."""

    id: str
    state: TaskState
    accepted_s: Seconds | None = None
    started_s: Seconds | None = None
    """The first start."""
    ended_s: Seconds | None = None
    """The last end; None for a task that was lost."""
    cpu_s: Seconds | None = None
    """CPU seconds that its work used in its thread."""
    queued_s: Seconds | None = None
    """Seconds during which its work waited for a processor; None if the system does not tell."""
    where: str | None = None
    """Host, process and thread in one text, for people."""
    host: str | None = None
    pid: int | None = None
    thread: str | None = None
    message: str | None = None
    error: str | None = None
    work_s: Seconds | None = None
    """The duration of the execution that finished the task."""
    runs: int
    output: str | None = None
    """The beginning and the end of what the user's own work printed."""


class ThresholdRow(Struct, frozen=True, kw_only=True):
    """The outcome of one `--fail-if`; `value` is the measured one, in seconds if it is a time."""

    expression: str
    value: float | None = None
    held: bool
    text: str


class OwnFunction(Struct, frozen=True, kw_only=True):
    """How the user's own function is called: awaited or not, with the message or without."""

    is_async: bool
    takes_message: bool


class Document(Struct, frozen=True, kw_only=True):
    """The fields of every document: the version, the environment and the command that made it."""

    taskdemo: str = VERSION
    environment: dict[str, Any] = {}
    command: str = ""


class RunDocument(Document, frozen=True, kw_only=True):
    """One server in one mode, and one burst of requests."""

    kind: Literal["run"] = "run"
    mode: str | None = None
    """None if the server is not taskdemo's."""
    url: str = ""
    path: str = "/"
    method: str = "GET"
    work: str | None = None
    duration_s: Seconds | None = None
    """The configured duration of the work; None for the user's own function."""
    count: int | None = None
    """As requested; None if `for_s` bounds the run."""
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
    """Open loop: requests sent later than planned."""
    late_connecting: int = 0
    """Those of them that waited for their own connection to be opened."""
    late_unconnected: int = 0
    """Those of them that waited for another's connection, because no more could be opened."""
    unreported: int = 0
    """Requests whose outcome is unknown, because the load process ended before it could report them."""
    others_share: float | UnsetType = UNSET
    """The share of all processors, from 0 to 1, that other programs used just before the run or its round."""
    summary: Summary
    requests: Sequence[RequestRow] = ()
    tasks: Sequence[TaskRow] = ()
    bystander: Sequence[RequestRow] = ()
    app: str | UnsetType = UNSET
    """The user's own application, `module:name`, if that was served. Then `tasks` are its requests; each ends when the
    application's call returns, after its background tasks."""
    own_work: OwnFunction | UnsetType = UNSET
    warm_up: int | UnsetType = UNSET
    """Uncounted requests that were sent before the run, whose work does nothing."""
    slots: int | UnsetType | None = UNSET
    """How many tasks the server could run at once, in threads or processes; None if unknown."""
    proxy: str | UnsetType = UNSET
    """The proxy from the environment, without its password; its time is part of the response times."""
    bystander_threads: Sequence[RequestRow] | UnsetType = UNSET
    blocking: Blocking | UnsetType = UNSET
    verdict: str | UnsetType = UNSET
    """The verdict, in a few sentences."""
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
    """Return the URL, with its path if it has one, and the method if that is not GET."""
    url = run.url + (run.path if run.path != "/" else "")
    return url if run.method == "GET" else f"{url} ({run.method})"


def describe_work(work: str, duration_s: float | None) -> str:
    """Return the work's name, and its duration if that is configured."""
    return work if duration_s is None else f"{work} of {format_seconds(duration_s)}"


def name_of(run: RunDocument) -> str:
    """Return a run's name: its mode, the user's application, or the URL of a server that is not taskdemo's."""
    return run.mode or run.app or run.url
