"""What is made of what the server saw of an endpoint, and of what two bystanders waited beside it."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

import samples
from taskdemo_cli.analysis.blocking.judge import judge
from taskdemo_cli.analysis.blocking.sentence import sentence
from taskdemo_cli.analysis.change import change_for
from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.documents.run import BystanderRow, RunDocument
from taskdemo_cli.recording.sightings import Answered, Left, NeverRan, Observation, Sightings, Stall, Waiting, fold


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


def call(wait: float) -> BystanderRow:
    return BystanderRow(sent_s=1.0, done_s=1.0 + wait, response_s=wait, status=200, error=None)


def seen(place: str = "a.py:1 in f", **given: Any) -> Observation:
    function = given.get("call", "").partition(" -> ")[0] or None
    facts = {"place": place, "of": "request", "seconds": 0.3, "function": function}
    return Observation(**{**facts, "may_be_plain": given.get("of", "request") == "request", **given})


def stall(*looks: Observation, **given: Any) -> Stall:
    facts = {
        "stall": 1, "lasted_s": 0.3, "cpu_s": 0.0, "queued_s": 0.0, "gc_s": 0.0,
        "idle": False, "ended": True,
    }  # fmt: skip
    return Stall(**{**facts, "looks": list(looks), **given})


def waiting(*looks: Observation, **given: Any) -> Waiting:
    return Waiting(**{"waiting": list(looks), "open_s": 1.0, "over_s": 0.25, "full_s": 0.0, **given})


LOGGING = "Use logging.handlers.QueueHandler, or `await asyncio.to_thread(log.info, ...)`, or make f a plain `def`"
HELD = Sightings(stalls=[stall(seen())])
BUSY = Sightings(stalls=[stall(others=[seen("a.py:2 in g", of="thread")])])
ITS_OWN = Sightings(stalls=[stall(seen(of="application"))])


@pytest.mark.parametrize(
    ("loop", "threads", "found", "cause"),
    [
        ([0.5], [0.5], HELD, "event loop held"),
        ([0.01], [0.01], HELD, "event loop held"),  # what the server saw itself is enough
        ([], [], HELD, "event loop held"),
        ([0.5, 0.4], [0.5], Sightings(), "not found"),  # a machine that is busy with others does that, too
        ([0.5, 0.4], [0.5], Sightings(stalls=[stall(cpu_s=0.3)]), "event loop held"),
        ([0.5, 0.4], [0.9], BUSY, "interpreter busy"),
        ([0.5], [0.5], ITS_OWN, "application"),
        ([0.5], [0.5], Sightings(stalls=[stall(others=[seen(of="thread", seconds=0.05)])]), "interpreter busy"),
        ([0.5], [0.5], Sightings(stalls=[stall(others=[seen(of="thread", seconds=0.005)])]), "not found"),  # it woke
        ([0.5], [0.5], Sightings(stalls=[stall(others=[seen(of="thread", call="re.match")])]), "interpreter busy"),
        ([0.5], [0.5], Sightings(stalls=[stall(others=[seen(of="thread", call="f", seconds=0.05)])]), "not found"),
        ([0.5], [0.5], Sightings(stalls=[stall(others=[seen("", of="thread")])]), "interpreter busy"),  # it had ended
        ([0.5], [0.5], Sightings(stalls=[stall(others=[seen(of="application")])]), "application"),
        ([0.5], [0.5], Sightings(stalls=[stall(seen(), gc_s=0.2)]), "garbage collection"),
        ([0.5], [0.5], Sightings(stalls=[stall(seen(), gc_s=0.1, queued_s=0.15)]), "garbage collection"),
        ([0.2], [0.2], Sightings(waiting=[waiting(loop=[seen(seconds=0.2)])]), "event loop held"),
        ([0.01], [0.2], Sightings(waiting=[waiting(loop=[seen(seconds=0.2)])]), "event loop held"),
        (
            [0.2],
            [0.2],
            Sightings(waiting=[waiting(seen(of="thread", call="f", cpu_s=0.2, queued_s=0.1))]),
            "processors busy",
        ),
        (  # threads kept those that look from looking, and from being looked at
            [0.2, 0.2],
            [0.2],
            Sightings(waiting=[waiting(seen(of="thread", seconds=0.1, cpu_s=0.2))]),
            "interpreter busy",
        ),
        ([0.01], [0.5], Sightings(waiting=[waiting(full_s=0.5)]), "threads used up"),
        ([0.01], [0.01], Sightings(waiting=[waiting(full_s=0.5)]), "neither"),
        ([0.01], [0.01], Sightings(waiting=[waiting(seen(in_line=True, seconds=0.9))]), "waiting in line"),
        ([0.01], [0.01], Sightings(waiting=[waiting(seen(in_line=True, seconds=0.2))]), "neither"),
        # That callers wait in line does not explain that a bystander does, again and again.
        ([0.5, 0.5], [0.5], Sightings(waiting=[waiting(seen(in_line=True, seconds=0.9))]), "not found"),
        (
            [0.15, 0.15],
            [0.3],
            Sightings(waiting=[waiting(seen(in_line=True, seconds=0.9), queued_s=0.06)]),
            "waiting in line",
        ),
        ([0.01], [0.01], Sightings(stalls=[stall(seen(), queued_s=0.25)]), "neither"),  # the machine was busy
        ([0.15], [0.3], Sightings(waiting=[waiting(queued_s=0.06)]), "neither"),
        ([0.15], [0.5], Sightings(waiting=[waiting(queued_s=0.06)]), "not found"),
        ([0.2], [0.2], Sightings(waiting=[waiting(loop=[seen(seconds=0.2, queued_s=0.15)])]), "not found"),
        ([0.2], [0.2], Sightings(waiting=[waiting(loop=[seen(seconds=0.2, queued_s=0.1)])]), "event loop held"),
        ([0.5, 0.4], [0.5], Sightings(stalls=[stall(cpu_s=0.1, queued_s=0.1)]), "event loop held"),
        ([], [], Sightings(), "neither"),
    ],
)
def test_the_cause_is_what_the_server_saw(
    loop: list[float], threads: list[float], found: Sightings, cause: str
) -> None:
    blocked = judge(a_run(loop, threads), found)
    assert blocked.cause == cause
    assert blocked.blocks is (cause not in {"neither", "application", "waiting in line", "not found"})
    assert sentence(blocked).endswith((".", ". Try --for 2."))


def test_where_nobody_saw_what_a_thread_did_its_endpoint_is_named_and_only_then() -> None:
    unseen = seen("", of="thread", caller="a.py:1 in f (or a dependency of it)", cpu_s=0.3)
    found = judge(a_run([0.5], [0.5]), Sightings(stalls=[stall(others=[unseen])]))
    assert [(place.place, place.caller, place.waits) for place in found.places] == [(unseen.caller, None, False)]
    assert found.change is not None
    assert found.change.startswith("Computing needs a process: make a function of what computes there")
    elsewhere = [waiting(seen("a.py:2 in g", of="thread"))]
    found = judge(a_run([0.5], [0.5]), Sightings(stalls=[stall(others=[unseen])], waiting=elsewhere))
    assert [place.place for place in found.places] == ["a.py:2 in g"]


@pytest.mark.parametrize(
    ("loop", "threads", "found"),
    [
        ([0.002] * 20, [0.002] * 20 + [0.226], Sightings()),
        ([0.002] * 20, [0.226] * 3, Sightings(waiting=[waiting(full_s=0.05)])),
        ([0.002] * 20 + [0.5], [0.002], Sightings()),
        ([0.002] * 20 + [0.12], [0.002], Sightings(stalls=[stall(seen(), lasted_s=0.09)])),
        ([0.15, 0.15], [0.002], Sightings()),
    ],
)
def test_a_wait_that_nothing_explains_is_told_and_no_cause_made_up(
    loop: list[float], threads: list[float], found: Sightings
) -> None:
    blocked = judge(a_run(loop, threads), found)
    assert (blocked.cause, blocked.blocks) == ("not found", False)
    said = sentence(blocked)
    assert "is not clear" in said
    assert "was not seen" in said
    assert said.endswith("Run it again.")


def test_a_machine_that_was_busy_is_named_where_it_explains_the_waits() -> None:
    busy = judge(a_run([0.15], [0.3]), Sightings(waiting=[waiting(queued_s=0.06)]))
    assert busy.processor_wait_s == 0.06
    assert sentence(busy).endswith(
        "That was the machine, which was busy: threads had to wait up to 60 ms for a processor."
    )


def test_the_limit_is_given_and_what_is_near_it_called_close() -> None:
    clear = sentence(judge(a_run([0.002], [0.002]), Sightings()))
    assert "(100 ms count as held up)" in clear
    assert "close" not in clear
    near = sentence(judge(a_run([0.06], [0.002]), Sightings()))
    assert near.endswith("It is close to that: run it again to be sure.")
    short = Sightings(stalls=[stall(seen(call="time.sleep", seconds=0.15), lasted_s=0.15)])
    beyond = sentence(judge(a_run([0.15], [0.002]), short))
    assert "It is close to the 100 ms that count as held up: run it again to be sure." in beyond


def test_a_bystander_that_got_no_answer_has_waited_too() -> None:
    unanswered = BystanderRow(sent_s=0.5, done_s=3.0, response_s=None, status=None, error="Cancelled")
    run = replace(a_run([], []), bystander=[unanswered])
    assert judge(run, Sightings()).loop_wait_s == 2.5


@pytest.mark.parametrize(("cpu_s", "queued_s", "waits"), [(0.01, 0.01, True), (0.25, 0.0, False), (0.05, 0.2, False)])
def test_measured_seconds_decide_whether_it_waits_or_computes(cpu_s: float, queued_s: float, waits: bool) -> None:
    found = Sightings(stalls=[stall(seen(cpu_s=cpu_s, queued_s=queued_s))])
    blocked = judge(a_run([0.5], [0.5]), found)
    assert blocked.places[0].waits is waits
    assert ("process" in (blocked.change or "")) is not waits


@pytest.mark.parametrize(
    ("look", "change", "rule"),
    [
        (seen(call="time.sleep"), "Write `await asyncio.sleep(...)`, or make f a plain `def`", "ASYNC251"),
        (
            seen(call="time.sleep", caller="a.py:9 in orders", function="build"),
            "Write `await asyncio.to_thread(build, ...)`, or make orders a plain `def`",
            None,
        ),
        (
            seen(call="requests.get -> socket.recv_into", library="requests"),
            "Use httpx.AsyncClient, or `await asyncio.to_thread(requests.get, ...)`, or make f a plain `def`",
            "ASYNC210",
        ),
        (
            seen("a.py:3 in ask", call="client.get -> httpcore.recv", library="httpx", may_be_plain=False),
            "Use httpx.AsyncClient, or `await asyncio.to_thread(client.get, ...)`",
            "ASYNC212",
        ),
        (seen(call="log.info", library="logging"), LOGGING, None),
        (seen(call="open"), "Write `await anyio.open_file(...)`, or make f a plain `def`", "ASYNC230"),
        (seen(call="cursor.execute", of="task"), "Write `await asyncio.to_thread(cursor.execute, ...)`", None),
        (
            seen(call="cursor.execute", in_loop=True, of="task"),
            "Write `await asyncio.to_thread(cursor.execute, ...)`",
            None,
        ),
        (
            seen(call="os._walk", function=None),
            (
                "Write `await asyncio.to_thread(function, ...)`, the function being what waits there,"
                " or make f a plain `def`"
            ),
            None,
        ),
    ],
)
def test_the_change_names_the_call_and_ruffs_rule_where_ruff_sees_it(
    look: Observation, change: str, rule: str | None
) -> None:
    assert change_for(look, waits=True) == (change, rule)


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
        {"place": "compressing the answer (starlette.compress)"},
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


def test_of_what_computes_in_a_loop_the_loop_is_to_go_elsewhere_and_not_each_call() -> None:
    change, _ = change_for(seen(call="math.sqrt", cpu_s=0.3, in_loop=True), waits=False)
    assert "make a function of what computes there, and `await loop.run_in_executor(process_pool, function" in change


def test_what_computes_without_the_interpreter_needs_no_process() -> None:
    change, _ = change_for(seen(call="bcrypt.hashpw", cpu_s=0.3, free_s=0.2), waits=False)
    assert change == (
        "It computes without the interpreter, so a thread will do: `await asyncio.to_thread(bcrypt.hashpw, ...)`,"
        " or make f a plain `def`"
    )


def test_an_answer_that_goes_on_is_told_as_a_stream() -> None:
    run = a_run([0.002], [0.002])
    rows = [replace(row, status=200, error="ReadTimeout") for row in run.requests]
    found = judge(replace(run, requests=rows, timed_out=True), Sightings())
    assert found.endless == 2
    assert sentence(found).endswith("2 answers were still going on, as those of a stream do.")


def refused(status: int, count: int = 3, **given: Any) -> Blocking:
    run = a_run([0.002], [0.002])
    rows = [replace(run.requests[0], n=n + 1, status=status, error=None) for n in range(count)]
    answer = Answered(**{"answer": status, "path": "/orders", **given})
    return judge(replace(run, requests=rows, url="http://127.0.0.1:8000", app="main.py"), Sightings(answers=[answer]))


@pytest.mark.parametrize(
    ("status", "given", "instead"),
    [
        (307, {"location": "http://127.0.0.1:8000/orders/"}, "--path /orders/"),
        (307, {"location": "http://127.0.0.1:8000/orders/?a=1&b=2"}, "--path '/orders/?a=1&b=2'"),
        (307, {"location": "https://login.example/"}, None),
        (307, {"location": "http://[bad/"}, None),
        (422, {"detail": '{"detail":[{"loc":[],"msg":"Value error, no end"}]}'}, None),
        (401, {"authenticate": "Basic realm=x"}, "-H 'Authorization: Basic ...'"),
        (403, {}, "-H 'Authorization: Bearer ...'"),
        (401, {"authenticate": "APIKey"}, "-H 'NAME: KEY', with the header that it takes its key from"),
        (400, {"detail": "Invalid host header"}, "-H 'Host: NAME', with a host that it allows"),
        (405, {"allow": "POST"}, "--method POST"),
        (404, {}, "taskdemo scan --app main.py to see which paths there are"),
        (422, {"detail": '{"detail":[{"loc":["query","q"],"msg":"Missing"}]}'}, "--path '/orders?q=...'"),
        (422, {"detail": '{"detail":[{"loc":["header","x-key"],"msg":"Missing"}]}'}, "-H 'x-key: ...'"),
        (422, {"detail": '{"detail":[{"loc":["body"],"msg":"Missing"}]}'}, "--body @FILE, with the JSON that it takes"),
        (422, {"detail": '{"detail":[{"loc":'}, None),
        (503, {}, None),
    ],
)  # fmt: skip
def test_where_the_endpoint_was_not_reached_it_is_said_what_was_answered_and_what_to_type(
    status: int, given: dict[str, Any], instead: str | None
) -> None:
    found = refused(status, **given)
    assert (found.cause, found.blocks, found.type_instead) == ("not reached", False, instead)
    said = sentence(found)
    assert said.startswith(f"Nothing can be said of blocking: all 3 answers were {status}")
    assert "waited" not in said
    assert instead is None or said.endswith(f"Type {instead}.")


def test_what_was_seen_is_said_whatever_the_status() -> None:
    run = a_run([0.5], [0.5])
    rows = [replace(row, status=503, error="HTTP 503") for row in run.requests]
    found = judge(replace(run, requests=rows), HELD)
    assert found.cause == "event loop held"
    assert "Not all went well: all 2 answers were 503." in sentence(found)
    mixed = judge(replace(run, requests=[rows[0], run.requests[1]]), HELD)
    assert "Not all went well: of 2 answers 1 was 503, 1 was 200." in sentence(mixed)


def test_tasks_that_outlived_their_request_are_told_by_the_line_that_made_them() -> None:
    def left(number: int, **given: Any) -> Left:
        facts = {
            "left": number,
            "call": "mail",
            "place": "a.py:9 in order",
            "kept": False,
            "after_s": 0.5,
        }
        return Left(**{**facts, **given})

    found = Sightings(
        left=[
            left(1, state="failed", error="ValueError: \x1b[31m"),
            left(2, state="running"),
            left(3, state="lost", after_s=1.5),
        ]
    )
    blocked = judge(a_run([0.002], [0.002]), found)
    (tasks,) = blocked.left
    assert (tasks.count, tasks.failed, tasks.unfinished, tasks.lost, tasks.longest_s) == (3, 1, 1, 1, 1.5)
    assert sentence(blocked).endswith(
        "3 asyncio tasks outlived their requests: mail, created at a.py:9 in order: 1 failed (ValueError: \\x1b[31m),"
        " 1 vanished before the end, 1 had not ended when we stopped looking; nobody keeps a reference to them."
    )


def test_background_tasks_that_never_ran_are_counted_by_what_dropped_them() -> None:
    def lost(call: str, because: str | None, status: int = 503) -> NeverRan:
        return NeverRan(never_ran=call, place="a.py:9 in f", status=status, because=because)

    raised = [
        lost("mail", "the answer was 503."),
        lost("mail", "the answer was 503."),
        lost("log", "the answer was 503."),
    ]
    blocked = judge(a_run([0.002], [0.002]), Sightings(never_ran=[*raised, lost("mail", None, 200)]))
    assert [(one.call, one.count) for one in blocked.never_ran] == [("mail", 2), ("log", 1), ("mail", 1)]
    assert sentence(blocked).endswith(
        "1 background task was added and never ran: mail (added at a.py:9 in f)."
        " 3 background tasks were added and never ran: mail (added at a.py:9 in f), log (added at a.py:9 in f):"
        " the answer was 503. Return a Response of that status instead of raising an exception, and they run."
    )


@pytest.mark.parametrize(
    "because", ["the answer had a background task of its own, which takes their place", "log came before and failed"]
)
def test_an_exception_is_blamed_for_background_tasks_only_where_nothing_else_is(because: str) -> None:
    lost = NeverRan(never_ran="mail", place="a.py:9 in f", status=503, because=because)
    said = sentence(judge(a_run([0.002], [0.002]), Sightings(never_ran=[lost])))
    assert said.endswith(f"never ran: mail (added at a.py:9 in f): {because}.")


def test_of_a_stall_the_last_line_counts_and_lines_of_others_are_passed_over() -> None:
    begun = b'{"stall": 1, "clock": 1.0, "cpu_s": 0, "queued_s": 0, "gc_s": 0, "idle": false, '
    left = b'{"left": 1, "call": "mail", "place": "a.py:9 in f", "kept": true, "after_s": 1, "clock": 2, '
    lines = [
        b'{"id":"a","state":"started"}\n',
        begun + b'"lasted_s": 0.1, "ended": false}\n',
        begun + b'"lasted_s": 0.4, "ended": true}\n',
        b'{"stall": 2, "clock": 1.0, "lasted\n',
        left + b'"state": "running"}\n',
        b"\n",
    ]
    found = fold(lines)
    assert [(one.stall, one.lasted_s) for one in found.stalls] == [(1, 0.4)]
    assert not found.is_quiet
    assert fold([]).is_quiet
