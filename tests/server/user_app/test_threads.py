"""Whose threads are whose: those of a request, of a pool, and of the application."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest
from anyio import to_thread

from taskdemo_server.user_app.open_requests import Request, current
from taskdemo_server.user_app.threads import executors, follow_threads, is_alone, works_for_requests
from waiting import until


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], Any]:
    """Return what calls something as a request does, and notes the threads that it starts."""
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    follow_threads()

    async def call(function: Callable[[], Any]) -> Any:
        current.set(Request())
        found = function()
        return await found if isinstance(found, Awaitable) else found

    return lambda function: Context().run(asyncio.run, call(function))


def test_only_a_thread_that_a_request_starts_itself_is_nobody_elses_to_wait_for(
    asked_for: Callable[[Callable[..., Any]], Any],
) -> None:
    alone = threading.Thread(target=lambda: None)
    asked_for(alone.start)
    assert (is_alone(alone), works_for_requests(alone)) == (True, True)
    others = threading.Thread(target=lambda: None)
    assert (is_alone(others), works_for_requests(others)) == (False, False)
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="reports") as executor, ThreadPool(1) as pool:
        for of_pool in (
            asked_for(lambda: to_thread.run_sync(threading.current_thread)),
            asked_for(lambda: asyncio.to_thread(threading.current_thread)),
            asked_for(lambda: executor.submit(threading.current_thread).result()),
            pool.apply(threading.current_thread),
        ):
            assert (is_alone(of_pool), works_for_requests(of_pool)) == (False, True), of_pool


def test_an_executor_counts_by_its_living_threads_and_not_once_it_was_shut_down() -> None:
    gate, before = threading.Event(), executors()
    executor = concurrent.futures.ThreadPoolExecutor(2)
    for _ in range(5):
        executor.submit(gate.wait, 60)
    until(lambda: [one for one in executors() if one not in before] == [(2, 3)])
    gate.set()
    executor.shutdown()
    assert executors() == before
