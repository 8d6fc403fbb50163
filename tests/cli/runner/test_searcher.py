"""A search for capacity whose runs are made up: no server and no process."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from msgspec.structs import replace

from samples import STEP_S, header, open_loop_run, recorder, sample
from taskdemo_cli.analysis.capacity.subject import Subject
from taskdemo_cli.analysis.thresholds import parse
from taskdemo_cli.documents.run import OwnFunction, RunDocument, TaskRow
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.request_options import GET
from taskdemo_cli.runner import capacity
from taskdemo_cli.runner.capacity import Search, Searcher
from taskdemo_cli.runner.target import UNKNOWN, Health, Target
from taskdemo_server.contract.settings import Settings

ANYTHING = Subject()
LOST = recorder([sample(1, 0.1, status=None, error="ReadError", reason="broken")], []).finish(header())
DIED = "the load process ended unexpectedly (SIGKILL); run it again"


class Rig:
    """Measures as many runs as it is given, and then is broken."""

    def __init__(self, *runs: RunDocument) -> None:
        self.runs = list(runs)
        self.stopping = SimpleNamespace(asked=False)

    def measure(self, *_: Any, **__: Any) -> RunDocument:
        if not self.runs:
            raise UserError(DIED)
        return self.runs.pop(0)


@pytest.fixture(autouse=True)
def server_that_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "again", lambda target: target)


def searcher(*runs: RunDocument, subject: Subject = ANYTHING, health: Health = UNKNOWN) -> Searcher:
    rig: Any = Rig(*runs)
    target = Target("http://x", health=health)
    return Searcher(rig, MagicMock(), Path(), Search(step_s=STEP_S), MagicMock(), "x", subject, "/", target, GET)


def test_a_search_that_breaks_off_says_why_before_its_steps() -> None:
    broken = searcher(open_loop_run(10, 40), open_loop_run(10, 40))
    found = broken.search()
    assert found is not None
    assert found.text == (
        f"The search broke off: {DIED}. These are the steps so far. Sustained 10/s, the highest rate tried."
    )
    assert broken.broke_off


def test_a_search_that_breaks_off_before_its_first_step_has_found_nothing() -> None:
    with pytest.raises(UserError, match="the load process ended"):
        searcher(open_loop_run(10, 40)).search()


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (open_loop_run(10, 40, work_s=4.0), "4.00 s needs steps of 8 s or more, about 2 minutes in all; type --step"),
        (open_loop_run(10, 40, failing=1), "even a single request fails (HTTP 503), so there is no rate to find"),
        (LOST, "even a single request fails (connection lost: broken), so there is no rate to find"),
    ],
    ids=["slow", "failing", "lost"],
)
def test_one_request_shows_what_no_rate_can_be_found_for(first: RunDocument, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        searcher(first).search()


def test_where_requests_may_fail_the_first_one_may() -> None:
    first = open_loop_run(10, 40, failing=1)
    raised = TaskRow(id="1", state="failed", error="ValueError: no luck", runs=1)
    first = replace(first, requests=[replace(first.requests[0], task_id="1")], tasks=[raised])
    allowing = searcher(first, open_loop_run(10, 40))
    allowing.wanted = Search(step_s=STEP_S, to_per_s=10, conditions=[parse("requests.failed_share < 50%")])
    found = allowing.search()
    assert found is not None
    assert found.sustained_per_s == 10


def test_that_the_answers_are_redirects_is_told_with_the_rate() -> None:
    first = recorder([sample(1, 0.1, status=307)], []).finish(header())
    found = searcher(first, open_loop_run(10, 40)).search()
    assert found is not None
    assert "The answer is a redirect, which is not followed" in found.text


@pytest.mark.parametrize(("is_async", "expected"), [(True, None), (False, pytest.approx(10, rel=0.01))])
def test_whether_an_own_function_can_be_awaited_is_what_its_server_says(is_async: bool, expected: float | None) -> None:
    own_work = OwnFunction(is_async=is_async, takes_message=False)
    health = Health(server="taskdemo", journal_offset=0, clock=0.0, own_work=own_work)
    subject = Subject(Settings(mode="async", journal="", work="reports:build"))
    found = searcher(open_loop_run(10, 40), open_loop_run(10, 40), subject=subject, health=health).search()
    assert found is not None
    assert found.expected_per_s == expected
