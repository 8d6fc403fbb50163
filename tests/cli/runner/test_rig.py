"""The processes that measure, before they do."""

import psutil
import pytest

from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.runner.rig import Rig


def test_our_own_processes_that_are_still_starting_are_not_taken_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with Rig(StopRequest(), threads=True) as rig:
        monkeypatch.setattr(psutil, "cpu_percent", lambda _: 100.0 * (rig.inbox.qsize() < 3))  # each says that it is up
        assert rig.others_share() == 0.0
