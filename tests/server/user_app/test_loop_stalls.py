"""What is made of a stall that the event loop has noticed itself."""

import os
import threading
from typing import Any

import pytest

from taskdemo_server.contract.sightings import Look, Stall
from taskdemo_server.user_app.loop_stalls import Looks, Missed, OpenStall, add_ended, add_unknown, counted


@pytest.mark.parametrize(
    ("others_cpu_s", "of", "seconds"),
    [
        (0.9, "thread", [0.9 - 0.1, 0.1]),
        (0.25, "thread", [0.2, 0.1]),  # so little may be a thread of our own
        (0.9, "application", [0.2, 0.1]),
    ],
)
def test_what_threads_computed_that_ended_unseen_is_given_to_what_the_others_of_requests_did(
    others_cpu_s: float, of: Any, seconds: list[float]
) -> None:
    stall = OpenStall(Stall(1, idle=False), 0.0)
    stall.others.add(Look("a.py:1 in f"), of, 0.2, 0.2)
    stall.others.add(Look("a.py:2 in g"), of, 0.1, 0.1)
    add_ended(stall, Missed(0.0, 1.0, 0.0, 0.0, 0.0, False, others_cpu_s, {}))
    assert [one.seconds for one in stall.others.most()] == pytest.approx(seconds)


def test_what_threads_of_a_c_library_compute_is_given_to_the_calls_that_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(threading, "active_count", lambda: 16)
    verify, waited_for = Look("a.py:1 in login", call="argon2.verify"), Looks()
    for _ in range(8):
        waited_for.add(verify, "thread", 0.1, free=True)
    add_unknown(waited_for, [verify] * 8, 0.1, 0.16)
    (seen,) = waited_for.most()
    assert (seen.seconds, seen.cpu_s, seen.queued_s) == pytest.approx((0.8, 0.16, 0.64))
    add_unknown(waited_for, [verify], 0.1, -0.01)  # the clocks differ a little
    add_unknown(waited_for, [], 0.1, 0.1)
    assert waited_for.most() == [seen]


@pytest.mark.parametrize(("threads_per_processor", "most_s"), [(1, 0.4), (20, 2.0)])
def test_threads_that_compute_wait_for_a_processor_as_many_times_as_long_as_there_are_of_them(
    threads_per_processor: int, most_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(threading, "active_count", lambda: 2 * threads_per_processor)
    assert counted(9.0, 0.1) == pytest.approx(most_s)
    assert counted(0.3, 0.1) == 0.3
