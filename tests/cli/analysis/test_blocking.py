"""What is made of what the server saw of an endpoint, and of what two bystanders waited beside it."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

import samples
from reviewed import assert_reviewed
from taskdemo_cli.analysis.blocking.causes import CAUSES
from taskdemo_cli.analysis.blocking.judge import judge
from taskdemo_cli.analysis.blocking.remedy import STEPS, change_for
from taskdemo_cli.analysis.blocking.sentence import sentence
from taskdemo_cli.documents.blocking import Blocking, Cause
from taskdemo_cli.documents.run import RequestRow, RunDocument
from taskdemo_cli.recording.sightings import Sightings, fold
from taskdemo_server.contract.sightings import Answered, Left, NeverRan, Observation, Stall, Waiting


def a_run(loop: list[float], threads: list[float]) -> RunDocument:
    run = samples.background_run(2)
    assert run.summary.response_s is not None
    slow = replace(run.summary, response_s=replace(run.summary.response_s, max=0.5))
    return replace(
        run,
        summary=slow,
        tasks=[],
        bystander=[call(wait) for wait in loop],
        bystander_threads=[call(wait) for wait in threads],
    )


def call(wait: float) -> RequestRow:
    return RequestRow(sent_s=1.0, done_s=1.0 + wait, response_s=wait, status=200, error=None)


def seen(place: str = "a.py:1 in f", **given: Any) -> Observation:
    call, _, by_now = given.pop("call", "").partition(" -> ")
    within = given.get("caller", place).partition(" in ")[2].partition(" ")[0] or None
    step = next((one for one in STEPS if place.startswith(one)), None)
    facts = {"place": place, "of": "request", "seconds": 0.3, "within": within, "step": step}
    facts |= {"call": call or None, "by_now": by_now or None, "function": call or None}
    return Observation(**{**facts, "may_be_plain": given.get("of", "request") == "request", **given})


def stall(*looks: Observation, **given: Any) -> Stall:
    facts = {
        "number": 1, "lasted_s": 0.3, "cpu_s": 0.0, "queued_s": 0.0, "gc_s": 0.0,
        "idle": False, "ended": True,
    }  # fmt: skip
    return Stall(**{**facts, "looks": list(looks), **given})


def waiting(*looks: Observation, **given: Any) -> Waiting:
    return Waiting(**{"waiting": list(looks), "open_s": 1.0, "over_s": 0.25, "full_s": 0.0, **given})


def stalled(*looks: Observation, **given: Any) -> Sightings:
    return Sightings(stalls=[stall(*looks, **given)])


def waited(*looks: Observation, **given: Any) -> Sightings:
    return Sightings(waiting=[waiting(*looks, **given)])


def in_a_lock(**given: Any) -> Stall:
    """The event loop waits in a call of Python's own, beside a thread that computes all the time."""
    look = seen(call="asyncio.to_thread -> threading.__enter__", library="asyncio", **given)
    return stall(look, others=[seen("a.py:2 in g", of="thread")])


def in_starved(*others: Observation) -> Sightings:
    """The machine has next to no time for the event loop, which also waits for what no stack shows."""
    return stalled(lasted_s=6.5, queued_s=5.7, others=list(others))


def in_hash(**given: Any) -> Sightings:
    look = seen(**{"of": "thread", "call": "hashlib.scrypt", "seconds": 1.2, "cpu_s": 0.2, "queued_s": 0.8, **given})
    return Sightings(stalls=[stall(others=[replace(look, seconds=0.3)])], waiting=[waiting(look)])


def in_csv(**given: Any) -> Sightings:
    look = seen(of="thread", call="list -> csv.next", library="csv", seconds=1.2, **given)
    return waited(look)


SLEEP = seen(call="time.sleep", seconds=0.09)
HELD = stalled(seen())
BUSY = stalled(others=[seen("a.py:2 in g", of="thread")])
COLLECTED = stall(cpu_s=0.3, gc_s=0.25)
ITS_OWN = stalled(seen(of="application"))


