"""The processes that measure, before they do, and what a run knows of its server."""

from collections.abc import Sequence
from typing import Any

import psutil
import pytest

from samples import T0, event
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.processes.event_stream import Heard
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.runner.rig import Rig, _Run
from taskdemo_cli.runner.target import Target
from taskdemo_server.contract.events import WARM_UP


def test_our_own_processes_that_are_still_starting_are_not_taken_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with Rig(StopRequest(), threads=True) as rig:
        monkeypatch.setattr(psutil, "cpu_percent", lambda _: 100.0 * (rig.inbox.qsize() < 3))  # each says that it is up
        assert rig.others_share() == 0.0


def test_a_server_that_is_heard_again_is_well_and_otherwise_its_state_only_becomes_worse() -> None:
    run = _Run(Rig(StopRequest()), Target("http://x"), Plan(url="http://x"))
    run._note("unheard", "its disk is full")
    assert (run.server, run.because) == ("unheard", "its disk is full")
    run._note("well", None)
    assert (run.server, run.because) == ("well", None)
    run._note("stalled", "no worker")
    run._note("unheard", "its disk is full")
    assert (run.server, run.because) == ("stalled", "no worker")
    run._note("ended", "exit 7")
    run._note("gone", "no answer")
    assert (run.server, run.because) == ("ended", "exit 7")


@pytest.mark.parametrize(("headers", "counted"), [((), 1), (((WARM_UP, "1"),), 2)])
def test_late_tasks_of_a_warm_up_belong_to_it_alone(headers: Sequence[tuple[str, str]], counted: int) -> None:
    server: Any = object()
    run = _Run(Rig(StopRequest()), Target("http://x", server=server), Plan(url="http://x", headers=headers))
    run._take("events", Heard([event("a", "accepted", T0), event(f"{WARM_UP}-b", "accepted", T0)], 0))
    assert run.recorder.unended == counted
