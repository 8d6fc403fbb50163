"""How the thread looks that watches the event loop; what it finds is shown by the applications of tests/apps."""

import pytest

from conftest import another_thread_waits
from taskdemo_server.runtime import thread_clocks
from taskdemo_server.user_app.clocks import Clocks


@pytest.mark.skipif(not thread_clocks.TELLS, reason="this system says nothing of its threads")
def test_whoever_reads_the_clock_of_a_thread_keeps_the_interpreter_meanwhile() -> None:
    clocks = Clocks()
    assert sum(clocks.of(clocks.own)) > 0  # and the file is open from now on
    with another_thread_waits() as its_turns:
        for _ in range(1000):
            clocks.of(clocks.own)
        assert its_turns == []