@pytest.mark.parametrize(
    ("loop", "threads", "found", "cause"),
    [
        ([0.5], [0.5], HELD, "event loop held"),
        ([0.01], [0.01], HELD, "event loop held"),  # what the server saw itself is enough
        ([], [], HELD, "event loop held"),
        ([0.5, 0.4], [0.5], Sightings(), "not found"),  # a machine that is busy with others does that, too
        ([0.5, 0.4], [0.5], stalled(cpu_s=0.3), "event loop held"),
        ([0.5, 0.4], [0.5], stalled(cpu_s=0.3, idle=True), "not found"),  # no request was open when it began
        ([0.5, 0.4], [0.9], BUSY, "interpreter busy"),
        ([0.5], [0.5], ITS_OWN, "application"),
        ([0.5], [0.5], stalled(others=[seen(of="thread", seconds=0.05)]), "interpreter busy"),
        ([0.5], [0.5], stalled(others=[seen(of="thread", seconds=0.005)]), "not found"),  # it woke
        ([0.5], [0.5], stalled(others=[seen(of="thread", call="re.match")]), "interpreter busy"),
        ([0.5], [0.5], stalled(others=[seen(of="thread", call="f", seconds=0.02)]), "not found"),
        ([0.5], [0.5], stalled(others=[seen(of="thread", call="time.sleep")]), "not found"),  # many woke
        ([0.5], [0.5], stalled(seen(seconds=0.1), others=[seen(of="thread", call="hashlib.scrypt")]), "not found"),
        # on a busy machine, who keeps the interpreter waits for a processor, and so does who waits for it
        (
            [0.5],
            [0.5],
            stalled(queued_s=0.16, others=[seen(of="thread", call="re.match", seconds=0.08)]),
            "interpreter busy",
        ),
        ([9.0], [9.0], in_starved(seen("a.py:2 in g", of="thread", call="re.match", seconds=0.5)), "interpreter busy"),
        ([9.0, 9.0], [9.0], in_starved(), "not found"),  # the machine explains the wait, but not all of the stall
        ([2.0], [2.0], stalled(lasted_s=2.0, queued_s=1.0, cpu_s=1.0), "not found"),  # nor what the loop computed
        # the loop's thread hands work to threads, and waits for the interpreter meanwhile
        (
            [0.5],
            [0.5],
            stalled(seen(call="submit", cpu_s=0.01, queued_s=0.18), others=[seen(of="thread")], queued_s=0.18),
            "interpreter busy",
        ),
        ([0.5], [0.5], stalled(others=[seen("", of="thread")]), "interpreter busy"),  # it had ended
        ([0.5], [0.5], stalled(others=[seen(of="application")]), "application"),
        ([0.5], [0.5], stalled(seen(), gc_s=0.2), "garbage collection"),
        ([0.5], [0.5], stalled(seen(), gc_s=0.1, queued_s=0.15), "garbage collection"),
        ([0.2], [0.2], waited(loop=[seen(seconds=0.2)]), "event loop held"),
        ([0.01], [0.2], waited(loop=[seen(seconds=0.2)]), "event loop held"),
        ([0.5], [0.5], Sightings(stalls=[COLLECTED], waiting=[waiting(loop=[seen()])]), "garbage collection"),
        ([0.5], [0.5], Sightings(stalls=[COLLECTED], waiting=[waiting(loop=[seen(seconds=0.9)])]), "event loop held"),
        ([0.2], [0.2], waited(seen(of="thread", call="f", cpu_s=0.2, queued_s=0.1)), "processors busy"),
        # a thread that takes the interpreter for a moment may wait for a processor then: calls leave it, code does not
        ([0.5, 0.5], [0.5], in_hash(free_s=1.0), "processors busy"),
        ([0.5, 0.5], [0.5], in_hash(free_s=0.3, cpu_s=0.05), "processors busy"),  # others have the processors, too
        ([0.5, 0.5], [0.5], in_hash(free_s=0.1), "interpreter busy"),
        ([0.5, 0.5], [0.5], in_hash(free_s=1.0, call=""), "interpreter busy"),
        # threads kept those that look from looking, and from being looked at
        ([0.2, 0.2], [0.2], waited(seen(of="thread", seconds=0.1, cpu_s=0.2)), "interpreter busy"),
        ([0.2, 0.2], [0.2], waited(seen(of="thread")), "not found"),  # as in `for row in cursor`, which waits
        # Python code of a library: threads wait there for the interpreter, for a processor, or for something else.
        ([0.2, 0.2], [0.2], in_csv(cpu_s=0.2), "interpreter busy"),
        ([0.2, 0.2], [0.2], in_csv(cpu_s=0.2, queued_s=0.8), "processors busy"),
        ([0.2, 0.2], [0.2], in_csv(cpu_s=0.2, free_s=1.0), "not found"),
        ([0.2, 0.2], [0.2], in_csv(cpu_s=0.01), "not found"),
        ([0.01], [0.5], waited(full_s=0.5), "threads used up"),
        ([], [], waited(full_s=0.5), "threads used up"),
        ([0.01], [0.01], waited(full_s=0.5), "neither"),
        ([0.01], [0.01], waited(seen(in_line=True, seconds=0.9)), "waiting in line"),
        ([0.01], [0.01], waited(seen(in_line=True, seconds=0.2)), "neither"),
        # That nothing explains why a bystander waited does not hide why callers did.
        ([0.5, 0.5], [0.5], waited(seen(in_line=True, seconds=0.9)), "waiting in line"),
        # a method `get` of what is no queue
        ([0.01], [0.01], waited(seen(in_line=True, of="thread", seconds=0.9, cpu_s=0.3)), "neither"),
        ([0.15, 0.15], [0.3], waited(seen(in_line=True, seconds=0.9), queued_s=0.06), "waiting in line"),
        ([0.01], [0.01], stalled(seen(), queued_s=0.25), "neither"),  # the machine was busy
        ([0.15], [0.3], waited(queued_s=0.06), "neither"),
        ([0.15], [0.5], waited(queued_s=0.06), "not found"),
        ([0.24], [0.41], stalled(lasted_s=0.2, queued_s=0.19, idle=True), "neither"),  # so did the loop's own thread
        ([0.2], [0.2], waited(loop=[seen(seconds=0.2, queued_s=0.15)]), "not found"),
        ([0.2], [0.2], waited(loop=[seen(seconds=0.2, queued_s=0.1)]), "event loop held"),
        ([0.5, 0.4], [0.5], stalled(cpu_s=0.1, queued_s=0.1), "event loop held"),
        ([], [], Sightings(), "neither"),
        # What nothing explains has no cause.
        ([0.002] * 20, [0.002] * 20 + [0.226], Sightings(), "not found"),
        ([0.002] * 20, [0.226] * 3, waited(full_s=0.05), "not found"),
        ([0.002] * 20 + [0.5], [0.002], Sightings(), "not found"),
        ([0.002] * 20 + [0.12], [0.002], stalled(seen(), lasted_s=0.09), "not found"),
        ([0.002] * 20 + [0.12], [0.002], stalled(SLEEP, lasted_s=0.06), "not found"),
        ([0.002] * 20 + [0.12], [0.002], stalled(SLEEP, lasted_s=0.09), "event loop held"),
        ([0.002] * 20 + [0.09], [0.002], stalled(SLEEP, lasted_s=0.09), "neither"),
        ([0.5, 0.4], [0.5], Sightings(stalls=[*BUSY.stalls, stall(SLEEP, lasted_s=0.09)]), "interpreter busy"),
        ([0.5, 0.4], [0.5], Sightings(stalls=[*BUSY.stalls, stall(seen(), lasted_s=0.2)]), "interpreter busy"),
        ([0.5, 0.4], [0.5], Sightings(stalls=[*BUSY.stalls, stall(seen(), lasted_s=0.4)]), "event loop held"),
        ([0.12, 0.12], [0.002], Sightings(stalls=[stall(cpu_s=0.09, lasted_s=0.09)] * 2), "not found"),
        ([0.5, 0.4], [0.5], Sightings(stalls=[in_a_lock(free_s=0.0)]), "interpreter busy"),
        ([0.5, 0.4], [0.5], Sightings(stalls=[in_a_lock(free_s=0.3)]), "event loop held"),
        ([0.15, 0.15], [0.002], Sightings(), "not found"),
    ],
)
def test_the_cause_is_what_the_server_saw(
    loop: list[float], threads: list[float], found: Sightings, cause: str
) -> None:
    blocked = judge(a_run(loop, threads), found)
    assert blocked.cause == cause
    assert blocked.blocks is (cause not in {"neither", "application", "waiting in line", "not found"})
    assert sentence(blocked).endswith(".")


