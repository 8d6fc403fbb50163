"""What is made of a stall that the event loop has noticed itself."""

from typing import Any

import pytest

from taskdemo_server.contract.sightings import Look, Stall
from taskdemo_server.user_app.loop_stalls import Missed, OpenStall, add_ended


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