def test_where_nobody_saw_what_a_thread_did_its_endpoint_is_named_and_only_then() -> None:
    unseen = seen("", of="thread", caller="a.py:1 in f (or a dependency of it)", cpu_s=0.3)
    found = judge(a_run([0.5], [0.5]), stalled(others=[unseen]))
    assert [(place.place, place.caller, place.waits) for place in found.places] == [(unseen.caller, None, False)]
    assert found.change is not None
    assert found.change.startswith("Computing needs a process: make a function of what computes there")
    elsewhere = [waiting(seen("a.py:2 in g", of="thread"))]
    found = judge(a_run([0.5], [0.5]), Sightings(stalls=[stall(others=[unseen])], waiting=elsewhere))
    assert [place.place for place in found.places] == ["a.py:2 in g"]


@pytest.mark.parametrize(("seconds", "place"), [(0.1, "a queue for 2 threads of an executor"), (0.5, "db.Pool.take")])
def test_where_the_threads_of_an_executor_wait_in_a_line_themselves_that_line_is_told(
    seconds: float, place: str
) -> None:
    queue = seen("a queue for 2 threads of an executor", in_line=True, seconds=0.9)
    threads = seen("db.Pool.take", call="Condition.wait", in_line=True, of="thread", seconds=seconds)
    found = judge(a_run([0.01], [0.01]), waited(queue, threads))
    assert (found.cause, found.places[0].place) == ("waiting in line", place)


def test_a_bystander_that_got_no_answer_has_waited_too() -> None:
    unanswered = RequestRow(sent_s=0.5, done_s=3.0, response_s=None, status=None, error="Cancelled")
    run = replace(a_run([], []), bystander=[unanswered])
    assert judge(run, Sightings()).loop_wait_s == 2.5


@pytest.mark.parametrize(
    ("call", "cpu_s", "queued_s", "waits"),
    [
        ("f", 0.01, 0.01, True),
        ("f", 0.25, 0.0, False),
        ("f", 0.05, 0.2, False),
        ("f", 0.02, 0.2, True),  # a call that waits does so for a processor, too, each time that it wakes
        ("", 0.02, 0.2, False),
    ],
)
def test_measured_seconds_decide_whether_it_waits_or_computes(
    call: str, cpu_s: float, queued_s: float, waits: bool
) -> None:
    found = stalled(seen(call=call, cpu_s=cpu_s, queued_s=queued_s))
    blocked = judge(a_run([0.5], [0.5]), found)
    assert blocked.places[0].waits is waits
    assert ("process" in (blocked.change or "")) is not waits


@pytest.mark.parametrize(
    ("cpu_s", "queued_s", "waits"), [(0.14, 0.1, False), (0.05, 0.1, True), (0.26, 0.01, True), (0.0, 0.0, True)]
)
def test_on_a_busy_machine_what_computed_in_the_time_that_it_had_does_not_wait(
    cpu_s: float, queued_s: float, waits: bool
) -> None:
    found = stalled(seen(call="f", cpu_s=0.02, queued_s=0.02), cpu_s=cpu_s, queued_s=queued_s)
    assert judge(a_run([0.5], [0.5]), found).places[0].waits is waits


@pytest.mark.parametrize(("free_s", "thread_will_do"), [(0.0, False), (0.2, False), (0.29, True)])
def test_only_code_that_nearly_always_leaves_the_interpreter_to_others_may_stay_in_a_thread(
    free_s: float, thread_will_do: bool
) -> None:
    change, _ = change_for(seen(cpu_s=0.1, queued_s=0.2, free_s=free_s, seconds=0.3), waits=False)
    assert ("a thread will do" in change) is thread_will_do
    assert ("needs a process" in change) is not thread_will_do


@pytest.mark.parametrize("of", ["request", "background", "task", "thread"])
@pytest.mark.parametrize("free_s", [0.0, 0.3])
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"call": "fib"},
        {"call": "hashlib.scrypt -> _hashlib.scrypt"},
        {"caller": "a.py:9 in orders", "function": "build"},
        {"place": "serialising the answer (fastapi.serialize_response)"},
        {"place": "validating the request (fastapi.request_body_to_args)"},
        {"place": "compressing the answer (starlette._compress_body)"},
    ],
)
def test_the_code_in_a_change_is_code_where_it_is_to_be_written(
    given: dict[str, Any], waits: bool, free_s: float, of: Any
) -> None:
    look = seen(**{"place": "a.py:1 in slow", "of": of, "free_s": free_s, "seconds": 0.3} | given)
    change, _ = change_for(look, waits=waits)
    kind = "def" if of == "thread" and not waits and free_s == 0.0 else "async def"
    for code in re.findall("`(.*?)`", change):
        if code != "def":
            compile(f"{kind} slow():\n    {code}", "a.py", "exec")
    assert "(slow," not in change  # it cannot be its own function
    assert "(process_pool, slow" not in change


def test_a_template_is_not_sent_to_a_process_with_its_request_which_goes_to_none() -> None:
    change, _ = change_for(seen(function="templates.TemplateResponse"), waits=False)
    assert "(process_pool, function, ...)" in change
    assert "make a function of what computes there" in change


def refused(status: int, count: int = 3, **given: Any) -> Blocking:
    run = a_run([0.002], [0.002])
    rows = [replace(run.requests[0], n=n + 1, status=status, error=None) for n in range(count)]
    answer = Answered(**{"status": status, "path": "/orders", **given})
    return judge(replace(run, requests=rows, url="http://127.0.0.1:8000", app="main.py"), Sightings(answers=[answer]))


NEEDS = '{{"detail":[{{"loc":{},"msg":"Missing"}}]}}'
REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "a redirect": (307, {"location": "http://127.0.0.1:8000/orders/"}),
    "a redirect with a query": (307, {"location": "http://127.0.0.1:8000/orders/?a=1&b=2"}),
    "a redirect to https": (307, {"location": "https://127.0.0.1:8000/orders"}),
    "a redirect to another host": (307, {"location": "https://login.example/"}),
    "a redirect to nowhere": (307, {"location": "http://[bad/"}),
    "a password": (401, {"authenticate": "Basic realm=x"}),
    "nothing said of what is forbidden": (403, {}),
    "nothing said of how to log in": (401, {}),
    "a key": (401, {"authenticate": "APIKey"}),
    "a host": (400, {"detail": "Invalid host header"}),
    "a method": (405, {"allow": "POST"}),
    "no such path": (404, {"detail": '{"detail":"Not Found"}'}),
    "no such order": (404, {"detail": '{"detail":"Order not found"}'}),
    "a value without a place": (422, {"detail": '{"detail":[{"loc":[],"msg":"Value error, no end"}]}'}),
    "a query": (422, {"detail": NEEDS.format('["query","q"]')}),
    "a header": (422, {"detail": NEEDS.format('["header","x-key"]')}),
    "a body": (422, {"detail": NEEDS.format('["body","file"]')}),
    "half of a detail": (422, {"detail": '{"detail":[{"loc":'}),
    "an error": (503, {}),
    "an error in plain text": (503, {"detail": "the database is down"}),
    "an error under another name": (503, {"detail": '{"error":"the database is down"}'}),
    "an error with a message": (503, {"detail": '{"code":7,"error":{"message":"the database is down"}}'}),
}


def left(number: int, **given: Any) -> Left:
    return Left(
        **{
            "number": number,
            "request": "1",
            "call": "mail",
            "place": "a.py:9 in order",
            "kept": False,
            "after_s": 0.5,
            **given,
        }
    )


def never_ran(call: str = "mail", because: str | None = None, status: int = 503) -> NeverRan:
    return NeverRan(call=call, place="a.py:9 in f", status=status, because=because)


def cases() -> dict[str, Blocking]:
    quiet, held_up = a_run([0.002], [0.002]), a_run([0.5], [0.5])
    short = stalled(seen(call="time.sleep", seconds=0.15), lasted_s=0.15)
    broken = [replace(row, status=200, error="ReadTimeout") for row in quiet.requests]
    busy = [replace(row, status=503, error="HTTP 503") for row in held_up.requests]
    in_line = seen("a.py:3 in get", call="pool.connection", in_line=True, seconds=0.9)
    library = seen(
        "argon2.hash",
        call="argon2.hash",
        caller="fastapi_users.register",
        function=None,
        may_be_plain=False,
        within=None,
    )
    outlived = [
        left(1, state="failed", error="ValueError: \x1b[31m"),
        left(2, state="running"),
        left(3, state="lost", after_s=1.5),
    ]
    dropped = [never_ran(), never_ran(), never_ran("log"), never_ran(status=200)]
    instead = "the answer had a background task of its own, which takes their place"
    failing = [replace(one, state="failed", error="ValueError: sold out.") for one in samples.background_run(2).tasks]
    stuck = replace(quiet.summary, tasks=replace(quiet.summary.tasks, finished=0, unfinished=2))
    in_mail = waited(seen("a.py:9 in mail", call="arrived.wait", of="thread"))
    return {
        "a machine that was busy": judge(a_run([0.15], [0.3]), waited(queued_s=0.06)),
        "a wait that nothing explains": judge(a_run([0.002] * 20 + [0.5], [0.002]), Sightings()),
        "nobody waited": judge(quiet, Sightings()),
        "callers in line": judge(quiet, waited(in_line)),
        "callers in line on a machine that was busy": judge(a_run([0.15, 0.15], [0.3]), waited(in_line, queued_s=0.06)),
        "callers in line for a thread that computes": judge(
            quiet, waited(in_line, seen(call="hashlib.scrypt", of="thread", seconds=0.9, cpu_s=0.9))
        ),
        "callers in line for threads that take the processors": judge(
            quiet, waited(in_line, seen(call="hashlib.scrypt", of="thread", seconds=0.9, cpu_s=0.6, queued_s=0.3))
        ),
        "callers in line for threads that take the processors from others": judge(
            held_up, waited(in_line, seen(call="hashlib.scrypt", of="thread", seconds=0.9, cpu_s=0.6, queued_s=0.3))
        ),
        "callers in line, and a wait that nothing explains": judge(held_up, waited(in_line)),
        "a wait just below the limit": judge(a_run([0.06], [0.002]), Sightings()),
        "a wait just above the limit": judge(a_run([0.15], [0.002]), short),
        "answers that go on, as those of a stream": judge(replace(quiet, requests=broken, timed_out=True), Sightings()),
        "garbage that was collected, and no place seen": judge(
            held_up, Sightings(stalls=[COLLECTED], waiting=[waiting(loop=[seen("")])])
        ),
        "threads that are used up by what computes": judge(
            a_run([0.01], [0.5]), waited(seen(call="bcrypt.hashpw", of="thread", cpu_s=0.3), full_s=0.5)
        ),
        "threads that wait for one lock": judge(
            a_run([0.01], [0.5]), waited(seen(call="lock", in_line=True, of="thread"), full_s=0.5)
        ),
        "an endpoint of a library": judge(held_up, stalled(library)),
        "what was seen, although every answer was an error": judge(replace(held_up, requests=busy), HELD),
        "what was seen, although one answer was an error": judge(
            replace(held_up, requests=[busy[0], held_up.requests[1]]), HELD
        ),
        "one answer of two was an error": judge(replace(quiet, requests=[busy[0], quiet.requests[1]]), Sightings()),
        "tasks that outlived their request": judge(quiet, Sightings(left=outlived)),
        "background tasks that never ran, by what dropped them": judge(quiet, Sightings(never_ran=dropped)),
        "a background task that another took the place of": judge(
            quiet, Sightings(never_ran=[never_ran(because=instead)])
        ),
        "a background task after one that failed": judge(
            quiet, Sightings(never_ran=[never_ran(because="log came before and failed")])
        ),
        "a background task that failed": judge(replace(held_up, tasks=failing), Sightings()),
        **{f"not reached: {name}": refused(status, **given) for name, (status, given) in REFUSALS.items()},
        "nobody was answered": judge(
            replace(quiet, summary=replace(quiet.summary, response_s=None)),
            waited(seen("validating the request (fastapi.request_body_to_args)")),
        ),
        "nobody was answered by a machine that was busy": judge(
            replace(a_run([0.15], [0.3]), summary=replace(quiet.summary, response_s=None)),
            waited(seen("a.py:9 in wait", call="arrived.wait"), queued_s=0.06),
        ),
        "background tasks that had ended when time was up": judge(replace(quiet, timed_out=True), in_mail),
        "background tasks that had not": judge(replace(quiet, timed_out=True, summary=stuck), in_mail),
    }


WAITS = {
    "time.sleep": seen(call="time.sleep"),
    "time.sleep of a function that an endpoint calls": seen(
        call="time.sleep", caller="a.py:9 in orders", function="build"
    ),
    "time.sleep of what cannot await": seen(call="time.sleep", may_be_plain=False, is_plain=True),
    "a library": seen(call="requests.get -> socket.recv_into", library="requests"),
    "a client of a library": seen(
        "a.py:3 in ask", call="client.get -> httpcore.recv", library="httpx", may_be_plain=False
    ),
    "the end of a pool": seen(call="ThreadPoolExecutor -> concurrent.Executor.__exit__", library="concurrent"),
    "a log": seen(call="log.info", library="logging"),
    "a file": seen(call="open"),
    "a call of a database written in C": seen(call="cursor.execute", of="task"),
    "a call of a task, in a loop": seen(call="cursor.wait", in_loop=True, of="task"),
    "a future": seen(call="pool.submit(...).result -> threading.acquire", library="concurrent", function=None),
    "a call without a function": seen(call="os._walk", function=None),
}
COMPUTES = {
    "a call in a loop": seen(call="math.sqrt", cpu_s=0.3, in_loop=True),
    "a client that is made for each request": seen(
        call="httpx.AsyncClient -> ssl.load_verify_locations", cpu_s=0.3, free_s=0.2
    ),
    "a log, many times": seen(call="log.info -> logging.acquire", cpu_s=0.3, in_loop=True, library="logging"),
    "a pool whose processes start": seen(
        call="loop.run_in_executor -> multiprocessing.BaseProcess.start", cpu_s=0.3, library="asyncio"
    ),
    "programs that are started": seen(call="asyncio.create_subprocess_exec", library="asyncio", cpu_s=0.3),
    "without the interpreter": seen(call="bcrypt.hashpw", cpu_s=0.3, free_s=0.3),
    "a call of a database written in C": seen(call="cursor.execute", cpu_s=0.3, free_s=0.3),
}


def test_every_sentence_is_the_one_that_was_reviewed() -> None:
    told = {name: f"{found.cause}: {sentence(found)}" for name, found in cases().items()}
    assert not any(found.blocks for found in cases().values() if found.cause == "not reached")
    for kind, looks in (("waits", WAITS), ("computes", COMPUTES)):
        for name, look in looks.items():
            change, rule = change_for(look, waits=kind == "waits")
            told[f"instead of what {kind}: {name}"] = f"{change} (ruff: {rule})" if rule else change
    assert_reviewed(__file__, told)


@pytest.mark.parametrize(("loop_s", "is_told"), [(0.01, True), (2.0, False)])
def test_what_goes_on_after_the_answer_is_told_unless_the_event_loop_was_late_as_well(
    loop_s: float, is_told: bool
) -> None:
    run = replace(a_run([loop_s], [2.0]), tasks=samples.background_run(2).tasks)
    assert ((judge(run, waited(full_s=0.5)).after_answer_s or 0.0) > 0.9) is is_told


def test_tasks_that_outlived_their_request_and_those_that_never_ran_are_counted() -> None:
    (tasks,) = cases()["tasks that outlived their request"].left
    assert (tasks.count, tasks.failed, tasks.unfinished, tasks.lost, tasks.longest_s) == (3, 1, 1, 1, 1.5)
    lost = cases()["background tasks that never ran, by what dropped them"].never_ran
    told = [(one.call, one.count, one.by_error) for one in lost]
    assert told == [("mail", 2, True), ("log", 1, True), ("mail", 1, False)]
    assert cases()["answers that go on, as those of a stream"].endless == 2
    assert cases()["a machine that was busy"].processor_wait_s == 0.06


def test_of_a_stall_the_last_line_counts_and_lines_of_others_are_passed_over() -> None:
    lines = [
        b'{"id":"a","state":"started"}\n',
        stall(lasted_s=0.1, ended=False).to_line(),
        stall(lasted_s=0.4).to_line(),
        stall(number=2).to_line()[:-20] + b"\n",
        b'{"seen":"Stall","number":3,"idle":"maybe"}\n',
        left(1, state="running").to_line(),
        b"\n",
    ]
    found = fold(lines)
    assert [(one.number, one.lasted_s) for one in found.stalls] == [(1, 0.4)]
    assert not found.is_quiet
    assert fold([]).is_quiet


def test_what_had_begun_to_answer_when_the_event_loop_was_held_is_not_taken_for_a_stream() -> None:
    begun = [replace(row, status=200, error="ReadTimeout") for row in samples.background_run(2).requests]
    run = replace(a_run([0.5], [0.5]), requests=begun, timed_out=True)
    assert judge(run, HELD).endless == 0
    assert judge(run, waited(full_s=0.5)).endless == 2


def test_the_causes_in_the_documentation_are_all_there_are_and_whom_each_holds_up() -> None:
    text = (Path(__file__).parents[3] / "docs" / "own-app.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| cause | what it means | holds up others |\n")
    rows = [[cell.strip(" `|") for cell in row.split(" | ")] for row in table.partition("\n\n")[0].splitlines()[1:]]
    assert {cause: holds_up == "yes" for cause, _, holds_up in rows} == {
        cause: meaning.holds_up is not None for cause, meaning in CAUSES.items()
    }
    assert [cause for cause, *_ in rows] == list(CAUSES) == list(get_args(Cause))
